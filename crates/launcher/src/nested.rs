//! Sandboxes for the forks of a function's own zygote ([`crate::snapshot`]).
//!
//! The zygote may enter only what belongs to its own user namespace and lies beneath its own pid namespace.
//! So two short-lived processes of the launcher make such a sandbox. The first joins the zygote's pid
//! namespace and the template, then gives up the host's privilege for the user namespace's, and only then
//! makes the process that will wait: all of that one's namespaces belong to the user namespace. The second
//! joins the new pid and network namespaces with the host's privilege, as long as nothing of a user is there,
//! and makes the listeners, `/proc` and `/tmp`. What results is a sandbox like every other.

use crate::child::{self, CONTROL, OOM_SCORE, Plan};
use crate::error::{Failure, Step};
use crate::namespaces::go_home;
use crate::network::{self, Network};
use crate::root::Ids;
use crate::sandbox::Workshop;
use crate::slot::Template;
use crate::wire::{self, Made, Report};
use crate::{capabilities, kernel, proc, root};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

const STEP: &str = "making a sandbox for a snapshot's fork";

/// The processes of a sandbox that is being made.
pub(crate) struct Nested {
    /// The first of its pid namespace, which waits.
    pub(crate) first: kernel::Child,
    /// The one that furnishes it, and reports.
    pub(crate) builder: kernel::Child,
}

/// Forks into the pid namespace of `member`. `None` in the child.
pub(crate) fn fork_into(
    workshop: &Workshop,
    member: &OwnedFd,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Option<kernel::Child>, Failure> {
    if !workshop.returns {
        return fork_beside(member, cgroup);
    }
    enter_pids(member)?;
    let forked = kernel::fork(0, cgroup);
    if !matches!(forked, Ok(None)) {
        go_home(&workshop.pids, LinkNameSpaceType::ProcessID);
    }
    forked.step("forking")
}

fn enter_pids(member: &OwnedFd) -> Result<(), Failure> {
    let kind = ThreadNameSpaceType::PROCESS_ID;
    move_into_thread_name_spaces(member.as_fd(), kind).step("entering a pid namespace")
}

/// The same for a launcher that may not return into its own pid namespace, since that is the host's: a child
/// enters in its place, and makes the other as its sibling.
fn fork_beside(
    member: &OwnedFd,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Option<kernel::Child>, Failure> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .step(STEP)?;
    let Some(helper) = kernel::fork(0, None).step("forking")? else {
        let forked = enter_pids(member)
            .and_then(|()| kernel::fork(libc::CLONE_PARENT, cgroup).step("forking"));
        let Ok(Some(child)) = forked else {
            return match forked {
                Ok(_) => Ok(None),
                Err(failure) => child::fail(&theirs, failure),
            };
        };
        finish(&theirs, || hand_over(&theirs, &child))
    };
    drop(theirs);
    let told = received(&ours);
    waitid(WaitId::PidFd(helper.pidfd.as_fd()), WaitIdOptions::EXITED).step(STEP)?;
    told.map(Some)
}

fn hand_over(hatch: &OwnedFd, child: &kernel::Child) -> Result<(), Failure> {
    let begun = wire::encode(&Report::Begun).step("reporting")?;
    wire::send(hatch, &begun, &[child.pidfd.as_fd()]).step("reporting")
}

/// The process that is handed over at the other end.
fn received(hatch: &OwnedFd) -> Result<kernel::Child, Failure> {
    let mut buffer = [0; 8192];
    match wire::receive::<Report>(hatch, &mut buffer, RecvFlags::empty()) {
        Ok(Some((Report::Begun, fds))) => delivered(fds),
        Ok(Some((Report::Failed(failure), _))) => Err(failure),
        _ => Err(Failure::new(STEP, "the process that makes it has died")),
    }
}

/// Makes one beneath the pid namespace that `snapshot` is the first process of. The launcher waits only for
/// its own first process here; the second reports on `plan.report`.
pub(crate) fn make(
    workshop: &Workshop,
    plan: &Plan<'_>,
    snapshot: &OwnedFd,
) -> Result<Nested, Failure> {
    let (executed, executing) = pipe_with(PipeFlags::CLOEXEC).step(STEP)?;
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .step(STEP)?;
    let unified = plan.slot.group.unified()?;
    let unified = unified.as_ref().map(AsFd::as_fd);
    let Some(maker) = fork_into(workshop, snapshot, unified)? else {
        finish(&theirs, || deliver(plan, &theirs, &executing))
    };
    drop((theirs, executing));
    let told = received(&ours);
    waitid(WaitId::PidFd(maker.pidfd.as_fd()), WaitIdOptions::EXITED).step(STEP)?;
    let first = told?;
    match fork_into(workshop, &first.pidfd, None) {
        Ok(Some(builder)) => Ok(Nested { first, builder }),
        Ok(None) => finish(plan.report, || build(plan, &first, &executed)),
        Err(failure) => {
            kernel::signal(&first.pidfd, Signal::KILL);
            waitid(WaitId::PidFd(first.pidfd.as_fd()), WaitIdOptions::EXITED).step(STEP)?;
            Err(failure)
        }
    }
}

/// Does a child's work, tells what failed, and ends.
fn finish(report: &OwnedFd, work: impl FnOnce() -> Result<(), Failure>) -> ! {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => kernel::exit_now(0),
        Ok(Err(failure)) => child::fail(report, failure),
        Err(_) => child::fail(report, Failure::new(STEP, "a fault in the launcher")),
    }
}

