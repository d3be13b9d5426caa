//! The launcher's main loop. It waits for nothing but everything at once: requests, words of children
//! that get ready, and ends of sandboxes.

mod end;
mod endow;
mod foreign;
mod pin;
mod word;

use crate::cgroup::Group;
use crate::error::{Failure, Step};
use crate::pin::Pins;
use crate::sandbox::{Sandbox, Workshop};
use crate::slot::{Slot, Slots};
use crate::wire::{self, MESSAGE_MAX, Reply, Request};
use crate::zygote::{self, Forked, Zygote};
use crate::{Assignment, Shape, Stem, assignment, kernel, network};
use model::Limits;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::net::{AddressFamily, RecvFlags};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Marks the server's socket among the epoll events; all others have `number << 2` and what it is.
const SERVER: u64 = u64::MAX;
/// Marks that children have ended, known ones or not.
const CHILDREN: u64 = u64::MAX - 1;
/// A process of it may have ended.
const PROCESS: u64 = 0;
/// Its first process says something.
const REPORT: u64 = 1;
/// Its stem, or the zygote, says something.
const CONTROL: u64 = 2;
/// Largest number of a sandbox.
const NUMBER_MAX: u64 = u64::MAX >> 3;
/// Between attempts to remove cgroups that the kernel still holds.
const RETRY: Duration = Duration::from_millis(2);
/// After which a cgroup is left to the next launcher's sweep.
const PATIENCE: Duration = Duration::from_secs(10);
/// Shapes that are remembered, so that sandboxes share them.
const SHAPES_MAX: usize = 512;

/// See the module.
pub(crate) struct Process {
    server: OwnedFd,
    epoll: OwnedFd,
    workshop: Workshop,
    slots: Slots,
    shapes: Vec<Rc<Shape>>,
    sandboxes: HashMap<u64, Sandbox>,
    /// What sandboxes that park hand to a zygote then.
    forks: HashMap<u64, Forked>,
    zygotes: HashMap<u64, Zygote>,
    pins: Pins,
    /// What tells of children that have ended, from the first snapshot on.
    children: Option<OwnedFd>,
    /// Cgroups that are still there, and since when they should not be.
    leaving: Vec<(Group, Instant)>,
}

/// The server is not there any more.
struct Gone;

