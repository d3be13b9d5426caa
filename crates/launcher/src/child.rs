//! From a fork of the launcher to a contained process that waits, and from there to the program. All of
//! this runs in the new process.

use crate::descriptors::Reserved;
use crate::error::{Failure, Step};
use crate::exec::Program;
use crate::network::Network;
use crate::root::{Ids, Stage};
use crate::slot::Slot;
use crate::userns::UserNamespace;
use crate::wire::{self, Made, Report};
use crate::{Shape, Stem, capabilities, kernel, network, proc, root, spaces};
use rustix::fs::{Gid, Mode, OFlags, Uid, open};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use rustix::thread::LinkNameSpaceType;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// How likely the kernel chooses a sandbox when the whole machine lacks memory (−1000 to 1000).
pub(crate) const OOM_SCORE: &str = "500";
/// The descriptor by which what waits hears of its assignment.
pub(crate) const CONTROL: i32 = 3;

/// What the launcher made ready.
pub(crate) struct Plan<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) slot: &'a Slot,
    /// Bytes that `/tmp` may hold.
    pub(crate) tmp: u64,
    pub(crate) stage: &'a Stage,
    pub(crate) filter: &'a [libc::sock_filter],
    /// The program that waits.
    pub(crate) park: &'a OwnedFd,
    pub(crate) report: &'a OwnedFd,
    pub(crate) stem: &'a Stem,
    /// For a program that is started ahead.
    pub(crate) control: Option<&'a OwnedFd>,
    pub(crate) stdout: &'a OwnedFd,
    pub(crate) stderr: &'a OwnedFd,
    /// For one that begins with the launcher's descriptors.
    pub(crate) reserved: Option<&'a Reserved>,
}

/// Waits for its program and becomes it, or reports why not and ends. Never returns, so no destructor
/// of what the launcher owned runs twice.
pub(crate) fn run(plan: &Plan<'_>) -> ! {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| park(plan)));
    let failure = match outcome {
        Ok(Ok(())) => kernel::exit_now(0),
        Ok(Err(failure)) => failure,
        Err(_) => Failure::new("setting up the sandbox", "a fault in the launcher"),
    };
    fail(plan.report, failure)
}

/// Reports why not, and ends.
pub(crate) fn fail(report: &OwnedFd, failure: Failure) -> ! {
    if let Ok(bytes) = wire::encode(&Report::Failed(failure)) {
        // Nobody else could be told.
        let _ = wire::send(report, &bytes, &[]);
    }
    kernel::exit_now(127)
}

/// Becomes contained and waits, as another program (`park/park.rs`), or becomes the stem. Returns only
/// the reason why not.
fn park(plan: &Plan<'_>) -> Result<(), Failure> {
    let (made, fds) = prepare(plan)?;
    let bytes = wire::encode(&Report::Parked(made)).step("reporting")?;
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    wire::send(plan.report, &bytes, &borrowed).step("reporting")?;
    // This memory may be the launcher's: nothing may be left in it.
    drop((bytes, borrowed));
    drop(fds);
    kernel::seccomp(plan.filter).step("installing the system call filter")?;
    if let Stem::Program { argv, environment } = plan.stem {
        return Err(execute(plan, argv, environment));
    }
    kernel::keep_as(plan.report, CONTROL).step("passing the socket on")?;
    let error = kernel::execute_file(plan.park, c"rouse-park");
    Err(std::io::Error::from(error)).step("waiting for a program")
}

fn execute(plan: &Plan<'_>, argv: &[String], environment: &[(String, String)]) -> Failure {
    let program = match Program::new(argv, environment) {
        Ok(program) => program,
        Err(failure) => return failure,
    };
    if let Some(control) = plan.control
        && let Err(failure) = kernel::keep_as(control, CONTROL).step("passing the socket on")
    {
        return failure;
    }
    kernel::reset_signals();
    program.execute()
}

/// All but the waiting. The descriptors are those of the report.
fn prepare(plan: &Plan<'_>) -> Result<(Made, Vec<OwnedFd>), Failure> {
    let (shape, slot) = (plan.shape, plan.slot);
    // What that opens stays open in the launcher, so it must stay before `close_others`.
    slot.group.enter_by_kept()?;
    let hostname = hostname(shape, slot);
    // Only now, so that the cgroup namespace's root is the sandbox's own group.
    let entered = spaces::enter(slot, shape, &hostname)?;
    close_others(plan).step("closing files")?;
    std::fs::write("/proc/self/oom_score_adj", OOM_SCORE).step("setting oom_score_adj")?;
    let network = enter_network(slot, shape.egress)?;
    let known = slot
        .network
        .as_ref()
        .and_then(|known| known.redirect.as_ref());
    let Network {
        listeners,
        redirect,
    } = network::listen_on(&shape.listen, shape.serves, shape.egress, known)?;
    rustix::process::umask(Mode::empty());
    let spaces = match entered {
        true => Vec::new(),
        false => spaces::make(slot, shape, &hostname)?,
    };
    // While the launcher's own /proc is in sight: in another user namespace than the host's, the kernel
    // allows no new one without.
    let own_only = matches!(plan.stem, Stem::Snapshot { .. });
    let proc = proc::make(own_only)?;
    let (template, ids) = enter_template(plan)?;
    kernel::unshare(libc::CLONE_NEWNS).step("making a mount namespace")?;
    root::furnish(shape, &slot.users, plan.tmp, &proc)?;
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    standard_streams(&slot.users, &ids, [plan.stdout, plan.stderr])?;
    rustix::process::setsid().step("starting a session")?;
    kernel::reset_signals();
    // Orphans of what joins this sandbox are not waited for.
    kernel::ignore(Signal::CHILD);
    limit(shape)?;
    become_user(&slot.users, &ids)?;
    // If the launcher died before this line, nobody reads the report below, and sending it fails.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .step("binding the sandbox to the launcher")?;
    kernel::close_on_exec().step("closing files")?;
    let made = Made {
        redirect: redirect.is_some(),
        network: network.is_some(),
        template: template.is_some(),
        spaces: !spaces.is_empty(),
        ids,
    };
    let redirect = redirect.map(|redirect| [redirect.map, redirect.link]);
    let fds = listeners
        .into_iter()
        .chain(redirect.into_iter().flatten())
        .chain(network);
    Ok((made, fds.chain(template).chain(spaces).collect()))
}

