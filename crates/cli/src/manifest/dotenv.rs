//! Files of variables: `.env` beside the manifest, those of `--env-file`, and a service's `env_file`.

use super::interpolate::{Variables, name_length};

/// How the lines of a file are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Quotes, escapes, comments after values, and `$VARIABLES`, but for values in single quotes.
    Quoted,
    /// Everything after `=` is the value, as it stands.
    Raw,
}

/// A name, and its value if the line has one.
pub(super) type Pair = (String, Option<String>);

/// The lines of a file in their order. A line sees the variables of those before it; what the environment has wins.
/// `variables` remembers what had no value.
///
/// # Errors
/// `LINE: what is wrong`; values are not shown.
pub(super) fn parse(
    text: &str,
    format: Format,
    variables: &mut Variables,
) -> Result<Vec<Pair>, String> {
    let mut scope = variables.clone();
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let told = |error: String| format!("{}: {error}", number + 1);
        let Some((name, value)) = parse_line(line, format).map_err(told)? else {
            continue;
        };
        let value = match value {
            None => None,
            Some(Written::Plain(text)) => {
                // The text could be a secret; the error only says which form is wrong.
                let expanded = scope.interpolate(&text);
                Some(expanded.map_err(|_| {
                    let reason = "has a dollar sign that begins no variable, or one without a value that must have \
                                  one: write '…' around the value to keep it as it is";
                    told(format!("{name} {reason}"))
                })?)
            }
            Some(Written::Literal(text)) => Some(text),
        };
        if let Some(value) = &value {
            scope.put(&name, value);
        }
        pairs.push((name, value));
    }
    variables.forget_values_of(scope);
    Ok(pairs)
}

/// A value as a line has it.
enum Written {
    /// `$VARIABLES` in it are replaced.
    Plain(String),
    Literal(String),
}

/// One line: `NAME=value`, `export NAME=value`, `NAME`, quotes, comments.
fn parse_line(line: &str, format: Format) -> Result<Option<(String, Option<Written>)>, String> {
    let line = match format {
        Format::Quoted => line.trim(),
        Format::Raw => line.trim_start(),
    };
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name.trim_end(), Some(value)),
        None => (line.trim_end(), None),
    };
    if name.is_empty() || name_length(name) != name.len() {
        // Without `=` it may be the rest of a value of many lines, and so a secret.
        return Err("must be NAME=value, and does not begin with a variable's name".to_owned());
    }
    let value = match (value, format) {
        (None, _) => None,
        (Some(value), Format::Raw) => Some(Written::Literal(value.to_owned())),
        (Some(value), Format::Quoted) => Some(written(value.trim_start())?),
    };
    Ok(Some((name.to_owned(), value)))
}

fn written(value: &str) -> Result<Written, String> {
    if let Some(rest) = value.strip_prefix('"') {
        return unescape(rest).map(Written::Plain);
    }
    if let Some(rest) = value.strip_prefix('\'') {
        return match rest.split_once('\'') {
            Some((inside, _)) => Ok(Written::Literal(inside.to_owned())),
            None => Err("has no closing ' on its line".to_owned()),
        };
    }
    let value = if value.starts_with('#') {
        ""
    } else {
        value.split(" #").next().unwrap_or("").trim_end()
    };
    Ok(Written::Plain(value.to_owned()))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut value = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => return Ok(value),
            '\\' => match characters.next() {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                // Doubled, so that it is no variable.
                Some('$') => value.push_str("$$"),
                Some(other) => value.push(other),
                None => break,
            },
            _ => value.push(c),
        }
    }
    Err("has no closing \" on its line".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn variables() -> Variables {
        let shell = [("SHELL_HAS", "yes"), ("B", "of the shell")];
        let shell = shell.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Variables::new("", shell).unwrap()
    }

    fn read(text: &str, format: Format) -> Vec<Pair> {
        parse(text, format, &mut variables()).unwrap()
    }

    fn one(text: &str) -> Option<String> {
        read(text, Format::Quoted).pop().unwrap().1
    }

    #[test]
    fn lines_are_read_as_compose_reads_them() {
        let cases = [
            ("A=a b # end", "a b"),
            ("A=a#b", "a#b"),
            ("A= # nothing", ""),
            ("A=#nothing", ""),
            ("export A = \"x\\ny\\t\" # end", "x\ny\t"),
            ("A='$B \\n'", "$B \\n"),
            ("A=\"\\$B\"", "$B"),
            ("A=$B", "of the shell"),
            ("B=of the file\nA=${B}!", "of the shell!"),
            ("C=1\nA=${C}2", "12"),
            ("A=${NONE:-d}", "d"),
        ];
        for (text, expected) in cases {
            assert_eq!(one(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(one("SHELL_HAS"), None);
        assert!(read("# only\n\n", Format::Quoted).is_empty());
    }

    #[test]
    fn raw_values_stay_as_they_are() {
        let pairs = read("A= \"$B\" # x ", Format::Raw);
        assert_eq!(pairs[0].1.as_deref(), Some(" \"$B\" # x "));
    }

    #[test]
    fn errors_name_the_line_and_no_value() {
        for (text, expected) in [
            ("A=1\ntop secret\n", "2: must be NAME=value"),
            ("A='top secret", "1: has no closing '"),
            ("A=\"top secret", "1: has no closing \""),
            ("A=top secret$!", "1: A has a dollar sign"),
        ] {
            let error = parse(text, Format::Quoted, &mut variables()).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_not_set_is_remembered() {
        let mut variables = variables();
        parse("A=$NONE\n", Format::Quoted, &mut variables).unwrap();
        assert_eq!(variables.unset().collect::<Vec<_>>(), ["NONE"]);
        assert_eq!(variables.get("A"), None);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_single_quotes_keep_everything(text in "[^'\n\r]{0,40}", noise in ".{0,60}") {
            prop_assert_eq!(one(&format!("A='{text}'")), Some(text));
            let _ = parse(&noise, Format::Quoted, &mut variables());
            let _ = parse(&noise, Format::Raw, &mut variables());
        }
    }
}
