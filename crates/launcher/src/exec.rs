//! Becoming the program.

use crate::error::Failure;
use crate::kernel::{self, CStrings};
use rustix::io::Errno;
use std::ffi::CString;

/// Where a program is looked up when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with its arguments and environment, as execve(2) takes them.
pub(crate) struct Program {
    name: String,
    candidates: Vec<CString>,
    argv: CStrings,
    envp: CStrings,
}

impl Program {
    /// `argv` is not empty, and nothing in it or in `environment` has a zero byte: the spec's check
    /// saw to that.
    pub(crate) fn new(argv: &[String], environment: &[(String, String)]) -> Result<Self, Failure> {
        let name = argv.first().cloned().unwrap_or_default();
        let c = |text: String| {
            CString::new(text).map_err(|_| Failure::new(format!("executing {name}"), "a zero byte"))
        };
        let candidates = if name.contains('/') {
            vec![c(name.clone())?]
        } else {
            let path = environment.iter().find(|(key, _)| key == "PATH");
            let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_str());
            path.split(':')
                .map(|folder| {
                    c(format!(
                        "{}/{name}",
                        if folder.is_empty() { "." } else { folder }
                    ))
                })
                .collect::<Result<_, _>>()?
        };
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
            let found = rustix::fs::access(candidate, rustix::fs::Access::EXISTS).is_ok();
            match kernel::execve(candidate, &self.argv, &self.envp) {
                Errno::NOENT if found => {
                    let file = candidate.to_string_lossy();
                    let reason = format!(
                        "{file} is there, but the interpreter or loader that it names is not"
                    );
                    return Failure::new(format!("executing {}", self.name), reason);
                }
                Errno::NOENT | Errno::NOTDIR => {}
                // As a shell does: a file that may not be executed does not end the search.
                Errno::ACCESS => worst = Errno::ACCESS,
                other => {
                    worst = other;
                    break;
                }
            }
        }
        let reason = match worst {
            Errno::NOENT if self.name.contains('/') => "no such file".to_owned(),
            Errno::NOENT => "not found in PATH".to_owned(),
            Errno::ACCESS => "permission denied; is it executable for everyone?".to_owned(),
            Errno::NOEXEC => "not a program for this machine, or a script without #!".to_owned(),
            other => std::io::Error::from(other).to_string(),
        };
        Failure::new(format!("executing {}", self.name), reason)
    }
}
