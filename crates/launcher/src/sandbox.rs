//! One sandbox as the launcher keeps it, from its fork to its end.

mod fork;
mod member;
mod word;

pub(crate) use fork::{adopt, has_ended, wait};
pub(crate) use word::Progress;

use crate::descriptors::Reserved;
use crate::error::{Failure, Step};
use crate::exec::{self, Told};
use crate::root::Stage;
use crate::slot::{Slot, Unused};
use crate::wire::{self, GroupFiles};
use crate::zygote::Forked;
use crate::{Assignment, Exit, Shape, Stem, Usage, Work, cgroup, kernel, root};
use fork::{Ends, fork};
use model::Limits;
use rustix::process::{Pid, Signal, WaitIdStatus};
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// How far it is.
enum Phase {
    /// The first process sets itself up.
    Parking,
    /// The stem gets ready.
    Warming,
    /// It waits for its assignment.
    Armed,
    /// It was told what to execute.
    Starting(Told),
    /// What it was assigned runs, or has run.
    Running,
    /// It never got there.
    Failed(Failure),
}

/// A process besides the first that the launcher awaits.
struct Member {
    process: kernel::Child,
    ended: Option<Option<WaitIdStatus>>,
}

impl Member {
    fn new(process: kernel::Child) -> Self {
        Self {
            process,
            ended: None,
        }
    }

    fn reap(&mut self) {
        if self.ended.is_none() {
            self.ended = wait(&self.process.pidfd);
        }
    }
}

/// What a sandbox has to do with functions' own zygotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Plain,
    /// A fork of a zygote runs in it.
    Forked,
    /// One runs in it. `told`: its end was told, though forks of it live on.
    Snapshot {
        told: bool,
    },
    /// A fork of one runs in it.
    Restored,
}

/// See the module.
pub(crate) struct Sandbox {
    shape: Rc<Shape>,
    slot: Slot,
    /// Bytes that its `/tmp` may hold.
    tmp: u64,
    /// The first process of its pid namespace. Either it becomes the program, or a fork of a zygote
    /// does, and this one only holds the namespaces.
    first: kernel::Child,
    /// The fork of a zygote, or a function's own zygote.
    member: Option<Member>,
    /// The process that furnished it, if that was not the first.
    builder: Option<Member>,
    role: Role,
    phase: Phase,
    /// How the first process tells, and hears.
    report: OwnedFd,
    /// How the stem does. The other end is for the stem, until it has it.
    control: Option<OwnedFd>,
    /// What a fork has said of which its zygote has not told yet.
    early: Option<Vec<u8>>,
    /// Until the server has them.
    ends: Option<Ends>,
    ended: Option<Option<WaitIdStatus>>,
}

/// What is the same for all sandboxes.
pub(crate) struct Workshop {
    pub(crate) stage: Stage,
    pub(crate) cgroups: cgroup::Cgroups,
    pub(crate) filter: Vec<libc::sock_filter>,
    /// The program that waits.
    pub(crate) park: OwnedFd,
    /// The program that keeps files in memory.
    pub(crate) pin: OwnedFd,
    /// The filter of functions' own zygotes.
    pub(crate) snapshot_filter: Vec<libc::sock_filter>,
    /// The launcher's own mount namespace.
    pub(crate) mounts: OwnedFd,
    /// The launcher's own pid namespace.
    pub(crate) pids: OwnedFd,
    pub(crate) reserved: Reserved,
    /// Whether the launcher may return there: the host's belongs to the host's root.
    pub(crate) returns: bool,
}

/// How it ended.
pub(crate) enum Ending {
    Exited(Exit),
    Failed(Failure),
}

impl Sandbox {
    /// Forks. The child goes on by itself. Gives the slot back in the error. With a stem that is a
    /// fork, also what the zygote needs. `within`: the first process of the snapshot that it is for.
    pub(crate) fn arm(
        workshop: &Workshop,
        shape: Rc<Shape>,
        slot: Slot,
        stem: &Stem,
        limits: &Limits,
        within: Option<&OwnedFd>,
    ) -> Result<(Self, Option<Forked>), Unused> {
        let tmp = root::temporary_size(limits);
        match fork(workshop, &shape, &slot, stem, tmp, within) {
            Ok(mut forked) => {
                let sandbox = Self {
                    tmp,
                    shape,
                    slot,
                    first: forked.child,
                    member: None,
                    builder: forked.builder.map(Member::new),
                    role: match stem {
                        Stem::Snapshot { .. } => Role::Snapshot { told: false },
                        Stem::Restored { .. } => Role::Restored,
                        Stem::Fork { .. } => Role::Forked,
                        Stem::None | Stem::Program { .. } => Role::Plain,
                    },
                    phase: Phase::Parking,
                    report: forked.report,
                    control: forked.control,
                    early: None,
                    ends: Some(forked.ends),
                    ended: None,
                };
                Ok((sandbox, forked.for_zygote.take()))
            }
            Err(failure) => Err(Box::new((failure, slot))),
        }
    }

