//! What runs in a sandbox: what waits there, and what it is given then.

use crate::Bind;
use crate::bounds::{MOUNTS_MAX, check_path, check_target, within};
use model::Limits;
use serde::{Deserialize, Serialize};

/// What waits in an armed sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stem {
    /// Nothing but the launcher's own process, which will execute whatever program is assigned.
    None,
    /// A program, started ahead. It has a socket (`SOCK_SEQPACKET`) as descriptor 3: it writes one
    /// byte when it is ready, and reads one packet, the assignment's message.
    Program {
        /// Program and arguments.
        argv: Vec<String>,
        /// Its whole environment.
        environment: Vec<(String, String)>,
    },
    /// A fork of this zygote ([`crate::Zygote::number`]), with the same socket.
    Fork {
        /// Which.
        zygote: u64,
    },
    /// A zygote of a function's own, which runs user code: a program that is executed in the sandbox
    /// beside the process that waits there, and that sandboxes are forked from. For
    /// [`crate::Launcher::snapshot`] only.
    Snapshot {
        /// Program and arguments.
        argv: Vec<String>,
        /// Its whole environment.
        environment: Vec<(String, String)>,
    },
    /// A fork of this snapshot ([`crate::Snapshot::number`]), with the same socket. The shape must be the
    /// snapshot's but for its listeners, and its code among the binds: nothing is mounted later.
    Restored {
        /// Which.
        snapshot: u64,
    },
}

/// What a sandbox is given when it is known what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Folders bound read-only at places of the shape.
    pub code: Vec<Bind>,
    /// What runs.
    pub work: Work,
    /// Enforced by cgroups; the number of files is the shape's.
    pub limits: Limits,
}

/// What runs in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// A program is executed; for sandboxes without a stem.
    Execute {
        /// Program and arguments. The program is looked up in the environment's `PATH` inside.
        argv: Vec<String>,
        /// The whole environment.
        environment: Vec<(String, String)>,
        /// Working directory inside.
        working_dir: String,
    },
    /// The stem is told; at most 128 KiB.
    Tell(Vec<u8>),
}

/// Most bytes of arguments, and of names and values of the environment: 64 KiB each.
const TEXT_MAX: usize = 64 * 1024;
/// Longest message to a stem in bytes.
const MESSAGE_MAX: usize = 128 * 1024;

impl Stem {
    /// Checks every bound.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::None | Self::Fork { .. } | Self::Restored { .. } => Ok(()),
            Self::Program { argv, environment } | Self::Snapshot { argv, environment } => {
                check_program(argv, environment)
            }
        }
    }
}

impl Assignment {
    /// Checks every bound.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.limits.check().map_err(|error| error.to_string())?;
        within("folders of code", self.code.len(), MOUNTS_MAX)?;
        for bind in &self.code {
            check_path(&bind.source)?;
            check_target(&bind.target)?;
        }
        match &self.work {
            Work::Tell(message) => within("bytes of message", message.len(), MESSAGE_MAX),
            Work::Execute {
                argv,
                environment,
                working_dir,
            } => {
                if !working_dir.starts_with('/') || working_dir.contains('\0') {
                    return Err("the working directory must be an absolute path".to_owned());
                }
                check_program(argv, environment)
            }
        }
    }
}

/// Arguments and environment as execve(2) can take them, within our bounds.
pub(crate) fn check_program(
    argv: &[String],
    environment: &[(String, String)],
) -> Result<(), String> {
    if argv.first().is_none_or(String::is_empty) {
        return Err("no program is named".to_owned());
    }
    let size: usize = argv.iter().map(|text| text.len() + 1).sum();
    within("bytes of arguments", size, TEXT_MAX)?;
    let size = |(name, value): &(String, String)| name.len() + value.len() + 2;
    let size = environment.iter().map(size).sum();
    within("bytes of environment", size, TEXT_MAX)?;
    let legal = |name: &str| !name.is_empty() && !name.contains('=');
    if let Some((name, _)) = environment.iter().find(|(name, _)| !legal(name)) {
        let name = name.escape_debug();
        return Err(format!("\"{name}\" is no name of an environment variable"));
    }
    let pairs = environment.iter().flat_map(|(name, value)| [name, value]);
    if argv.iter().chain(pairs).any(|text| text.contains('\0')) {
        return Err("an argument or environment variable has a zero byte".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::tests::{Change, bind, refused};

    #[test]
    fn each_bound_of_a_program_is_named() {
        type Program = (Vec<String>, Vec<(String, String)>);
        let cases: [Change<Program>; 5] = [
            (|(argv, _)| argv.clear(), "no program"),
            (|(argv, _)| argv.push("x".repeat(TEXT_MAX)), "arguments"),
            (|(argv, _)| argv.push("a\0b".to_owned()), "zero byte"),
            (
                |(_, pairs)| pairs.push(("a=b".to_owned(), String::new())),
                "environment",
            ),
            (
                |(_, pairs)| pairs[0].1 = "x".repeat(TEXT_MAX),
                "environment",
            ),
        ];
        for (change, word) in cases {
            let program = (
                vec!["sh".to_owned()],
                vec![("A".to_owned(), "b=c".to_owned())],
            );
            let check = |(argv, pairs): &Program| check_program(argv, pairs);
            refused(program, change, check, word);
        }
    }

    #[test]
    fn each_bound_of_an_assignment_is_named() {
        let cases: [Change<Assignment>; 3] = [
            (|a| a.limits.memory = 1, "memory"),
            (|a| a.code = vec![bind("/a", "/")], "mounted on"),
            (|a| a.work = Work::Tell(vec![0; MESSAGE_MAX + 1]), "message"),
        ];
        for (change, word) in cases {
            let assignment = Assignment {
                code: Vec::new(),
                work: Work::Tell(Vec::new()),
                limits: Limits::default(),
            };
            refused(assignment, change, Assignment::check, word);
        }
    }
}
