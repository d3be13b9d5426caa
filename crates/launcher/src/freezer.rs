//! The freezer of a sandbox: one control file of its control group.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// Stops every process of a sandbox without telling it, and lets it go on.
#[derive(Debug)]
pub struct Freezer {
    file: OwnedFd,
    unified: bool,
    /// Whether it was frozen last, held while the file is written to.
    frozen: Mutex<bool>,
}

impl Freezer {
    /// Over the control file, open for writing: `freezer.state` of version 1, or `cgroup.freeze` of
    /// version 2 (`unified`). The group must not be frozen yet.
    pub fn new(file: OwnedFd, unified: bool) -> Self {
        Self {
            file,
            unified,
            frozen: Mutex::new(false),
        }
    }

    /// Writes the state, unless it is that already.
    pub(crate) fn set(&self, frozen: bool) {
        let mut state = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == frozen {
            return;
        }
        let word: &[u8] = match (self.unified, frozen) {
            (false, true) => b"FROZEN",
            (false, false) => b"THAWED",
            (true, true) => b"1",
            (true, false) => b"0",
        };
        match rustix::io::pwrite(self.file.as_fd(), word, 0) {
            Ok(_) => *state = frozen,
            // A group that is gone has nothing in it to be frozen.
            Err(rustix::io::Errno::NODEV) => {}
            Err(error) => tracing::warn!(%error, frozen, "writing to a sandbox's freezer"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read, Seek};

    #[test]
    fn each_version_is_written_in_its_own_words() {
        for (unified, frozen, thawed) in [(false, "FROZEN", "THAWED"), (true, "1", "0")] {
            let mut file = tempfile::tempfile().unwrap();
            let freezer = Freezer::new(file.try_clone().unwrap().into(), unified);
            let mut read = || {
                let mut text = String::new();
                file.rewind().unwrap();
                file.read_to_string(&mut text).unwrap();
                text
            };
            freezer.set(false);
            assert_eq!(read(), "", "it is not frozen yet");
            freezer.set(true);
            assert_eq!(read(), frozen);
            freezer.set(false);
            assert_eq!(read(), thawed);
        }
    }
}