    /// Whether SIGTERM means anything to its program. The kernel keeps signals that are not caught
    /// from the first process of a pid namespace, so one without a handler would never end by it.
    fn heeds_terminate(&self) -> bool {
        const TERMINATE: u64 = 1 << (libc::SIGTERM - 1);
        if self.member.is_some() {
            return true;
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.first.number()));
        let status = status.unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_some_and(|mask| mask & TERMINATE != 0)
    }

    /// Asks the program to end, or kills all of it if the program would not hear that.
    pub(crate) fn terminate(&self) {
        if matches!(self.phase, Phase::Running) && self.heeds_terminate() {
            self.slot.group.thaw();
            kernel::signal(&self.main().pidfd, Signal::TERM);
        } else {
            self.kill();
        }
    }

    /// Stops its processes, or lets them run on. Only the launcher may stop them: the server could hit
    /// the next sandbox of the slot.
    pub(crate) fn freeze(&self, frozen: bool) {
        if frozen {
            self.slot.group.freeze();
        } else {
            self.slot.group.thaw();
        }
    }

    /// Kills all of it: what is in a pid namespace does not outlive its first process. The forks of a
    /// function's own zygote are beneath it, so then it stays until they have ended.
    pub(crate) fn kill(&self) {
        match &self.member {
            Some(member) if self.lends() => kernel::signal(&member.process.pidfd, Signal::KILL),
            _ => self.end(),
        }
    }

    /// Kills all of it, and the forks of a function's own zygote with it.
    pub(crate) fn end(&self) {
        self.slot.group.thaw();
        kernel::signal(&self.first.pidfd, Signal::KILL);
    }

    pub(crate) fn is_snapshot(&self) -> bool {
        matches!(self.role, Role::Snapshot { .. })
    }

    pub(crate) fn is_restored(&self) -> bool {
        self.role == Role::Restored
    }

    /// Whether a function's own zygote runs in it.
    pub(crate) fn can_lend(&self) -> bool {
        let runs = |member: &Member| member.ended.is_none();
        self.is_snapshot() && self.member.as_ref().is_some_and(runs)
    }

    /// Whether slots of its forks have its user ids.
    fn lends(&self) -> bool {
        self.is_snapshot() && Rc::strong_count(&self.slot.users.fd) > 1
    }

    /// Once, and only while forks live on: how a function's own zygote ended.
    pub(crate) fn end_to_tell(&mut self) -> Option<Exit> {
        let ended = self.member.as_ref()?.ended.as_ref()?;
        if self.role != (Role::Snapshot { told: false }) || !self.lends() {
            return None;
        }
        let exit = self.exit(ended.as_ref());
        self.role = Role::Snapshot { told: true };
        Some(exit)
    }

    pub(crate) fn is_told(&self) -> bool {
        self.role == (Role::Snapshot { told: true })
    }

    fn exit(&self, status: Option<&WaitIdStatus>) -> Exit {
        Exit {
            code: status.and_then(WaitIdStatus::exit_status),
            signal: status.and_then(WaitIdStatus::terminating_signal),
            out_of_memory: self.slot.group.out_of_memory(),
            usage: self.slot.group.usage(),
        }
    }

    /// The process that becomes the program.
    fn main(&self) -> &kernel::Child {
        self.member
            .as_ref()
            .map_or(&self.first, |member| &member.process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.main().number()
    }

    pub(crate) fn tmp(&self) -> u64 {
        self.tmp
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(crate) fn first(&self) -> &kernel::Child {
        &self.first
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    pub(crate) fn report(&self) -> &OwnedFd {
        &self.report
    }

    pub(crate) fn is_armed(&self) -> bool {
        matches!(self.phase, Phase::Armed)
    }

    /// Of the processes that have ended, what told of that.
    pub(crate) fn ended_processes(&self) -> impl Iterator<Item = &OwnedFd> {
        let first = self.ended.is_some().then_some(&self.first.pidfd);
        let others = self.member.iter().chain(&self.builder);
        let others = others.filter(|other| other.ended.is_some());
        first
            .into_iter()
            .chain(others.map(|other| &other.process.pidfd))
    }

    /// Whether the launcher awaits this process.
    pub(crate) fn awaits(&self, pid: Pid) -> bool {
        let mut others = self.member.iter().chain(&self.builder);
        self.first.pid == pid || others.any(|other| other.process.pid == pid)
    }

    pub(crate) fn builder(&self) -> Option<&kernel::Child> {
        self.builder.as_ref().map(|builder| &builder.process)
    }

    pub(crate) fn control(&self) -> Option<&OwnedFd> {
        self.control.as_ref()
    }

    /// What the server gets of an armed sandbox: stdout, stderr, the files of its group, the listeners.
    pub(crate) fn take_ends(&mut self) -> (GroupFiles, Vec<OwnedFd>) {
        let mut files = GroupFiles::default();
        let Some(ends) = self.ends.take() else {
            return (files, Vec::new());
        };
        let mut fds = vec![ends.stdout, ends.stderr];
        if let Some((file, version)) = self.slot.group.freezer() {
            files.freezer = Some(version);
            fds.push(file);
        }
        if let Some(file) = self.slot.group.memory_peak() {
            files.memory_peak = true;
            fds.push(file);
        }
        fds.extend(ends.listeners);
        (files, fds)
    }

    pub(crate) fn fail(&mut self, failure: Failure) -> Progress {
        self.phase = Phase::Failed(failure);
        self.kill();
        Progress::Failed
    }

    /// The fork exists; its end is to be awaited. What it has said before, if that arms the sandbox.
    pub(crate) fn join(&mut self, process: kernel::Child) -> Option<Vec<u8>> {
        self.member = Some(Member::new(process));
        if self.is_snapshot() {
            self.phase = Phase::Running;
        }
        let greeting = self.early.take()?;
        let has_ended = self
            .member
            .as_ref()
            .is_none_or(|member| has_ended(&member.process.pidfd));
        if has_ended {
            self.died("it ended before it was ready to wait");
        }
        if !matches!(self.phase, Phase::Warming) {
            return None;
        }
        self.phase = Phase::Armed;
        Some(greeting)
    }

    pub(crate) fn member(&self) -> Option<&kernel::Child> {
        self.member.as_ref().map(|member| &member.process)
    }

    /// Gives it its limits, its code and its work. True if the work has begun by that: else the end of
    /// the report tells.
    pub(crate) fn assign(
        &mut self,
        assignment: Assignment,
        own_mounts: &OwnedFd,
    ) -> Result<bool, Failure> {
        if !matches!(self.phase, Phase::Armed) {
            return Err(Failure::new("assigning", "the sandbox does not wait"));
        }
        self.slot.group.limit(&assignment.limits)?;
        let resized = root::temporary_size(&assignment.limits) != self.tmp;
        if self.role == Role::Restored && (resized || !assignment.code.is_empty()) {
            let reason = "user code is in it already: nothing is mounted there";
            return Err(Failure::new("assigning", reason));
        }
        crate::assign::furnish(self, &assignment, own_mounts)?;
        match (assignment.work, &self.control) {
            (
                Work::Execute {
                    argv,
                    environment,
                    working_dir,
                },
                None,
            ) => {
                let (packet, told) = exec::packet(&argv, &environment, &working_dir);
                self.phase = Phase::Starting(told);
                wire::send(&self.report, &packet, &[]).step("passing the program on")?;
                Ok(false)
            }
            (Work::Tell(message), Some(control)) => {
                wire::send(control, &message, &[]).step("telling the stem")?;
                self.phase = Phase::Running;
                self.control = None;
                Ok(true)
            }
            (Work::Execute { .. }, Some(_)) => {
                Err(Failure::new("assigning", "a stem cannot execute a program"))
            }
            (Work::Tell(_), None) => Err(Failure::new("assigning", "there is no stem to tell")),
        }
    }

    /// Takes the exit statuses of processes that have ended; whether nothing is left. The kernel kills
    /// the rest of a pid namespace before it lets its first process be reaped.
    pub(crate) fn reap(&mut self) -> bool {
        self.builder.as_mut().into_iter().for_each(Member::reap);
        if let Some(member) = &mut self.member
            && member.ended.is_none()
        {
            member.reap();
            if member.ended.is_some() {
                self.kill();
            }
        }
        if self.ended.is_none() {
            self.ended = wait(&self.first.pidfd);
        }
        let mut others = self.member.iter().chain(&self.builder);
        self.ended.is_some() && others.all(|other| other.ended.is_some())
    }

    /// What is to be told of it, once it is reaped, and its slot, with whether that is as it should be.
    pub(crate) fn finish(self) -> (Ending, Slot, bool) {
        let ended = match &self.member {
            Some(member) => &member.ended,
            None => &self.ended,
        };
        let exit = ended.as_ref().map(|status| self.exit(status.as_ref()));
        let serves_again = matches!(self.role, Role::Plain | Role::Forked);
        let (ending, intact) = match (self.phase, exit) {
            (Phase::Failed(failure), _) => (Ending::Failed(failure), false),
            (_, Some(exit)) => (Ending::Exited(exit), serves_again),
            (_, None) => {
                let failure = Failure::new("ending", "it was not awaited");
                (Ending::Failed(failure), false)
            }
        };
        (ending, self.slot, intact)
    }

    pub(crate) fn usage(&self) -> Usage {
        self.slot.group.usage()
    }
}
