//! Functions' own zygotes: a function that was initialised once, and is forked for each instance.
//!
//! Such a zygote runs user code, so it is contained as every instance: the same filter but for two calls, no
//! new privileges, an unprivileged user, the function's cgroup limits, a network and a root of its own. What
//! it has besides are two capabilities (`SYS_ADMIN`, `SYS_CHROOT`) *in the user namespace of its own slot*,
//! which owns nothing but the sandboxes of its forks ([`crate::nested`]). It holds them for setns(2) alone:
//! everything else that they would allow, the filter refuses. It is not the first of its pid namespace, so
//! that its forks can become children of the launcher (`CLONE_PARENT`).
//!
//! The launcher reads nothing that a zygote says: what it greets with is the server's to read. It sends the
//! filter for forks first, then one packet for each fork, with the stem's socket, a pidfd of the sandbox,
//! stdout, stderr, and the cgroup files to write "0" to. Which process came of it, the kernel tells
//! (`SCM_CREDENTIALS`), and that it is where it belongs is looked at ([`crate::sandbox`]).

use crate::child::{self, CONTROL, OOM_SCORE};
use crate::error::{Failure, Step};
use crate::exec::Program;
use crate::sandbox::{Sandbox, Workshop};
use crate::zygote::Forked;
use crate::{capabilities, kernel, nested, wire};
use rustix::fs::Mode;
use rustix::process::Signal;
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use std::os::fd::{AsFd, AsRawFd};

const STARTING: &str = "starting a snapshot";

/// What is executed.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) argv: &'a [String],
    pub(crate) environment: &'a [(String, String)],
}

/// Starts one in a sandbox that waits. What keeps the program from being executed it writes to its stderr.
pub(crate) fn begin(
    workshop: &Workshop,
    sandbox: &Sandbox,
    ends: &Forked,
    start: &Start<'_>,
) -> Result<kernel::Child, Failure> {
    let control = sandbox.control();
    let control = control.ok_or_else(|| Failure::new(STARTING, "it has no socket"))?;
    let unified = sandbox.slot().group.unified()?;
    let unified = unified.as_ref().map(AsFd::as_fd);
    let forked = nested::fork_into(workshop, &sandbox.first().pidfd, unified)?;
    let Some(child) = forked else {
        let failure = match prepare(workshop, sandbox, ends) {
            Ok(()) => match Program::new(start.argv, start.environment) {
                Ok(program) => program.execute(),
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        eprintln!("{}: {}", failure.step, failure.reason);
        kernel::exit_now(127)
    };
    // One that has ended already is found by its pidfd.
    let _ = wire::offer(control, &wire::filter(&workshop.filter), &[]);
    Ok(child)
}

/// In the child: enters the sandbox and keeps no more than its forks need.
fn prepare(workshop: &Workshop, sandbox: &Sandbox, ends: &Forked) -> Result<(), Failure> {
    let (slot, first) = (sandbox.slot(), sandbox.first());
    let template = slot.template.as_ref();
    let template = template.ok_or_else(|| Failure::new(STARTING, "its shape is unique"))?;
    let users = &slot.users;
    let fds = [
        &ends.control,
        &ends.stdout,
        &ends.stderr,
        &first.pidfd,
        &*users.fd,
    ];
    kernel::close_all_but(&mut fds.map(AsRawFd::as_raw_fd).into()).step("closing files")?;
    std::fs::write("/proc/self/oom_score_adj", OOM_SCORE).step("setting oom_score_adj")?;
    slot.group.enter()?;
    let kinds = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP;
    move_into_thread_name_spaces(first.pidfd.as_fd(), kinds).step("entering the sandbox")?;
    child::standard_streams(users, &template.ids, [&ends.stdout, &ends.stderr])?;
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    rustix::process::setsid().step("starting a session")?;
    kernel::reset_signals();
    child::limit(sandbox.shape())?;
    move_into_link_name_space(users.fd.as_fd(), Some(LinkNameSpaceType::User))
        .step("entering the user namespace")?;
    capabilities::bequeath_for_snapshot().step("keeping capabilities")?;
    rustix::thread::set_keep_capabilities(true).step("keeping capabilities")?;
    child::take_ids(&template.ids)?;
    rustix::thread::set_keep_capabilities(false).step("keeping capabilities")?;
    capabilities::keep_for_snapshot().step("keeping capabilities")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .step("binding the snapshot to the launcher")?;
    kernel::close_on_exec().step("closing files")?;
    kernel::keep_as(&ends.control, CONTROL).step("passing the socket on")?;
    kernel::seccomp(&workshop.snapshot_filter).step("installing the system call filter")
}

/// Asks for a fork that joins this parked sandbox. Never blocks: a zygote that does not read is its own loss.
pub(crate) fn ask(snapshot: &Sandbox, sandbox: &Sandbox, ends: &Forked) -> Result<(), Failure> {
    const STEP: &str = "asking the snapshot for a fork";
    let control = snapshot.control();
    let control = control.ok_or_else(|| Failure::new(STEP, "it has no socket"))?;
    let slot = sandbox.slot();
    let template = slot.template.as_ref();
    let user = template.map_or(0, |template| template.ids.uid);
    let entries = slot.users.acting_as(user, || slot.group.entries())?;
    let fixed = [
        &ends.control,
        &sandbox.first().pidfd,
        &ends.stdout,
        &ends.stderr,
    ];
    let fds: Vec<_> = fixed.into_iter().chain(&entries).map(AsFd::as_fd).collect();
    wire::offer(control, b"fork", &fds).step(STEP)
}
