//! Becoming the program: by the process itself, or by the one that waits in an armed sandbox
//! (`park/park.rs`).

use crate::error::Failure;
use crate::kernel::{self, CStrings};
use rustix::io::Errno;
use std::ffi::CString;

/// Where a program is looked up when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The files that may be meant, in order. Neither `argv` is empty, nor has anything in it or in
/// `environment` a zero byte: the check of what was asked for saw to that.
fn candidates(argv: &[String], environment: &[(String, String)]) -> Vec<String> {
    let name = argv.first().map_or("", String::as_str);
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    let path = environment.iter().find(|(key, _)| key == "PATH");
    let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_str());
    let folders = path.split(':').map(|folder| match folder {
        "" => ".",
        folder => folder,
    });
    folders.map(|folder| format!("{folder}/{name}")).collect()
}

/// Why none of them could be executed.
fn failure(name: &str, candidate: &str, error: Errno, there: bool) -> Failure {
    let reason = match error {
        Errno::NOENT if there => {
            format!("{candidate} is there, but the interpreter or loader that it names is not")
        }
        Errno::NOENT if name.contains('/') => "no such file".to_owned(),
        Errno::NOENT => "not found in PATH".to_owned(),
        Errno::ACCESS => "permission denied; is it executable for everyone?".to_owned(),
        Errno::NOEXEC => "not a program for this machine, or a script without #!".to_owned(),
        other => std::io::Error::from(other).to_string(),
    };
    Failure::new(format!("executing {name}"), reason)
}

/// A program with its arguments and environment, as execve(2) takes them.
pub(crate) struct Program {
    name: String,
    candidates: Vec<CString>,
    argv: CStrings,
    envp: CStrings,
}

impl Program {
    pub(crate) fn new(argv: &[String], environment: &[(String, String)]) -> Result<Self, Failure> {
        let name = argv.first().cloned().unwrap_or_default();
        let c = |text: String| {
            CString::new(text).map_err(|_| Failure::new(format!("executing {name}"), "a zero byte"))
        };
        let tried = candidates(argv, environment);
        let candidates = tried.into_iter().map(c).collect::<Result<_, _>>()?;
        let argv = argv.iter().cloned().map(c).collect::<Result<_, _>>()?;
        let pairs = environment
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let envp = pairs.map(c).collect::<Result<_, _>>()?;
        Ok(Self {
            name: name.clone(),
            candidates,
            argv: CStrings::new(argv),
            envp: CStrings::new(envp),
        })
    }

    /// Becomes the program; returns only the reason why not.
    pub(crate) fn execute(&self) -> Failure {
        let mut worst = Errno::NOENT;
        for candidate in &self.candidates {
            let there = rustix::fs::access(candidate, rustix::fs::Access::EXISTS).is_ok();
            match kernel::execve(candidate, &self.argv, &self.envp) {
                Errno::NOENT | Errno::NOTDIR if !there => {}
                // As a shell does: a file that may not be executed does not end the search.
                Errno::ACCESS => worst = Errno::ACCESS,
                other => return failure(&self.name, &candidate.to_string_lossy(), other, true),
            }
        }
        failure(&self.name, "", worst, false)
    }
}

/// What the waiting process was told, to explain its answer.
pub(crate) struct Told {
    directory: String,
    name: String,
    candidates: Vec<String>,
}

/// The packet that the waiting process understands.
pub(crate) fn packet(
    argv: &[String],
    environment: &[(String, String)],
    directory: &str,
) -> (Vec<u8>, Told) {
    let candidates = candidates(argv, environment);
    let mut bytes = Vec::with_capacity(4096);
    for count in [candidates.len(), argv.len(), environment.len()] {
        bytes.extend(u32::try_from(count).unwrap_or(u32::MAX).to_ne_bytes());
    }
    let mut string = |parts: &[&str]| {
        parts.iter().for_each(|part| bytes.extend(part.as_bytes()));
        bytes.push(0);
    };
    string(&[directory]);
    candidates
        .iter()
        .chain(argv)
        .for_each(|text| string(&[text]));
    for (name, value) in environment {
        string(&[name, "=", value]);
    }
    let told = Told {
        directory: directory.to_owned(),
        name: argv.first().cloned().unwrap_or_default(),
        candidates,
    };
    (bytes, told)
}

impl Told {
    /// Why nothing was executed, from what the waiting process answered.
    pub(crate) fn explain(&self, answer: &[u8]) -> Failure {
        let word = |index: usize| {
            let bytes = answer.get(index * 4..index * 4 + 4).unwrap_or_default();
            u32::from_ne_bytes(bytes.try_into().unwrap_or_default())
        };
        let error = Errno::from_raw_os_error(i32::try_from(word(1)).unwrap_or(0).clamp(1, 4095));
        if word(0) == 1 {
            let step = format!("entering the working directory {}", self.directory);
            return Failure::new(step, std::io::Error::from(error).to_string());
        }
        let candidate = self.candidates.get(word(2) as usize);
        let candidate = candidate.map_or("", String::as_str);
        failure(&self.name, candidate, error, word(3) == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_has_its_strings_in_order() {
        let argv = ["prog".to_owned(), "-x".to_owned()];
        let environment = [("PATH".to_owned(), "/a::/b".to_owned())];
        let (bytes, told) = packet(&argv, &environment, "/dir");
        let count = |at: usize| bytes[at * 4];
        assert_eq!([count(0), count(1), count(2)], [3, 2, 1]);
        let text = String::from_utf8_lossy(&bytes[12..]).into_owned();
        let expected = "/dir\0/a/prog\0./prog\0/b/prog\0prog\0-x\0PATH=/a::/b\0";
        assert_eq!(text, expected);
        let words = |words: [u32; 4]| words.map(u32::to_ne_bytes).concat();
        let failure = told.explain(&words([1, 2, 0, 0]));
        assert_eq!(failure.step, "entering the working directory /dir");
        let failure = told.explain(&words([2, 2, 2, 1]));
        assert!(
            failure.reason.starts_with("/b/prog is there"),
            "{failure:?}"
        );
        assert_eq!(
            told.explain(&words([2, 2, 0, 0])).reason,
            "not found in PATH"
        );
        // Whatever it says, it is a reason.
        assert!(!told.explain(&[]).reason.is_empty());
    }
}
