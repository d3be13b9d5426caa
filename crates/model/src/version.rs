//! Versions of functions, and the aliases that name them.

use crate::name::name;
use crate::{Code, Digest, FunctionSpec, Invalid, RetryPolicy, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Most aliases of one function.
pub const MAX_ALIASES: usize = 100;
/// Most versions of one function that can be asked to be kept.
pub const MAX_VERSIONS: u32 = 1_000;

/// How AWS writes what is changed in place and is no version.
const LATEST: &str = "$LATEST";

name!(
    /// An alias of a function's versions: 1 to 128 of `A-Z a-z 0-9 - _`, not digits alone (AWS
    /// Lambda's rule).
    AliasName,
    "alias",
    check_alias
);

impl AliasName {
    /// The alias that `rouse deploy` and `rouse rollback` move.
    pub fn live() -> Self {
        Self("live".to_owned())
    }
}

fn check_alias(text: &str) -> Result<(), &'static str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if text.is_empty() || text.len() > 128 || !text.bytes().all(legal) {
        return Err("must be 1 to 128 letters, digits, '-' or '_'");
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("is a number, which would name a version");
    }
    Ok(())
}

/// Which version of a function is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Qualifier {
    /// What was declared last, published or not.
    Latest,
    /// A version by its number.
    Version(u64),
    /// What an alias names at that moment.
    Alias(AliasName),
}

impl FromStr for Qualifier {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == LATEST {
            return Ok(Self::Latest);
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            let number = text.parse().ok().filter(|number| *number > 0);
            let wrong = || Invalid::new("version", "must be a number from 1");
            return Ok(Self::Version(number.ok_or_else(wrong)?));
        }
        Ok(Self::Alias(text.parse()?))
    }
}

impl TryFrom<String> for Qualifier {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Qualifier> for String {
    fn from(qualifier: Qualifier) -> Self {
        qualifier.to_string()
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str(LATEST),
            Self::Version(number) => number.fmt(f),
            Self::Alias(name) => name.fmt(f),
        }
    }
}

/// A version of a function. Nothing of it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionVersion {
    /// Counts the function's versions from 1. A number is not given twice.
    pub number: u64,
    /// What was declared, with the code's digest. What belongs to the function as a whole (its
    /// reservation, its retries, its destinations) is taken from the function when the version runs.
    pub spec: FunctionSpec,
    /// The function's revision that was published.
    pub revision: u64,
    /// Its own, for compare-and-set in the AWS API.
    pub revision_id: String,
    /// Free text, 256 characters at most.
    pub description: String,
    /// When it was published.
    pub created: Timestamp,
    /// By whom: a principal's key.
    pub by: String,
    /// The image's labels `org.opencontainers.image.*`, as many as [`kept_labels`] keeps.
    pub labels: BTreeMap<String, String>,
}

impl FunctionVersion {
    /// The digest of its code or image.
    pub fn digest(&self) -> &Digest {
        match &self.spec.code {
            Code::Zip { digest, .. } | Code::Image { digest, .. } => digest,
        }
    }

    /// Whether publishing this declaration would make the same version again.
    pub fn is_of(&self, spec: &FunctionSpec) -> bool {
        pinned(&self.spec) == pinned(spec)
    }
}

/// What of a declaration a version pins.
fn pinned(spec: &FunctionSpec) -> FunctionSpec {
    let mut spec = spec.clone();
    spec.scaling.reserved = None;
    spec.retry = RetryPolicy::default();
    spec.destinations = Default::default();
    spec.follow = false;
    spec
}

/// Of an image's labels those that tell where it comes from (`org.opencontainers.image.*`, of the OCI
/// image specification's annotations): 32 at most, with 128 bytes of a key and 1 024 of a value.
pub fn kept_labels(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let told = labels.iter().filter(|(key, value)| {
        key.starts_with("org.opencontainers.image.") && key.len() <= 128 && value.len() <= 1_024
    });
    let told = told.take(32);
    told.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The second version of an alias, and its part of the calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Which version.
    pub version: u64,
    /// Its part of the calls: 0 to 1.
    pub weight: f64,
}

