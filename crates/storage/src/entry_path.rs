//! Paths of archive entries: taken apart and checked before anything is done with them.

use std::fmt;

/// Longest path in bytes (Linux's `PATH_MAX`).
pub(crate) const MAX_PATH: usize = 4096;
/// Longest name in bytes (Linux's `NAME_MAX`).
const MAX_NAME: usize = 255;
/// Deepest folder.
pub(crate) const MAX_DEPTH: usize = 256;

/// Whose rules a path obeys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// A zip: relative, no backslash.
    Zip,
    /// A layer's tar: as below the image's root, with or without a leading `/`.
    Layer,
}

/// A path below a root: names that are neither empty, `.`, nor `..`. The root itself has none.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EntryPath {
    names: Vec<Vec<u8>>,
}

impl EntryPath {
    /// Takes an entry's path apart. `Err` is the rule that it breaks.
    pub(crate) fn parse(path: &[u8], dialect: Dialect) -> Result<Self, &'static str> {
        if path.len() > MAX_PATH {
            return Err("the path is longer than 4096 bytes");
        }
        if path.contains(&0) {
            return Err("the path holds a NUL");
        }
        if dialect == Dialect::Zip && path.starts_with(b"/") {
            return Err("the path is absolute");
        }
        if dialect == Dialect::Zip && path.contains(&b'\\') {
            return Err("the path holds a backslash");
        }
        let mut names = Vec::new();
        for name in path.split(|&byte| byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => return Err("the path holds '..'"),
                _ if name.len() > MAX_NAME => return Err("a name is longer than 255 bytes"),
                _ => names.push(name.to_owned()),
            }
        }
        if names.len() > MAX_DEPTH {
            return Err("the path is deeper than 256 folders");
        }
        Ok(Self { names })
    }

    pub(crate) fn names(&self) -> &[Vec<u8>] {
        &self.names
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn memory(&self) -> usize {
        self.names.iter().map(|name| name.len() + 48).sum()
    }

    /// The folder that it is in and its name there; `None` for the root.
    pub(crate) fn split(&self) -> Option<(Self, &[u8])> {
        let (last, parents) = self.names.split_last()?;
        let parent = Self {
            names: parents.to_vec(),
        };
        Some((parent, last))
    }

    /// Of the first `depth` names, for the kernel; `.` for the root.
    pub(crate) fn prefix(&self, depth: usize) -> Vec<u8> {
        match self.names.get(..depth) {
            None | Some([]) => b".".to_vec(),
            Some(names) => names.join(&b'/'),
        }
    }

    /// All of it, for the kernel.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.prefix(self.names.len())
    }

    /// Whether a link that stands at this path and says `target` stays below the root, as far as
    /// text can tell. `Err` is the rule that it breaks.
    pub(crate) fn check_link(&self, target: &[u8]) -> Result<(), &'static str> {
        if target.is_empty() || target.len() > MAX_PATH || target.contains(&0) {
            return Err("the link's target is not 1 to 4096 bytes without NUL");
        }
        if target.starts_with(b"/") {
            return Err("the link's target is absolute");
        }
        let mut depth = self.names.len().saturating_sub(1);
        for name in target.split(|&byte| byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => {
                    depth = depth
                        .checked_sub(1)
                        .ok_or("the link leads out of the archive")?
                }
                _ => depth += 1,
            }
        }
        Ok(())
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.bytes()))
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// An entry's path for people: escaped, and not longer than a line.
pub(crate) fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let short: String = text.chars().take(200).collect();
    short.escape_debug().to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_that_lead_anywhere_else_are_refused() {
        for bad in [
            "/a",
            "a/../b",
            "..",
            "a\\b",
            "a\0b",
            "./../x",
            &"x/".repeat(300),
        ] {
            assert!(
                EntryPath::parse(bad.as_bytes(), Dialect::Zip).is_err(),
                "{bad:?}"
            );
        }
        assert!(EntryPath::parse(&[b'x'; 256], Dialect::Zip).is_err());
        assert!(EntryPath::parse(&b"x/".repeat(2049), Dialect::Layer).is_err());
        assert!(EntryPath::parse(b"/a/../../etc", Dialect::Layer).is_err());
    }

    #[test]
    fn paths_are_brought_to_one_form() {
        for (path, dialect) in [
            ("./a//b/", Dialect::Zip),
            ("/a/./b", Dialect::Layer),
            ("a/b", Dialect::Layer),
        ] {
            let parsed = EntryPath::parse(path.as_bytes(), dialect).unwrap();
            assert_eq!(parsed.bytes(), b"a/b");
        }
        assert!(EntryPath::parse(b"a\\x2db", Dialect::Layer).is_ok());
    }

    #[test]
    fn links_may_go_up_only_as_far_as_the_root() {
        let link = EntryPath::parse(b"node_modules/.bin/mime", Dialect::Zip).unwrap();
        assert!(link.check_link(b"../mime/cli.js").is_ok());
        assert!(link.check_link(b"../../index.js").is_ok());
        assert!(link.check_link(b"../../../etc/passwd").is_err());
        assert!(link.check_link(b"/etc/passwd").is_err());
        assert!(link.check_link(b"").is_err());
    }

    proptest! {
        /// Whatever is accepted joins to a path that stays below its root.
        #[test]
        fn what_is_accepted_is_below_the_root(path in "[a./\\\\\0]{0,30}") {
            for dialect in [Dialect::Zip, Dialect::Layer] {
                if let Ok(parsed) = EntryPath::parse(path.as_bytes(), dialect) {
                    let joined = String::from_utf8(parsed.bytes()).unwrap();
                    let components = std::path::Path::new(&joined).components();
                    for component in components {
                        prop_assert!(matches!(
                            component,
                            std::path::Component::Normal(_) | std::path::Component::CurDir
                        ));
                    }
                    let again = EntryPath::parse(joined.as_bytes(), dialect).unwrap();
                    prop_assert_eq!(again, parsed);
                }
            }
        }
    }
}
