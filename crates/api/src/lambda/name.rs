//! How the Lambda API names a function: a name, a partial or a full ARN, each with or without a
//! qualifier (the `FunctionName` parameter of Invoke in the API reference).

use super::error::{Error, Result};
use model::{FunctionName, Qualifier};

/// The account that every ARN of this server shows.
pub(super) const ACCOUNT: &str = "000000000000";

/// The qualifier of what was declared last.
pub(super) const LATEST: &str = "$LATEST";

/// A function as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FunctionRef {
    /// Its name.
    pub(super) name: FunctionName,
    /// Version or alias, if one was named.
    pub(super) qualifier: Option<String>,
}

impl FunctionRef {
    /// Reads `name`, `ACCOUNT:function:name` or `arn:aws:lambda:REGION:ACCOUNT:function:name`, each
    /// with an optional `:qualifier`. Account and region must have their form and are not compared:
    /// the server has one of each. 140 characters at most, as in AWS.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let refused = || {
            let shown: String = text.chars().take(140).collect();
            Error::invalid_parameter(format!(
                "\"{}\" is not a function: give its name, ACCOUNT:function:NAME or its ARN, \
                 140 characters at most",
                shown.escape_debug()
            ))
        };
        if text.len() > 140 {
            return Err(refused());
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (name, qualifier) = match parts.as_slice() {
            [
                "arn",
                partition,
                "lambda",
                region,
                account,
                "function",
                rest @ ..,
            ] if is_partition(partition) && is_region(region) && is_account(account) => {
                split_name(rest)
            }
            [account, "function", rest @ ..] if is_account(account) => split_name(rest),
            rest => split_name(rest),
        }
        .ok_or_else(refused)?;
        Ok(Self {
            name: name.parse().map_err(|_| refused())?,
            qualifier: qualifier.map(str::to_owned),
        })
    }

    /// The name and the qualifier, which may stand here and in the query (`?Qualifier=`).
    pub(super) fn qualified(
        self,
        query: Option<&str>,
    ) -> Result<(FunctionName, Option<Qualifier>)> {
        let qualifier = self.agreed(query)?.map(str::parse).transpose()?;
        Ok((self.name, qualifier))
    }

    fn agreed<'a>(&'a self, query: Option<&'a str>) -> Result<Option<&'a str>> {
        match (self.qualifier.as_deref(), query) {
            (Some(one), Some(other)) if one != other => Err(Error::invalid_parameter(
                "The derived qualifier from the function name does not match the specified \
                 qualifier.",
            )),
            (one, other) => Ok(one.or(other)),
        }
    }

    /// The name, for operations on `$LATEST` alone: if a qualifier here or in the query
    /// (`?Qualifier=`) means nothing else.
    pub(super) fn latest(self, query: Option<&str>, region: &str) -> Result<FunctionName> {
        let qualifier = self.agreed(query)?.unwrap_or(LATEST).to_owned();
        if qualifier == LATEST {
            return Ok(self.name);
        }
        let shown: String = qualifier.chars().take(128).collect();
        Err(Error::not_found(format!(
            "Function not found: {}:{}",
            arn(&self.name, region),
            shown.escape_debug()
        )))
    }
}

/// The ARN of a function, with the qualifier that it was asked by.
pub(super) fn qualified_arn(
    name: &FunctionName,
    qualifier: Option<&Qualifier>,
    region: &str,
) -> String {
    match qualifier {
        Some(qualifier) => format!("{}:{qualifier}", arn(name, region)),
        None => arn(name, region),
    }
}

/// The ARN of a function.
pub(super) fn arn(name: &FunctionName, region: &str) -> String {
    format!("arn:aws:lambda:{region}:{ACCOUNT}:function:{name}")
}

fn split_name<'a>(parts: &[&'a str]) -> Option<(&'a str, Option<&'a str>)> {
    match parts {
        [name] => Some((name, None)),
        [name, qualifier] if is_qualifier(qualifier) => Some((name, Some(qualifier))),
        _ => None,
    }
}

fn is_partition(text: &str) -> bool {
    text.strip_prefix("aws")
        .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
}

fn is_region(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(legal)
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_qualifier(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    text == LATEST || (!text.is_empty() && text.bytes().all(legal))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_written_form_names_the_function() {
        for text in [
            "thumb",
            "000000000000:function:thumb",
            "arn:aws:lambda:us-east-1:000000000000:function:thumb",
            "arn:aws-cn:lambda:cn-north-1:123456789012:function:thumb",
        ] {
            let plain = FunctionRef::parse(text).unwrap();
            assert_eq!((plain.name.as_str(), plain.qualifier), ("thumb", None));
            let qualified = FunctionRef::parse(&format!("{text}:$LATEST")).unwrap();
            assert_eq!(qualified.name.as_str(), "thumb");
            assert_eq!(qualified.qualifier.as_deref(), Some("$LATEST"));
        }
    }

    #[test]
    fn what_is_no_function_is_refused() {
        for text in [
            "",
            ":",
            "a:",
            "a:b:c",
            "a b",
            "../a",
            "arn:aws:s3:::bucket",
            "arn:aws:lambda:us-east-1:1:function:a",
            "arn:aws:lambda:us-east-1:000000000000:layer:a",
            "12:function:a",
        ] {
            assert!(FunctionRef::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn operations_on_latest_take_no_other_qualifier() {
        let one = |text: &str, query| FunctionRef::parse(text).unwrap().latest(query, "us-east-1");
        assert!(one("f", None).is_ok());
        assert!(one("f:$LATEST", Some("$LATEST")).is_ok());
        assert_eq!(
            one("f", Some("7")).unwrap_err(),
            Error::not_found(
                "Function not found: arn:aws:lambda:us-east-1:000000000000:function:f:7"
            )
        );
        assert!(one("f:prod", Some("$LATEST")).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            name in "[A-Za-z0-9_-]{1,64}",
            account in "[0-9]{12}",
            region in "[a-z]{2}-[a-z]{4,9}-[1-9]",
            qualifier in proptest::option::of("[A-Za-z0-9_-]{1,20}|\\$LATEST"),
        ) {
            let tail = qualifier.as_ref().map(|q| format!(":{q}")).unwrap_or_default();
            for text in [
                format!("{name}{tail}"),
                format!("{account}:function:{name}{tail}"),
                format!("arn:aws:lambda:{region}:{account}:function:{name}{tail}"),
            ] {
                prop_assume!(text.len() <= 140);
                let read = FunctionRef::parse(&text).unwrap();
                prop_assert_eq!(read.name.as_str(), name.as_str());
                prop_assert_eq!(&read.qualifier, &qualifier);
            }
        }

        #[test]
        fn no_text_panics_and_no_name_leaves_its_alphabet(text in ".{0,200}") {
            if let Ok(read) = FunctionRef::parse(&text) {
                prop_assert!(read.name.as_str().bytes().all(|b| b.is_ascii_alphanumeric()
                    || b == b'-' || b == b'_'));
            }
        }
    }
}
