//! How a sandbox's first process comes to be, and how it is waited for.

use super::Workshop;
use crate::child::{self, Plan};
use crate::error::{Failure, Step};
use crate::slot::Slot;
use crate::zygote::{By, Forked};
use crate::{Shape, Stem, kernel, nested};
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The launcher's ends of what connects it, and the server, with a sandbox.
pub(super) struct Ends {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) listeners: Vec<OwnedFd>,
}

const PAIR: &str = "making a socket";

fn pair() -> Result<(OwnedFd, OwnedFd), Failure> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .step(PAIR)
}

/// The status of a process that has ended, if the kernel tells it.
#[expect(clippy::option_option, reason = "ended, and known how")]
pub(crate) fn wait(pidfd: &OwnedFd) -> Option<Option<WaitIdStatus>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match waitid(WaitId::PidFd(pidfd.as_fd()), options) {
        Ok(None) => None,
        Ok(status) => Some(status),
        // Nobody else waits for it, so this does not happen; it must not be waited for forever.
        Err(_) => Some(None),
    }
}

/// Whether it has ended, which is left to be awaited.
pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::PidFd(pidfd.as_fd()), options), Ok(None))
}

/// What a fork leaves with the launcher.
pub(super) struct Fork {
    pub(super) child: kernel::Child,
    /// The process that furnishes it, if that is another.
    pub(super) builder: Option<kernel::Child>,
    pub(super) report: OwnedFd,
    pub(super) control: Option<OwnedFd>,
    pub(super) for_zygote: Option<Forked>,
    pub(super) ends: Ends,
}

/// Makes the ends, and forks the first process, which goes on by itself. `within`: the first process of the
/// snapshot that it is for.
pub(super) fn fork(
    workshop: &Workshop,
    shape: &Shape,
    slot: &Slot,
    stem: &Stem,
    tmp: u64,
    within: Option<&OwnedFd>,
) -> Result<Fork, Failure> {
    const STEP: &str = "making pipes";
    let (stdout, stdout_inside) = pipe_with(PipeFlags::CLOEXEC).step(STEP)?;
    let (stderr, stderr_inside) = pipe_with(PipeFlags::CLOEXEC).step(STEP)?;
    let (report, report_inside) = pair()?;
    let (control, control_inside) = match stem {
        Stem::None => (None, None),
        Stem::Program { .. }
        | Stem::Fork { .. }
        | Stem::Snapshot { .. }
        | Stem::Restored { .. } => {
            let (ours, theirs) = pair()?;
            (Some(ours), Some(theirs))
        }
    };
    if let (Stem::Restored { .. }, Some(control)) = (stem, &control) {
        // Which process is the fork, the kernel shall tell.
        set_socket_passcred(control, true).step(PAIR)?;
    }
    let is_program = matches!(stem, Stem::Program { .. });
    let unified = slot.group.unified()?;
    // What waits as `park` leaves nothing allocated when it executes, so it may use the launcher's memory until
    // then; a clone straight into a cgroup cannot do so.
    let shares = unified.is_none() && within.is_none() && !is_program;
    let plan = Plan {
        shape,
        slot,
        tmp,
        stage: &workshop.stage,
        filter: &workshop.filter,
        park: &workshop.park,
        report: &report_inside,
        control: control_inside.as_ref().filter(|_| is_program),
        stem,
        stdout: &stdout_inside,
        stderr: &stderr_inside,
        reserved: shares.then_some(&workshop.reserved),
    };
    let (child, builder) = match within {
        Some(snapshot) => {
            let made = nested::make(workshop, &plan, snapshot)?;
            (made.first, Some(made.builder))
        }
        None => {
            let unified = unified.as_ref().map(AsFd::as_fd);
            (begin(&plan, unified).step("forking")?, None)
        }
    };
    let by = match stem {
        Stem::Fork { zygote } => Some(By::Zygote(*zygote)),
        Stem::Restored { snapshot } => Some(By::Snapshot(*snapshot)),
        Stem::Snapshot { argv, environment } => Some(By::Itself {
            argv: argv.clone(),
            environment: environment.clone(),
        }),
        Stem::None | Stem::Program { .. } => None,
    };
    let for_zygote = by.zip(control_inside).map(|(by, control)| Forked {
        by,
        control,
        stdout: stdout_inside,
        stderr: stderr_inside,
    });
    Ok(Fork {
        child,
        builder,
        report,
        control,
        for_zygote,
        ends: Ends {
            stdout,
            stderr,
            listeners: Vec::new(),
        },
    })
}

/// The first process.
fn begin(plan: &Plan<'_>, unified: Option<BorrowedFd<'_>>) -> io::Result<kernel::Child> {
    if let Some(reserved) = plan.reserved {
        let child = kernel::spawn(libc::CLONE_NEWPID, &|| child::run(plan));
        // If that failed, they would be let go of after the next start.
        let _ = reserved.clear();
        return child;
    }
    let child = kernel::fork(libc::CLONE_NEWPID, unified)?;
    Ok(child.unwrap_or_else(|| child::run(plan)))
}

/// A process by its number, which must be a child of the launcher that was not awaited.
pub(crate) fn adopt(number: i32) -> io::Result<kernel::Child> {
    let pid = Pid::from_raw(number).ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    Ok(kernel::Child { pid, pidfd })
}
