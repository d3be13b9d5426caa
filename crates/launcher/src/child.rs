//! From a fork of the launcher to the program, step by step. All of this runs in the new process.

use crate::error::{Failure, Step};
use crate::exec::Program;
use crate::root::{Ids, Stage};
use crate::userns::UserNamespace;
use crate::wire::{self, Report};
use crate::{SandboxSpec, capabilities, cgroup, kernel, network, root};
use rustix::fs::{Gid, Mode, OFlags, Uid, open};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use rustix::thread::LinkNameSpaceType;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// How likely the kernel chooses a sandbox when the whole machine lacks memory (−1000 to 1000).
const OOM_SCORE: &str = "500";

/// What the launcher made ready.
pub(crate) struct Plan<'a> {
    pub(crate) spec: &'a SandboxSpec,
    pub(crate) group: &'a cgroup::Group,
    pub(crate) users: &'a UserNamespace,
    pub(crate) stage: &'a Stage,
    pub(crate) filter: &'a [libc::sock_filter],
    pub(crate) report: &'a OwnedFd,
    pub(crate) stdout: &'a OwnedFd,
    pub(crate) stderr: &'a OwnedFd,
}

/// Becomes the program, or reports why not and ends. Never returns, so no destructor of what the
/// launcher owned runs twice.
pub(crate) fn run(plan: &Plan<'_>) -> ! {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| become_program(plan)));
    let failure = match outcome {
        Ok(failure) => failure,
        Err(_) => Failure::new("setting up the sandbox", "a fault in the launcher"),
    };
    if let Ok(bytes) = wire::encode(&Report::Failed(failure)) {
        // Nobody else could be told.
        let _ = wire::send(plan.report, &bytes, &[]);
    }
    kernel::exit_now(127)
}

fn become_program(plan: &Plan<'_>) -> Failure {
    match prepare(plan) {
        Ok(program) => program.execute(),
        Err(failure) => failure,
    }
}

fn prepare(plan: &Plan<'_>) -> Result<Program, Failure> {
    let spec = plan.spec;
    let program = Program::new(&spec.argv, &spec.environment)?;
    let mut keep = vec![
        plan.report.as_raw_fd(),
        plan.stdout.as_raw_fd(),
        plan.stderr.as_raw_fd(),
        plan.users.fd.as_raw_fd(),
    ];
    // So that no sandbox keeps another's ends open while it is made.
    kernel::close_all_but(&mut keep).step("closing files")?;
    std::fs::write("/proc/self/oom_score_adj", OOM_SCORE).step("setting oom_score_adj")?;
    plan.group.enter()?;
    // Only now, so that the cgroup namespace's root is the sandbox's own group.
    kernel::unshare(
        libc::CLONE_NEWNS
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWCGROUP,
    )
    .step("making namespaces")?;
    let network = network::set_up(&spec.listen, spec.serves, spec.egress)?;
    rustix::process::umask(Mode::empty());
    let ids = root::enter(spec, plan.users, plan.stage)?;
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    rustix::system::sethostname(spec.hostname.as_bytes()).step("setting the host name")?;
    standard_streams(plan, &ids)?;
    rustix::process::setsid().step("starting a session")?;
    kernel::reset_signals();
    limit(spec)?;
    become_user(plan.users, &ids)?;
    rustix::process::chdir(spec.working_dir.as_str()).step(format!(
        "entering the working directory {}",
        spec.working_dir
    ))?;
    // If the launcher died before this line, nobody reads the report below, and sending it fails.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .step("binding the sandbox to the launcher")?;
    kernel::close_on_exec().step("closing files")?;
    let redirected = network.redirect.is_some();
    let made = network.listeners.iter().chain(&network.redirect);
    let fds: Vec<_> = made.map(AsFd::as_fd).collect();
    let ready = wire::encode(&Report::Prepared { redirected }).step("reporting")?;
    wire::send(plan.report, &ready, &fds).step("reporting")?;
    kernel::seccomp(plan.filter).step("installing the system call filter")?;
    Ok(program)
}

/// `/dev/null` in, the pipes out. The pipes belong to the program's user, who may so open
/// `/dev/stdout` again by name.
fn standard_streams(plan: &Plan<'_>, ids: &Ids) -> Result<(), Failure> {
    const STEP: &str = "connecting the standard streams";
    let null = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).step(STEP)?;
    rustix::stdio::dup2_stdin(null).step(STEP)?;
    let owner = Uid::from_raw(plan.users.base + ids.uid);
    let group = Gid::from_raw(plan.users.base + ids.gid);
    for pipe in [plan.stdout, plan.stderr] {
        rustix::fs::fchown(pipe, Some(owner), Some(group)).step(STEP)?;
    }
    rustix::stdio::dup2_stdout(plan.stdout).step(STEP)?;
    rustix::stdio::dup2_stderr(plan.stderr).step(STEP)
}

/// Resource limits. None is raised past what the launcher has.
fn limit(spec: &SandboxSpec) -> Result<(), Failure> {
    let bounds = [
        (Resource::Nofile, u64::from(spec.limits.files)),
        (Resource::Core, 0),
        (Resource::Memlock, 64 * 1024),
        (Resource::Rtprio, 0),
        (Resource::Msgqueue, 819_200),
    ];
    for (resource, bound) in bounds {
        let hard = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let bound = Some(bound.min(hard));
        let limit = Rlimit {
            current: bound,
            maximum: bound,
        };
        setrlimit(resource, limit).step(format!("limiting {resource:?}"))?;
    }
    Ok(())
}

/// Enters the user namespace and becomes the program's user, without any capability.
fn become_user(users: &UserNamespace, ids: &Ids) -> Result<(), Failure> {
    rustix::thread::move_into_link_name_space(users.fd.as_fd(), Some(LinkNameSpaceType::User))
        .step("entering the user namespace")?;
    capabilities::drop_bounding().step("dropping capabilities")?;
    let groups: Vec<_> = ids.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups).step("setting the groups")?;
    let gid = Gid::from_raw(ids.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).step("setting the group id")?;
    let uid = Uid::from_raw(ids.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).step("setting the user id")?;
    capabilities::drop_held().step("dropping capabilities")
}