/// So that no sandbox keeps another's ends open while it is made.
fn close_others(plan: &Plan<'_>) -> std::io::Result<()> {
    let slot = plan.slot;
    let fds = [
        plan.report,
        plan.park,
        plan.stdout,
        plan.stderr,
        &*slot.users.fd,
    ];
    let template = slot.template.as_ref().map(|template| &template.namespace);
    let redirect = slot.network.as_ref();
    let redirect = redirect.and_then(|network| network.redirect.as_ref());
    let kept = fds
        .into_iter()
        .chain(plan.control)
        .chain(slot.network.as_ref().map(|network| &network.fd))
        .chain(redirect.map(|redirect| &redirect.map))
        .chain(template);
    let mut keep: Vec<_> = kept.map(AsRawFd::as_raw_fd).collect();
    if let Some(reserved) = plan.reserved {
        reserved.part(&keep)?;
    }
    kernel::close_all_but(&mut keep)
}

/// The name of this sandbox's host: Docker's containers have such, too.
pub(crate) fn hostname(shape: &Shape, slot: &Slot) -> String {
    match shape.hostname.as_str() {
        "" => slot.hostname.clone(),
        given => given.to_owned(),
    }
}

pub(crate) fn namespace(kind: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    open(format!("/proc/self/ns/{kind}"), flags, Mode::empty())
}

/// The slot's network namespace, or a new one, which is given.
fn enter_network(slot: &Slot, egress: bool) -> Result<Option<OwnedFd>, Failure> {
    const STEP: &str = "entering the network namespace";
    if let Some(network) = &slot.network {
        rustix::thread::move_into_link_name_space(
            network.fd.as_fd(),
            Some(LinkNameSpaceType::Network),
        )
        .step(STEP)?;
        return Ok(None);
    }
    kernel::unshare(libc::CLONE_NEWNET).step("making a network namespace")?;
    network::establish(egress)?;
    Ok(Some(namespace("net").step(STEP)?))
}

/// The slot's template, or a new one, whose mount namespace is given.
fn enter_template(plan: &Plan<'_>) -> Result<(Option<OwnedFd>, Ids), Failure> {
    const STEP: &str = "entering the template";
    if let Some(template) = &plan.slot.template {
        rustix::thread::move_into_link_name_space(
            template.namespace.as_fd(),
            Some(LinkNameSpaceType::Mount),
        )
        .step(STEP)?;
        return Ok((None, template.ids.clone()));
    }
    kernel::unshare(libc::CLONE_NEWNS).step("making a mount namespace")?;
    let made = namespace("mnt").step(STEP)?;
    let hostname = hostname(plan.shape, plan.slot);
    let ids = root::enter(
        plan.shape,
        &plan.slot.users,
        plan.stage,
        &hostname,
        plan.tmp,
    )?;
    Ok((Some(made).filter(|_| !plan.shape.is_unique()), ids))
}

/// `/dev/null` in, the pipes out. The pipes belong to the program's user, who may so open
/// `/dev/stdout` again by name.
pub(crate) fn standard_streams(
    users: &UserNamespace,
    ids: &Ids,
    outputs: [&OwnedFd; 2],
) -> Result<(), Failure> {
    const STEP: &str = "connecting the standard streams";
    let null = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).step(STEP)?;
    rustix::stdio::dup2_stdin(null).step(STEP)?;
    let (owner, group) = (
        Uid::from_raw(users.host(ids.uid)),
        Gid::from_raw(users.host(ids.gid)),
    );
    for pipe in outputs {
        rustix::fs::fchown(pipe, Some(owner), Some(group)).step(STEP)?;
    }
    let [stdout, stderr] = outputs;
    rustix::stdio::dup2_stdout(stdout).step(STEP)?;
    rustix::stdio::dup2_stderr(stderr).step(STEP)
}

/// Resource limits. None is raised past what the launcher has.
pub(crate) fn bounds(shape: &Shape) -> [(Resource, u64); 5] {
    [
        (Resource::Nofile, shape.files.into()),
        (Resource::Core, 0),
        (Resource::Memlock, 64 * 1024),
        (Resource::Rtprio, 0),
        (Resource::Msgqueue, 819_200),
    ]
}

pub(crate) fn limit(shape: &Shape) -> Result<(), Failure> {
    for (resource, bound) in bounds(shape) {
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
    take_ids(ids)?;
    capabilities::drop_held().step("dropping capabilities")
}

/// Empties the bounding set and becomes the program's user. The process must be in the user namespace.
pub(crate) fn take_ids(ids: &Ids) -> Result<(), Failure> {
    capabilities::drop_bounding().step("dropping capabilities")?;
    let groups: Vec<_> = ids.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups).step("setting the groups")?;
    let gid = Gid::from_raw(ids.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).step("setting the group id")?;
    let uid = Uid::from_raw(ids.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).step("setting the user id")
}