/// A name for a version, which can be moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// Its name, unique in the function.
    pub name: AliasName,
    /// The version that it names.
    pub version: u64,
    /// Another version that gets a part of its calls.
    pub share: Option<Share>,
    /// Free text, 256 characters at most.
    pub description: String,
    /// Changes with each change; for compare-and-set.
    pub revision_id: String,
    /// Whether calls and events that say no qualifier go by this alias. At most one of a function's
    /// does.
    pub leads: bool,
    /// When it was last changed.
    pub modified: Timestamp,
    /// By whom: a principal's key.
    pub by: String,
}

impl Alias {
    /// The rules that do not depend on what versions there are.
    ///
    /// # Errors
    /// Names the first field that breaks one.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.description.chars().count() > 256 {
            return Err(Invalid::new("description", "is longer than 256 characters"));
        }
        match &self.share {
            Some(share) if !(0.0..=1.0).contains(&share.weight) => {
                Err(Invalid::new("weight", "must be 0 to 1"))
            }
            Some(share) if share.version == self.version => Err(Invalid::new(
                "weight",
                "is for the version that the alias names already; name another one",
            )),
            _ => Ok(()),
        }
    }

    /// Whether it names a version, be it for a part of its calls.
    pub fn names(&self, version: u64) -> bool {
        let share = self.share.as_ref();
        self.version == version || share.is_some_and(|share| share.version == version)
    }

    /// The version of one call; `chance` is at least 0 and less than 1.
    pub fn pick(&self, chance: f64) -> u64 {
        match &self.share {
            Some(share) if chance < share.weight => share.version,
            _ => self.version,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn alias(version: u64, share: Option<(u64, f64)>) -> Alias {
        Alias {
            name: AliasName::live(),
            version,
            share: share.map(|(version, weight)| Share { version, weight }),
            description: String::new(),
            revision_id: String::new(),
            leads: false,
            modified: Timestamp(0),
            by: "root".into(),
        }
    }

    #[test]
    fn a_qualifier_is_latest_a_number_or_an_alias() {
        assert_eq!("$LATEST".parse(), Ok(Qualifier::Latest));
        assert_eq!("7".parse(), Ok(Qualifier::Version(7)));
        assert_eq!("live".parse(), Ok(Qualifier::Alias(AliasName::live())));
        for bad in [
            "",
            "0",
            "$latest",
            "a b",
            "99999999999999999999",
            &"x".repeat(129),
        ] {
            assert!(bad.parse::<Qualifier>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_alias_does_not_share_with_itself_nor_beyond_all() {
        assert!(alias(1, Some((2, 0.5))).check().is_ok());
        for wrong in [(1, 0.5), (2, 1.5), (2, -0.1), (2, f64::NAN)] {
            assert!(alias(1, Some(wrong)).check().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn labels_of_the_specification_are_kept_within_bounds() {
        let mut labels: BTreeMap<String, String> = (0..40)
            .map(|n| (format!("org.opencontainers.image.x{n:02}"), "v".into()))
            .collect();
        labels.insert("other".into(), "v".into());
        labels.insert("org.opencontainers.image.a".into(), "v".repeat(1_025));
        let kept = kept_labels(&labels);
        assert_eq!(kept.len(), 32);
        assert!(
            kept.keys()
                .all(|key| key.starts_with("org.opencontainers.image.x"))
        );
    }

    proptest! {
        #[test]
        fn a_qualifier_is_read_as_it_is_written(text in "[0-9A-Za-z_-]{1,20}|\\$LATEST") {
            if let Ok(qualifier) = text.parse::<Qualifier>() {
                let written = qualifier.to_string();
                prop_assert_eq!(written.parse(), Ok(qualifier));
                prop_assert_eq!(written.trim_start_matches('0'), text.trim_start_matches('0'));
            }
        }

        #[test]
        fn chance_below_the_weight_takes_the_share(weight in 0.0..=1.0, chance in 0.0..1.0) {
            let picked = alias(1, Some((2, weight))).pick(chance);
            prop_assert_eq!(picked, if chance < weight { 2 } else { 1 });
        }
    }
}
