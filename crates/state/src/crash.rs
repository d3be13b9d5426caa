//! Crash points: named places at which a test lets the server die.
//!
//! Without the feature `crash-points` a point is nothing. With it, which only a debug build can have, a
//! server whose environment names a file in `ROUSE_CRASH_FILE` looks into that file at each point. When
//! it says `NAME N MILLISECONDS`, the Nth passing of that point from then on stalls its thread for so
//! long, while all others go on, and then the process kills itself with SIGKILL. The file is removed
//! before: that it is gone shows that the point was reached, and the next start goes its way unharmed.

#[cfg(all(feature = "crash-points", not(debug_assertions)))]
compile_error!("the feature crash-points is for tests: it exists in debug builds only");

/// Every point, a line each: its name, the sources by whose events it is reached, separated by commas,
/// and what is done and not done when it is passed. `tests/crash` kills a server at each of them by
/// each of those sources, and fails where one is not reached.
pub const POINTS: &str = include_str!("crash/points.tsv");

/// A place where the server may die. `name` is one of [`POINTS`].
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// As [`point`], but for what this thread does next: it goes on, and only the process dies.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn soon(_name: &'static str) {}

#[cfg(feature = "crash-points")]
pub use armed::{point, soon};

#[cfg(feature = "crash-points")]
mod armed {
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, OnceLock, PoisonError};
    use std::time::Duration;

    /// What the file said when it was last looked into, and how often its point was passed since.
    static SEEN: Mutex<(String, u64)> = Mutex::new((String::new(), 0));

    /// The file, if it is there, and what it says.
    fn said() -> Option<(&'static Path, String)> {
        static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
        let file = FILE.get_or_init(|| std::env::var_os("ROUSE_CRASH_FILE").map(PathBuf::from));
        let file = file.as_deref()?;
        Some((file, std::fs::read_to_string(file).ok()?))
    }

    fn is_named(said: &str, name: &str) -> bool {
        said.split_whitespace().next() == Some(name)
    }

    /// A place where the server may die. `name` is one of [`super::POINTS`].
    pub fn point(name: &'static str) {
        let Some((file, said)) = said().filter(|(_, said)| is_named(said, name)) else {
            return;
        };
        let mut words = said.split_whitespace().skip(1);
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        let (nth, pause) = (number().unwrap_or(1), number().unwrap_or(0));
        let passed = {
            let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.0 != said {
                *seen = (said, 0);
            }
            seen.1 += 1;
            seen.1
        };
        if passed == nth && std::fs::remove_file(file).is_ok() {
            die(name, Duration::from_millis(pause));
        }
    }

    /// As [`point`], but for what this thread does next: it goes on, and only the process dies.
    pub fn soon(name: &'static str) {
        if said().is_some_and(|(_, said)| is_named(&said, name)) {
            std::thread::spawn(move || point(name));
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this thread is to stall, whatever it is for"
    )]
    fn die(name: &str, pause: Duration) {
        std::thread::sleep(pause);
        tracing::error!(point = name, "killed at a crash point");
        let own = rustix::process::getpid();
        // It cannot fail, and nothing after it is reached; if it did, the test would see a server that lives.
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// The names of all points.
#[cfg(test)]
fn names() -> impl Iterator<Item = &'static str> {
    POINTS.lines().filter_map(|line| line.split('\t').next())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// All Rust sources of the workspace, but for this folder's.
    fn sources(folder: &Path, found: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs")
                && !path.ends_with("state/src/crash.rs")
            {
                found.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn the_table_names_every_point_in_the_sources_and_no_other() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut text = String::new();
        for room in std::fs::read_dir(crates).unwrap() {
            let source = room.unwrap().path().join("src");
            if source.is_dir() {
                sources(&source, &mut text);
            }
        }
        let calls = ["crash::point(\"", "crash::soon(\""].into_iter();
        let calls = calls.flat_map(|call| text.split(call).skip(1));
        let called: BTreeSet<&str> = calls.filter_map(|rest| rest.split('"').next()).collect();
        let listed: BTreeSet<&str> = names().collect();
        assert_eq!(called, listed);
        assert!(listed.len() >= 40, "{}", listed.len());
    }

    #[test]
    fn a_line_names_sources_that_there_are_and_says_where_it_is() {
        for line in POINTS.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [_, sources, what] = fields[..] else {
                unreachable!("{line}")
            };
            let known = ["put", "sqs", "schedule", "bus", "invoke"];
            assert!(
                sources.split(',').all(|source| known.contains(&source)),
                "{line}"
            );
            assert!(what.len() > 10, "{line}");
        }
    }
}
