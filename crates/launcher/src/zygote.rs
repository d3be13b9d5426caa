//! Zygotes: interpreters that have started and imported once, and are forked for each sandbox.
//!
//! A zygote runs only what the host's administrator installed, never a user's code: it may enter
//! sandboxes. It sees the same root as its forks will, no network and no `/proc`. Its fork enters all
//! namespaces of an armed sandbox, gives up everything, and waits there. The launcher is the fork's
//! parent (`CLONE_PARENT`), so it ends as every sandbox does.
//!
//! The protocol, on descriptor 3 (`SOCK_SEQPACKET`): first the launcher sends the system call filter
//! (`struct sock_filter`s). The zygote sends one packet of text, its greeting, when it can be forked. Then each
//! packet asks for a fork: JSON, with the stem's socket, a pidfd of the sandbox, stdout, stderr, and the
//! cgroup files to write "0" to. The answer is the fork's process id, or a sentence why not.

use crate::capabilities;
use crate::child::{self, OOM_SCORE};
use crate::error::{Failure, Step};
use crate::exec::Program;
use crate::sandbox::{Ending, Sandbox, Workshop, adopt, wait};
use crate::slot::{Slot, Unused};
use crate::wire::{self, Report};
use crate::{Exit, Shape, kernel, root};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, WaitIdStatus};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Longest greeting in bytes.
const GREETING_MAX: usize = 64 * 1024;
const STARTING: &str = "starting a zygote";
/// Descriptor of the socket in the zygote.
const CONTROL: i32 = 3;
/// Memory of a zygote in bytes, its processes, its processor time in thousandths of a processor.
const MEMORY: u64 = 1024 * 1024 * 1024;

/// By whom a sandbox gets its program.
#[derive(Debug, Clone)]
pub(crate) enum By {
    /// This zygote.
    Zygote(u64),
    /// This snapshot.
    Snapshot(u64),
    /// It becomes a snapshot itself.
    Itself {
        argv: Vec<String>,
        environment: Vec<(String, String)>,
    },
}

/// What a sandbox hands on when it waits, to whom its program comes from.
pub(crate) struct Forked {
    pub(crate) by: By,
    pub(crate) control: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// See the module.
pub(crate) struct Zygote {
    process: kernel::Child,
    control: OwnedFd,
    slot: Slot,
    /// Sandboxes whose fork was asked for, in order.
    asked: VecDeque<u64>,
    /// Whether it has said that it can be forked.
    greeted: bool,
    /// What kept it from becoming its program.
    failure: Option<Failure>,
}

/// What a zygote says.
pub(crate) enum Word {
    Nothing,
    /// Nothing more: its end is told by its pidfd.
    End,
    /// It can be forked.
    Greeting(Vec<u8>),
    /// The fork for this sandbox, or why there is none.
    Fork(u64, Result<kernel::Child, Failure>),
}

impl Zygote {
    /// Starts one. Gives the slot back in the error.
    pub(crate) fn start(
        workshop: &Workshop,
        shape: &Shape,
        slot: Slot,
        argv: &[String],
        environment: &[(String, String)],
    ) -> Result<Self, Unused> {
        match begin(workshop, shape, &slot, argv, environment) {
            Ok((process, control)) => Ok(Self {
                process,
                control,
                slot,
                asked: VecDeque::new(),
                greeted: false,
                failure: None,
            }),
            Err(failure) => Err(Box::new((failure, slot))),
        }
    }

    pub(crate) fn process(&self) -> &kernel::Child {
        &self.process
    }

    pub(crate) fn control(&self) -> &OwnedFd {
        &self.control
    }

    pub(crate) fn kill(&self) {
        kernel::signal(&self.process.pidfd, Signal::KILL);
    }

    /// How many forks were asked for of which it has not told.
    pub(crate) fn asked(&self) -> usize {
        self.asked.len()
    }

    #[expect(clippy::option_option, reason = "ended, and known how")]
    pub(crate) fn reap(&self) -> Option<Option<WaitIdStatus>> {
        wait(&self.process.pidfd)
    }

    /// Its slot, the sandboxes that wait for it in vain, and what is to be told of its end.
    pub(crate) fn finish(self, status: Option<&WaitIdStatus>) -> (Slot, VecDeque<u64>, Ending) {
        let exit = Exit {
            code: status.and_then(WaitIdStatus::exit_status),
            signal: status.and_then(WaitIdStatus::terminating_signal),
            out_of_memory: self.slot.group.out_of_memory(),
            usage: self.slot.group.usage(),
        };
        let ending = match self.failure {
            Some(failure) => Ending::Failed(failure),
            None if self.greeted => Ending::Exited(exit),
            None => {
                let reason = format!("it ended before it could be forked: {}", exit.describe());
                Ending::Failed(Failure::new(STARTING, reason))
            }
        };
        (self.slot, self.asked, ending)
    }

