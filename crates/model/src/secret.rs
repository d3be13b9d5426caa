//! Secrets and configs: small files that are kept apart from what uses them, and are set without deploying.

use crate::{Invalid, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Largest secret or config in bytes: 500 KiB, as Docker's.
pub const MAX_SECRET: usize = 500 * 1024;
/// Most secrets of a server, and most configs.
pub const MAX_SECRETS: usize = 1000;
/// Most secrets and configs that one function or service uses as files.
const MAX_FILES: usize = 32;
/// What a file may be read by, if nothing is said: everybody inside (Docker's).
const MODE: u32 = 0o444;

crate::name::name!(
    /// The name of a secret or config: 1 to 64 of `A-Z a-z 0-9 . - _`, beginning and ending with a letter or
    /// digit (Docker's).
    SecretName,
    "name",
    check_name
);

fn check_name(text: &str) -> Result<(), &'static str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    if bytes.len() > 64 || !bytes.iter().copied().all(legal) {
        return Err("must be 1 to 64 letters, digits, '.', '-' or '_'");
    }
    match edge(bytes.first()) && edge(bytes.last()) {
        true => Ok(()),
        false => Err("must begin and end with a letter or digit"),
    }
}

/// Which of the two. They are kept alike; a config can be read back, a secret cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretKind {
    /// Nothing but an instance that uses it is told its value.
    Secret,
    /// The server's owner can read it back.
    Config,
}

impl SecretKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Config => "config",
        }
    }

    /// Where it is mounted if nothing is said: `/run/secrets/NAME`, `/NAME` (Docker's).
    pub fn target(self, name: &str) -> String {
        match self {
            Self::Secret => format!("/run/secrets/{name}"),
            Self::Config => format!("/{name}"),
        }
    }
}

impl fmt::Display for SecretKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What may be told of a secret or config: all but its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// Which of the two.
    pub kind: SecretKind,
    /// Its name, unique in the server among its kind.
    pub name: SecretName,
    /// Counts how often it was set, from 1.
    pub revision: u64,
    /// Another one each time that it is set (a UUID).
    pub revision_id: String,
    /// Bytes of the value.
    pub size: u64,
    /// Names the key that it is sealed by; it tells nothing of the key.
    pub key_id: String,
    /// When it was first made.
    pub created: Timestamp,
    /// When it was last set.
    pub modified: Timestamp,
}

/// One that is mounted as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretMount {
    /// Which of the two.
    pub kind: SecretKind,
    /// Its name in the server.
    pub source: SecretName,
    /// Absolute path inside.
    pub target: String,
    /// Permission bits, none of them for writing. The file belongs to the user that the program runs as.
    #[serde(default = "mode")]
    pub mode: u32,
}

fn mode() -> u32 {
    MODE
}

/// Which secrets and configs a function or service uses, by name: the values follow what is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecretUse {
    /// As files.
    pub files: Vec<SecretMount>,
    /// Secrets as environment variables.
    pub environment: BTreeMap<String, SecretName>,
}