/// The process that a pidfd names, with its number as the launcher sees it (proc(5), `fdinfo`).
fn delivered(fds: Vec<OwnedFd>) -> Result<kernel::Child, Failure> {
    let missing = || Failure::new(STEP, "its process is not told");
    let pidfd = fds.into_iter().next().ok_or_else(missing)?;
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(path).step(STEP)?;
    let number = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    let number = number.and_then(|number| number.trim().parse().ok());
    // Ended already, it has none.
    let pid = number.filter(|number| *number > 0).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(missing)?;
    Ok(kernel::Child { pid, pidfd })
}

/// In the first process: makes the one that waits, and hands it over.
fn deliver(plan: &Plan<'_>, hatch: &OwnedFd, executing: &OwnedFd) -> Result<(), Failure> {
    let slot = plan.slot;
    let template = template(plan)?;
    let mut keep: Vec<_> = [
        hatch,
        executing,
        plan.report,
        plan.park,
        plan.stdout,
        plan.stderr,
        &*slot.users.fd,
        &template.namespace,
    ]
    .map(AsRawFd::as_raw_fd)
    .into();
    kernel::close_all_but(&mut keep).step("closing files")?;
    std::fs::write("/proc/self/oom_score_adj", OOM_SCORE).step("setting oom_score_adj")?;
    slot.group.enter()?;
    let kind = Some(LinkNameSpaceType::Mount);
    move_into_link_name_space(template.namespace.as_fd(), kind).step("entering the template")?;
    let ids = &template.ids;
    child::standard_streams(&slot.users, ids, [plan.stdout, plan.stderr])?;
    kernel::reset_signals();
    kernel::ignore(Signal::CHILD);
    child::limit(plan.shape)?;
    move_into_link_name_space(slot.users.fd.as_fd(), Some(LinkNameSpaceType::User))
        .step("entering the user namespace")?;
    let namespaces = libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let child = kernel::fork(namespaces | libc::CLONE_PARENT, None).step("making namespaces")?;
    let Some(child) = child else {
        // It returns only with the reason why it does not wait.
        finish(plan.report, || wait(plan, ids))
    };
    hand_over(hatch, &child)
}

fn template<'a>(plan: &Plan<'a>) -> Result<&'a Template, Failure> {
    let template = plan.slot.template.as_ref();
    template.ok_or_else(|| Failure::new(STEP, "it has no template"))
}

/// Gives up everything and becomes the program that waits.
fn wait(plan: &Plan<'_>, ids: &Ids) -> Result<(), Failure> {
    let hostname = child::hostname(plan.shape, plan.slot);
    rustix::system::sethostname(hostname.as_bytes()).step("setting the host name")?;
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    rustix::process::setsid().step("starting a session")?;
    child::take_ids(ids)?;
    capabilities::drop_held().step("dropping capabilities")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .step("binding the sandbox to the launcher")?;
    kernel::close_on_exec().step("closing files")?;
    kernel::seccomp(plan.filter).step("installing the system call filter")?;
    kernel::keep_as(plan.report, CONTROL).step("passing the socket on")?;
    let error = kernel::execute_file(plan.park, c"rouse-park");
    Err(std::io::Error::from(error)).step("waiting for a program")
}

/// In the second process: furnishes the sandbox of `first`, and reports.
fn build(plan: &Plan<'_>, first: &kernel::Child, executed: &OwnedFd) -> Result<(), Failure> {
    let (shape, slot) = (plan.shape, plan.slot);
    let template = template(plan)?;
    let keep = [plan.report, &first.pidfd, executed].map(AsRawFd::as_raw_fd);
    kernel::close_all_but(&mut keep.into()).step("closing files")?;
    // Until it is the program that waits, nobody may enter its namespaces by its pidfd.
    rustix::io::retry_on_intr(|| rustix::io::read(executed, &mut [0_u8; 1])).step(STEP)?;
    let enter = |kind| move_into_thread_name_spaces(first.pidfd.as_fd(), kind);
    enter(ThreadNameSpaceType::NETWORK).step("entering the network namespace")?;
    network::establish(shape.egress)?;
    let Network {
        listeners,
        redirect,
    } = network::listen_on(&shape.listen, shape.serves, shape.egress, None)?;
    let network = child::namespace("net").step("entering the network namespace")?;
    rustix::process::umask(Mode::empty());
    let proc = proc::make(false)?;
    enter(ThreadNameSpaceType::MOUNT).step("entering the sandbox's mounts")?;
    root::furnish(shape, &slot.users, plan.tmp, &proc)?;
    let made = Made {
        redirect: redirect.is_some(),
        network: true,
        template: false,
        spaces: false,
        ids: template.ids.clone(),
    };
    let redirect = redirect.map(|redirect| [redirect.map, redirect.link]);
    let fds: Vec<_> = listeners
        .into_iter()
        .chain(redirect.into_iter().flatten())
        .chain([network])
        .collect();
    let bytes = wire::encode(&Report::Parked(made)).step("reporting")?;
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    wire::send(plan.report, &bytes, &borrowed).step("reporting")
}
