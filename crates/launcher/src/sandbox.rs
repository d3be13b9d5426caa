//! One sandbox as the launcher keeps it, from its fork to its last cgroup.

use crate::child::{self, Plan};
use crate::error::{Failure, Step};
use crate::root::Stage;
use crate::userns::UserNamespace;
use crate::wire::{self, Report};
use crate::{Exit, SandboxSpec, Usage, cgroup, kernel};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus, waitid};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// How far it is.
enum Phase {
    /// The child sets itself up. Its ends of the pipes and listeners wait here.
    Starting {
        report: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
        listeners: Option<Vec<OwnedFd>>,
    },
    /// The program runs, or has run.
    Running,
    /// It never became the program.
    Failed(Failure),
}

/// See the module.
pub(crate) struct Sandbox {
    pub(crate) pidfd: OwnedFd,
    pub(crate) pid: u32,
    phase: Phase,
    group: cgroup::Group,
    users: UserNamespace,
    /// Held so that connections find our listeners.
    redirect: Option<OwnedFd>,
    ended: Option<Exit>,
}

/// What is the same for all sandboxes.
pub(crate) struct Workshop {
    pub(crate) stage: Stage,
    pub(crate) cgroups: cgroup::Cgroups,
    pub(crate) filter: Vec<libc::sock_filter>,
}

/// What a report of the child leads to.
pub(crate) enum Progress {
    /// Nothing yet.
    Waiting,
    /// The program runs. With stdout, stderr and the listeners.
    Started(Vec<OwnedFd>),
    /// It failed, and was killed; its end is to be awaited.
    Failed,
}

/// How it ended.
pub(crate) enum Ending {
    Exited(Exit),
    Failed(Failure),
}

impl Sandbox {
    /// Makes the cgroups and forks. The child goes on by itself. Gives `users` back in the error.
    pub(crate) fn start(
        workshop: &Workshop,
        spec: &SandboxSpec,
        users: UserNamespace,
    ) -> Result<Self, (Failure, UserNamespace)> {
        let mut group = match workshop.cgroups.create(&spec.id, &spec.limits) {
            Ok(group) => group,
            Err(failure) => return Err((failure, users)),
        };
        match fork(workshop, spec, &group, &users) {
            Ok((child, phase)) => Ok(Self {
                pid: child.pid.as_raw_nonzero().get().unsigned_abs(),
                pidfd: child.pidfd,
                phase,
                group,
                users,
                redirect: None,
                ended: None,
            }),
            Err(failure) => {
                group.remove();
                Err((failure, users))
            }
        }
    }

    /// Whether SIGTERM means anything to its program. The kernel keeps signals that are not caught
    /// from the first process of a pid namespace, so one without a handler would never end by it.
    pub(crate) fn heeds_terminate(&self) -> bool {
        const TERMINATE: u64 = 1 << (libc::SIGTERM - 1);
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_some_and(|mask| mask & TERMINATE != 0)
    }

    /// What tells of the child's progress, until it is through.
    pub(crate) fn report(&self) -> Option<&OwnedFd> {
        match &self.phase {
            Phase::Starting { report, .. } => Some(report),
            _ => None,
        }
    }

    /// Takes what the child has reported; never blocks.
    pub(crate) fn progress(&mut self) -> Progress {
        let Phase::Starting {
            report, listeners, ..
        } = &mut self.phase
        else {
            return Progress::Waiting;
        };
        let mut buffer = [0; 8192];
        loop {
            match wire::receive(&*report, &mut buffer, RecvFlags::DONTWAIT) {
                Ok(Some((Report::Prepared { redirected }, mut fds))) => {
                    if redirected {
                        self.redirect = fds.pop();
                    }
                    *listeners = Some(fds);
                }
                Ok(Some((Report::Failed(failure), _))) => return self.fail(failure),
                // The end: the descriptor was closed, by execve or by death.
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Progress::Waiting;
                }
                Err(error) => {
                    return self.fail(Failure::new("reading a report", error.to_string()));
                }
            }
        }
        match std::mem::replace(&mut self.phase, Phase::Running) {
            Phase::Starting {
                stdout,
                stderr,
                listeners: Some(listeners),
                ..
            } => {
                let mut fds = vec![stdout, stderr];
                fds.extend(listeners);
                Progress::Started(fds)
            }
            _ => {
                let reason = if self.group.out_of_memory() > 0 {
                    "killed for memory; the limit is too small even to begin"
                } else {
                    "killed before the program began"
                };
                self.fail(Failure::new("setting up the sandbox", reason))
            }
        }
    }

    fn fail(&mut self, failure: Failure) -> Progress {
        self.phase = Phase::Failed(failure);
        kernel::signal(&self.pidfd, Signal::KILL);
        Progress::Failed
    }

    /// Takes the exit status of its first process if that has ended, and with it all its processes:
    /// the kernel kills the rest of a pid namespace before it lets the first be reaped.
    pub(crate) fn reap(&mut self) -> bool {
        if self.ended.is_some() {
            return true;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
            Ok(None) => false,
            Ok(Some(status)) => {
                self.ended = Some(self.exit(Some(&status)));
                true
            }
            // Nobody else waits for it, so this does not happen; it must not be waited for forever.
            Err(_) => {
                self.ended = Some(self.exit(None));
                true
            }
        }
    }

    fn exit(&self, status: Option<&WaitIdStatus>) -> Exit {
        Exit {
            code: status.and_then(WaitIdStatus::exit_status),
            signal: status.and_then(WaitIdStatus::terminating_signal),
            out_of_memory: self.group.out_of_memory() > 0,
            usage: self.group.usage(),
        }
    }

    /// Removes its cgroups; whether nothing is left.
    pub(crate) fn remove(&mut self) -> bool {
        self.group.remove()
    }

    /// What is to be told of it, once it is reaped, and the namespace for the next one.
    pub(crate) fn finish(self) -> (Ending, UserNamespace) {
        let ending = match (self.phase, self.ended) {
            (Phase::Failed(failure), _) => Ending::Failed(failure),
            (_, Some(exit)) => Ending::Exited(exit),
            (_, None) => Ending::Failed(Failure::new("ending", "it was not awaited")),
        };
        (ending, self.users)
    }

    pub(crate) fn usage(&self) -> Usage {
        self.group.usage()
    }
}

fn fork(
    workshop: &Workshop,
    spec: &SandboxSpec,
    group: &cgroup::Group,
    users: &UserNamespace,
) -> Result<(kernel::Child, Phase), Failure> {
    const STEP: &str = "making pipes";
    let (stdout, stdout_inside) = pipe_with(PipeFlags::CLOEXEC).step(STEP)?;
    let (stderr, stderr_inside) = pipe_with(PipeFlags::CLOEXEC).step(STEP)?;
    let (report, report_inside) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .step(STEP)?;
    let unified = group.unified()?;
    let unified = unified.as_ref().map(AsFd::as_fd);
    let child = kernel::fork(libc::CLONE_NEWPID, unified).step("forking")?;
    let Some(child) = child else {
        child::run(&Plan {
            spec,
            group,
            users,
            stage: &workshop.stage,
            filter: &workshop.filter,
            report: &report_inside,
            stdout: &stdout_inside,
            stderr: &stderr_inside,
        })
    };
    let phase = Phase::Starting {
        report,
        stdout,
        stderr,
        listeners: None,
    };
    Ok((child, phase))
}