impl Process {
    pub(crate) fn new(server: OwnedFd, workshop: Workshop, slots: Slots) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(SERVER);
        epoll::add(&epoll, &server, data, epoll::EventFlags::IN)?;
        Ok(Self {
            server,
            epoll,
            workshop,
            slots,
            shapes: Vec::new(),
            sandboxes: HashMap::new(),
            forks: HashMap::new(),
            zygotes: HashMap::new(),
            pins: Pins::default(),
            children: None,
            leaving: Vec::new(),
        })
    }

    /// Serves until the server is gone, then ends every sandbox.
    pub(crate) fn run(mut self) {
        let mut buffer = vec![0; MESSAGE_MAX];
        while self.turn(&mut buffer).is_ok() {}
        self.end_all();
    }

    fn turn(&mut self, buffer: &mut [u8]) -> Result<(), Gone> {
        let timeout = (!self.leaving.is_empty()).then(|| Timespec {
            tv_sec: 0,
            tv_nsec: RETRY.subsec_nanos().into(),
        });
        let mut events = Vec::with_capacity(64);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(Gone),
        }
        for event in events {
            let token = event.data.u64();
            match (token, token & 3) {
                (SERVER, _) => self.request(buffer)?,
                (CHILDREN, _) => self.reap_all()?,
                (_, REPORT) => self.reported(token >> 2)?,
                (_, CONTROL) => self.said(token >> 2)?,
                _ => self.reap(token >> 2)?,
            }
        }
        self.leaving
            .retain_mut(|(group, since)| !group.remove() && since.elapsed() < PATIENCE);
        Ok(())
    }

    fn reply(&self, reply: &Reply, fds: &[BorrowedFd<'_>]) -> Result<(), Gone> {
        let bytes = wire::encode(reply).map_err(|_| Gone)?;
        wire::send(&self.server, &bytes, fds).map_err(|_| Gone)
    }

    fn request(&mut self, buffer: &mut [u8]) -> Result<(), Gone> {
        match wire::receive(&self.server, buffer, RecvFlags::DONTWAIT) {
            Ok(None) => Err(Gone),
            Ok(Some((request, fds))) => self.answer(request, fds),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                eprintln!("launcher: a request was not understood: {error}");
                Ok(())
            }
            Err(_) => Err(Gone),
        }
    }

    fn answer(&mut self, request: Request, fds: Vec<OwnedFd>) -> Result<(), Gone> {
        match request {
            Request::Arm {
                sandbox,
                shape,
                stem,
                limits,
            } => match self.arm(sandbox, *shape, &stem, &limits) {
                Ok(()) => Ok(()),
                Err(failure) => self.reply(&Reply::Failed { sandbox, failure }, &[]),
            },
            Request::Assign {
                sandbox,
                assignment,
            } => self.assign(sandbox, *assignment),
            Request::Zygote {
                sandbox,
                shape,
                argv,
                environment,
            } => match self.start_zygote(sandbox, &shape, &argv, &environment) {
                Ok(()) => Ok(()),
                Err(failure) => self.reply(&Reply::Failed { sandbox, failure }, &[]),
            },
            Request::Socket { request, sandbox } => match self.socket(sandbox) {
                Ok(socket) => self.reply(&Reply::Socket { request }, &[socket.as_fd()]),
                Err(failure) => self.reply(&Reply::Refused { request, failure }, &[]),
            },
            Request::Usage { request, sandbox } => match self.sandboxes.get(&sandbox) {
                Some(found) => {
                    let usage = found.usage();
                    self.reply(&Reply::Usage { request, usage }, &[])
                }
                None => {
                    let failure = Failure::new("reading what it used", ENDED);
                    self.reply(&Reply::Refused { request, failure }, &[])
                }
            },
            Request::Furnish { request, furniture } => self.furnish(request, &furniture, &fds),
            Request::Reach { request } => self.reach(request, &fds),
            Request::Endow {
                request,
                belongings,
            } => self.endow(request, &belongings, &fds),
            Request::Mapped { request, sandbox } => self.mapped(request, sandbox),
            Request::Pin {
                request,
                files,
                bytes,
            } => self.pin(request, &files, bytes),
            // One that is not there has ended already.
            Request::Terminate { sandbox } => {
                self.sandboxes.get(&sandbox).map(Sandbox::terminate);
                Ok(())
            }
            Request::Kill { sandbox } => {
                self.sandboxes.get(&sandbox).map(Sandbox::kill);
                self.zygotes.get(&sandbox).map(Zygote::kill);
                Ok(())
            }
            Request::Freeze { sandbox, frozen } => {
                if let Some(found) = self.sandboxes.get(&sandbox) {
                    found.freeze(frozen);
                }
                Ok(())
            }
        }
    }

    /// The one copy of a shape that many sandboxes have.
    fn share(&mut self, shape: Shape) -> Rc<Shape> {
        if let Some(known) = self.shapes.iter().find(|known| ***known == shape) {
            return known.clone();
        }
        if self.shapes.len() == SHAPES_MAX {
            self.shapes.retain(|shape| Rc::strong_count(shape) > 1);
        }
        let shape = Rc::new(shape);
        self.shapes.push(shape.clone());
        shape
    }

    fn check_number(&self, number: u64) -> Result<(), Failure> {
        let taken = self.sandboxes.contains_key(&number) || self.zygotes.contains_key(&number);
        if number > NUMBER_MAX || taken {
            return Err(Failure::new(STARTING, "its number is taken"));
        }
        Ok(())
    }

    fn watch(&self, fd: &OwnedFd, number: u64, what: u64) -> Result<(), Failure> {
        let data = epoll::EventData::new_u64(number << 2 | what);
        epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN).step("watching the sandbox")
    }

    fn arm(
        &mut self,
        number: u64,
        shape: Shape,
        stem: &Stem,
        limits: &Limits,
    ) -> Result<(), Failure> {
        self.check_number(number)?;
        let bad = |reason| Failure::new(STARTING, reason);
        shape.check().and_then(|()| stem.check()).map_err(bad)?;
        limits.check().map_err(|error| bad(error.to_string()))?;
        let shape = self.share(shape);
        let (mut slot, within) = match stem {
            Stem::Restored { snapshot } => {
                let (slot, within) = self.lend(*snapshot, &shape)?;
                (slot, Some(within))
            }
            _ => (self.slots.take(&self.workshop.cgroups, &shape)?, None),
        };
        if let Stem::Snapshot { .. } = stem {
            self.watch_children()?;
        }
        if let Err(failure) = slot.group.limit(limits) {
            self.give_back(slot, false);
            return Err(failure);
        }
        let within = within.as_ref();
        match Sandbox::arm(&self.workshop, shape, slot, stem, limits, within) {
            Ok((sandbox, fork)) => {
                let watched = self.watch_sandbox(&sandbox, number);
                if watched.is_err() {
                    // Then nobody hears of it: killed now, found by the next sweep at the latest.
                    sandbox.kill();
                }
                if let Some(fork) = fork {
                    self.forks.insert(number, fork);
                }
                self.sandboxes.insert(number, sandbox);
                watched
            }
            Err(back) => {
                let (failure, slot) = *back;
                self.give_back(slot, false);
                Err(failure)
            }
        }
    }

    /// A slot for a fork of this snapshot, and the first process of the snapshot's sandbox.
    fn lend(&mut self, number: u64, shape: &Shape) -> Result<(Slot, OwnedFd), Failure> {
        let found = self.sandboxes.get(&number).filter(|found| found.can_lend());
        let snapshot = found.ok_or_else(|| Failure::new("forking the snapshot", ENDED))?;
        if !snapshot.shape().looks_like(shape) {
            return Err(Failure::new(STARTING, "its snapshot has another shape"));
        }
        let within = snapshot.first().pidfd.try_clone().step(STARTING)?;
        let cgroups = &self.workshop.cgroups;
        let slot = self.slots.lend(cgroups, number, snapshot.slot())?;
        Ok((slot, within))
    }

    /// From now on, children that nobody knows are reaped too: a snapshot can make such.
    fn watch_children(&mut self) -> Result<(), Failure> {
        const STEP: &str = "watching for children";
        if self.children.is_none() {
            let children = kernel::child_signals().step(STEP)?;
            let data = epoll::EventData::new_u64(CHILDREN);
            epoll::add(&self.epoll, &children, data, epoll::EventFlags::IN).step(STEP)?;
            self.children = Some(children);
        }
        Ok(())
    }

    fn watch_sandbox(&self, sandbox: &Sandbox, number: u64) -> Result<(), Failure> {
        self.watch(&sandbox.first().pidfd, number, PROCESS)?;
        self.watch(sandbox.report(), number, REPORT)?;
        if let Some(builder) = sandbox.builder() {
            self.watch(&builder.pidfd, number, PROCESS)?;
        }
        match sandbox.control() {
            // What a snapshot says is the server's to read.
            Some(control) if !sandbox.is_snapshot() => self.watch(control, number, CONTROL),
            _ => Ok(()),
        }
    }

    fn start_zygote(
        &mut self,
        number: u64,
        shape: &Shape,
        argv: &[String],
        environment: &[(String, String)],
    ) -> Result<(), Failure> {
        self.check_number(number)?;
        let bad = |reason| Failure::new(STARTING, reason);
        let checked = shape.check();
        let checked = checked.and_then(|()| assignment::check_program(argv, environment));
        checked.map_err(bad)?;
        let mut slot = self.slots.take(&self.workshop.cgroups, shape)?;
        if let Err(failure) = slot.group.limit(&zygote::limits()) {
            self.give_back(slot, false);
            return Err(failure);
        }
        match Zygote::start(&self.workshop, shape, slot, argv, environment) {
            Ok(zygote) => {
                let watched = self
                    .watch(&zygote.process().pidfd, number, PROCESS)
                    .and_then(|()| self.watch(zygote.control(), number, CONTROL));
                if watched.is_err() {
                    zygote.kill();
                }
                self.zygotes.insert(number, zygote);
                watched
            }
            Err(back) => {
                let (failure, slot) = *back;
                self.give_back(slot, false);
                Err(failure)
            }
        }
    }

    fn assign(&mut self, number: u64, assignment: Assignment) -> Result<(), Gone> {
        // One that is not there has ended, and that was told.
        let Some(sandbox) = self.sandboxes.get_mut(&number) else {
            return Ok(());
        };
        let assigned = match assignment.check() {
            Ok(()) => sandbox.assign(assignment, &self.workshop.mounts),
            Err(reason) => Err(Failure::new(STARTING, reason)),
        };
        match assigned {
            Ok(true) => self.reply(&Reply::Started { sandbox: number }, &[]),
            Ok(false) => Ok(()),
            Err(failure) => {
                sandbox.fail(failure);
                Ok(())
            }
        }
    }

    fn socket(&self, number: u64) -> Result<OwnedFd, Failure> {
        const STEP: &str = "making a socket inside";
        let found = self.sandboxes.get(&number);
        let network = found.and_then(|found| found.slot().network.as_ref());
        let network = network.ok_or_else(|| Failure::new(STEP, ENDED))?;
        self.slots
            .inside(&network.fd, || Ok(network::tcp(AddressFamily::INET)?))
    }
}

const STARTING: &str = "starting a sandbox";
const ENDED: &str = "it has ended";