    /// Asks for a fork that joins this parked sandbox.
    pub(crate) fn ask(
        &mut self,
        number: u64,
        sandbox: &Sandbox,
        ends: &Forked,
    ) -> Result<(), Failure> {
        const STEP: &str = "asking the zygote for a fork";
        let Some(template) = &sandbox.slot().template else {
            return Err(Failure::new(STEP, "the sandbox's shape is unique"));
        };
        let ids = &template.ids;
        let limits = child::bounds(sandbox.shape()).map(|(which, bound)| [which as u64, bound]);
        let message = format!(
            r#"{{"uid":{},"gid":{},"groups":{:?},"limits":{limits:?}}}"#,
            ids.uid, ids.gid, ids.groups
        );
        let entries = sandbox.slot().group.entries()?;
        let fixed = [
            &ends.control,
            &sandbox.first().pidfd,
            &ends.stdout,
            &ends.stderr,
        ];
        let fds: Vec<_> = fixed.into_iter().chain(&entries).map(AsFd::as_fd).collect();
        wire::send(&self.control, message.as_bytes(), &fds).step(STEP)?;
        self.asked.push_back(number);
        Ok(())
    }

    /// Takes what it says; never blocks.
    pub(crate) fn listen(&mut self) -> Word {
        let mut buffer = vec![0; GREETING_MAX];
        let received = wire::receive_bytes(&self.control, &mut buffer, RecvFlags::DONTWAIT);
        let length = match received {
            Ok(Some((length, _))) => length,
            Ok(None) => return Word::End,
            Err(_) => return Word::Nothing,
        };
        buffer.truncate(length);
        let Some(sandbox) = self.asked.pop_front() else {
            if !self.greeted
                && let Ok(Report::Failed(failure)) = wire::decode(&buffer)
            {
                self.failure = Some(failure);
                return Word::Nothing;
            }
            self.greeted = true;
            return Word::Greeting(buffer);
        };
        let text = String::from_utf8_lossy(&buffer);
        let fork = match text.parse() {
            Ok(number) => adopt(number).step("finding the zygote's fork"),
            Err(_) => Err(Failure::new("forking the zygote", text)),
        };
        Word::Fork(sandbox, fork)
    }
}

fn begin(
    workshop: &Workshop,
    shape: &Shape,
    slot: &Slot,
    argv: &[String],
    environment: &[(String, String)],
) -> Result<(kernel::Child, OwnedFd), Failure> {
    let (control, inside) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .step(STARTING)?;
    let unified = slot.group.unified()?;
    let unified = unified.as_ref().map(AsFd::as_fd);
    let Some(child) = kernel::fork(0, unified).step("forking")? else {
        let failure = match prepare(workshop, shape, slot, &inside) {
            Ok(()) => match Program::new(argv, environment) {
                Ok(program) => program.execute(),
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        eprintln!("zygote: {}: {}", failure.step, failure.reason);
        child::fail(&inside, failure)
    };
    // One that has ended already is found by its pidfd.
    let _ = wire::send(&control, &wire::filter(&workshop.filter), &[]);
    Ok((child, control))
}

/// In the child: a root of its own, and no more privilege than its forks need to enter sandboxes.
fn prepare(
    workshop: &Workshop,
    shape: &Shape,
    slot: &Slot,
    control: &OwnedFd,
) -> Result<(), Failure> {
    let mut keep = vec![control.as_raw_fd(), slot.users.fd.as_raw_fd()];
    kernel::close_all_but(&mut keep).step("closing files")?;
    std::fs::write("/proc/self/oom_score_adj", OOM_SCORE).step("setting oom_score_adj")?;
    slot.group.enter()?;
    kernel::unshare(
        libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS,
    )
    .step("making namespaces")?;
    rustix::process::umask(Mode::empty());
    let tmp = root::temporary_size(&limits());
    root::enter(shape, &slot.users, &workshop.stage, &slot.hostname, tmp)?;
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    rustix::process::setsid().step("starting a session")?;
    kernel::reset_signals();
    capabilities::keep_for_zygote().step("dropping capabilities")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .step("binding the zygote to the launcher")?;
    kernel::close_on_exec().step("closing files")?;
    kernel::keep_as(control, CONTROL).step("passing the socket on")
}

/// What all processes of a zygote may use together.
pub(crate) fn limits() -> model::Limits {
    model::Limits {
        memory: MEMORY,
        ..model::Limits::default()
    }
}