impl SecretUse {
    /// Whether it uses none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.environment.is_empty()
    }

    /// Everything that it names, each once.
    pub fn names(&self) -> BTreeSet<(SecretKind, &SecretName)> {
        let files = self.files.iter().map(|file| (file.kind, &file.source));
        let variables = self.environment.values();
        let variables = variables.map(|name| (SecretKind::Secret, name));
        files.chain(variables).collect()
    }

    /// Whether it uses this one.
    pub fn uses(&self, kind: SecretKind, name: &SecretName) -> bool {
        self.names().contains(&(kind, name))
    }

    /// Checks places and modes, and that no variable is given twice.
    ///
    /// # Errors
    /// Names the first field that breaks a rule.
    pub fn check(&self, environment: &BTreeMap<String, String>) -> Result<(), Invalid> {
        if self.files.len() > MAX_FILES {
            let reason = format!("are {} files; {MAX_FILES} are the most", self.files.len());
            return Err(Invalid::new("secrets", reason));
        }
        let mut targets = BTreeSet::new();
        for file in &self.files {
            let place = format!("{}s.{}", file.kind, file.source);
            check_target(&place, &file.target)?;
            if file.mode & !0o555 != 0 {
                let reason = format!(
                    "the mode {:04o} lets it be written, and it is read-only: use 0444, 0440 or 0400",
                    file.mode
                );
                return Err(Invalid::new(place, reason));
            }
            if !targets.insert(file.target.as_str()) {
                let reason = format!("{} is mounted twice", file.target.escape_debug());
                return Err(Invalid::new(place, reason));
            }
        }
        if let Some(name) = self
            .environment
            .keys()
            .find(|n| environment.contains_key(*n))
        {
            let place = format!("secret_environment.{}", name.escape_debug());
            return Err(Invalid::new(place, "is in the environment already"));
        }
        let names = self.environment.keys();
        let names = names.map(|name| (name.clone(), String::new())).collect();
        crate::environment::check(&names)
    }
}

/// A clean path that covers nothing which an instance needs.
fn check_target(place: &str, target: &str) -> Result<(), Invalid> {
    let shown = target.escape_debug();
    let parts: Vec<&str> = target.split('/').skip(1).collect();
    let clean = target.starts_with('/')
        && target.len() <= 1024
        && !target.contains('\0')
        && parts.iter().all(|part| !matches!(*part, "" | "." | ".."));
    if !clean {
        let reason =
            format!("the target \"{shown}\" must be an absolute path of a file, without ..");
        return Err(Invalid::new(place, reason));
    }
    let top = parts.first().copied().unwrap_or_default();
    let kept = matches!(top, "proc" | "dev" | "sys") || target.starts_with("/var/task");
    if kept || (parts.len() == 1 && matches!(top, "run" | "tmp" | "etc" | "usr" | "var")) {
        let reason =
            format!("the target \"{shown}\" would cover what an instance needs: take another");
        return Err(Invalid::new(place, reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mount(target: &str, mode: u32) -> SecretMount {
        SecretMount {
            kind: SecretKind::Secret,
            source: "db-password".parse().unwrap(),
            target: target.to_owned(),
            mode,
        }
    }

    #[test]
    fn names_follow_docker() {
        for good in ["a", "db_password", "tls.key-2", &"x".repeat(64)] {
            assert!(good.parse::<SecretName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a.", "a/b", "..", "a b", &"x".repeat(65)] {
            assert!(bad.parse::<SecretName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn places_modes_and_variables_are_checked() {
        let check = |files: Vec<SecretMount>| {
            let used = SecretUse {
                files,
                ..SecretUse::default()
            };
            used.check(&BTreeMap::new())
        };
        assert_eq!(
            check(vec![
                mount("/run/secrets/a", 0o444),
                mount("/etc/a/b", 0o400)
            ]),
            Ok(())
        );
        for bad in [
            "a",
            "/",
            "/a/../b",
            "/a//b",
            "/proc/x",
            "/dev/x",
            "/var/task/x",
            "/etc",
            "/a/",
        ] {
            assert!(check(vec![mount(bad, 0o444)]).is_err(), "{bad}");
        }
        assert!(check(vec![mount("/a", 0o644)]).is_err());
        assert!(check(vec![mount("/a", 0o4444)]).is_err());
        let twice = check(vec![mount("/a", 0o444), mount("/a", 0o400)]).unwrap_err();
        assert!(twice.reason.contains("twice"), "{twice}");
        let used = SecretUse {
            environment: [("KEY".to_owned(), "a".parse().unwrap())].into(),
            ..SecretUse::default()
        };
        assert_eq!(used.check(&BTreeMap::new()), Ok(()));
        let both = used.check(&[("KEY".to_owned(), "x".to_owned())].into());
        assert_eq!(both.unwrap_err().field, "secret_environment.KEY");
    }
}
