//! The launcher's main loop. It waits for nothing but everything at once: requests, reports of
//! children that set themselves up, and ends of sandboxes.

use crate::error::{Failure, Step};
use crate::sandbox::{Ending, Progress, Sandbox, Workshop};
use crate::userns::UserNamespaces;
use crate::wire::{self, MESSAGE_MAX, Reply, Request};
use crate::{SandboxSpec, kernel, network};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::net::{AddressFamily, RecvFlags};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Marks the server's socket among the epoll events; sandboxes have `number << 1` and, for their
/// report, `number << 1 | 1`.
const SERVER: u64 = u64::MAX;
/// Largest number of a sandbox.
const NUMBER_MAX: u64 = u64::MAX >> 2;
/// Between attempts to remove cgroups that the kernel still holds.
const RETRY: Duration = Duration::from_millis(2);
/// After which a cgroup is left to the next launcher's sweep.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Process {
    server: OwnedFd,
    epoll: OwnedFd,
    own_network: OwnedFd,
    workshop: Workshop,
    users: UserNamespaces,
    sandboxes: HashMap<u64, Sandbox>,
    /// Reaped, with cgroups that are still there, and since when.
    ending: Vec<(u64, Sandbox, Instant)>,
}

/// The server is not there any more.
struct Gone;

impl Process {
    pub(crate) fn new(
        server: OwnedFd,
        workshop: Workshop,
        users: UserNamespaces,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(SERVER);
        epoll::add(&epoll, &server, data, epoll::EventFlags::IN)?;
        let own_network = std::fs::File::open("/proc/self/ns/net")?.into();
        Ok(Self {
            server,
            epoll,
            own_network,
            workshop,
            users,
            sandboxes: HashMap::new(),
            ending: Vec::new(),
        })
    }

    /// Serves until the server is gone, then ends every sandbox.
    pub(crate) fn run(mut self) {
        let mut buffer = vec![0; MESSAGE_MAX];
        while self.turn(&mut buffer).is_ok() {}
        self.end_all();
    }

    fn turn(&mut self, buffer: &mut [u8]) -> Result<(), Gone> {
        let timeout = (!self.ending.is_empty()).then(|| Timespec {
            tv_sec: 0,
            tv_nsec: RETRY.subsec_nanos().into(),
        });
        let mut events = Vec::with_capacity(64);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(Gone),
        }
        for event in events {
            match event.data.u64() {
                SERVER => self.request(buffer)?,
                token if token & 1 == 1 => self.progress(token >> 1)?,
                token => self.reap(token >> 1)?,
            }
        }
        self.remove_ended()
    }

    fn reply(&self, reply: &Reply, fds: &[BorrowedFd<'_>]) -> Result<(), Gone> {
        let bytes = wire::encode(reply).map_err(|_| Gone)?;
        wire::send(&self.server, &bytes, fds).map_err(|_| Gone)
    }

    fn request(&mut self, buffer: &mut [u8]) -> Result<(), Gone> {
        match wire::receive(&self.server, buffer, RecvFlags::DONTWAIT) {
            Ok(None) => Err(Gone),
            Ok(Some((request, _))) => self.answer(request),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                eprintln!("launcher: a request was not understood: {error}");
                Ok(())
            }
            Err(_) => Err(Gone),
        }
    }

    fn answer(&mut self, request: Request) -> Result<(), Gone> {
        match request {
            Request::Start { sandbox, spec } => match self.start(sandbox, &spec) {
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
            Request::Terminate { sandbox } => {
                let heeds = self
                    .sandboxes
                    .get(&sandbox)
                    .is_some_and(Sandbox::heeds_terminate);
                let signal = if heeds { Signal::TERM } else { Signal::KILL };
                self.signal(sandbox, signal)
            }
            Request::Kill { sandbox } => self.signal(sandbox, Signal::KILL),
        }
    }

    /// One that is not there has ended already.
    fn signal(&self, sandbox: u64, signal: Signal) -> Result<(), Gone> {
        if let Some(found) = self.sandboxes.get(&sandbox) {
            kernel::signal(&found.pidfd, signal);
        }
        Ok(())
    }

    fn start(&mut self, number: u64, spec: &SandboxSpec) -> Result<(), Failure> {
        const STEP: &str = "starting a sandbox";
        if number > NUMBER_MAX || self.sandboxes.contains_key(&number) {
            return Err(Failure::new(STEP, "its number is taken"));
        }
        spec.check().map_err(|reason| Failure::new(STEP, reason))?;
        let users = self.users.take()?;
        let sandbox = match Sandbox::start(&self.workshop, spec, users) {
            Ok(sandbox) => sandbox,
            Err((failure, users)) => {
                self.users.give_back(users);
                return Err(failure);
            }
        };
        let watch = |fd: &OwnedFd, token: u64| {
            let data = epoll::EventData::new_u64(token);
            epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN)
        };
        let watched = watch(&sandbox.pidfd, number << 1).and_then(|()| match sandbox.report() {
            Some(report) => watch(report, number << 1 | 1),
            None => Ok(()),
        });
        if watched.is_err() {
            // Then nobody hears of it: killed now, found by the next sweep at the latest.
            kernel::signal(&sandbox.pidfd, Signal::KILL);
        }
        self.sandboxes.insert(number, sandbox);
        watched.step("watching the sandbox")
    }

    /// Enters the sandbox's network namespace for the time of one system call.
    fn socket(&self, number: u64) -> Result<OwnedFd, Failure> {
        const STEP: &str = "making a socket inside";
        let found = self
            .sandboxes
            .get(&number)
            .ok_or_else(|| Failure::new(STEP, ENDED))?;
        rustix::thread::move_into_thread_name_spaces(
            found.pidfd.as_fd(),
            ThreadNameSpaceType::NETWORK,
        )
        .step(STEP)?;
        let socket = network::tcp(AddressFamily::INET);
        let back = rustix::thread::move_into_link_name_space(
            self.own_network.as_fd(),
            Some(LinkNameSpaceType::Network),
        );
        back.step("returning from a sandbox's network")?;
        socket.step(STEP)
    }

    fn progress(&mut self, number: u64) -> Result<(), Gone> {
        let Some(sandbox) = self.sandboxes.get_mut(&number) else {
            return Ok(());
        };
        let pid = sandbox.pid;
        // Its report leaves the epoll set by being closed.
        if let Progress::Started(fds) = sandbox.progress() {
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            return self.reply(
                &Reply::Started {
                    sandbox: number,
                    pid,
                },
                &fds,
            );
        }
        Ok(())
    }

    fn reap(&mut self, number: u64) -> Result<(), Gone> {
        // What it reported before it ended comes first.
        self.progress(number)?;
        let Some(sandbox) = self.sandboxes.get_mut(&number) else {
            return Ok(());
        };
        if sandbox.reap()
            && let Some(mut sandbox) = self.sandboxes.remove(&number)
        {
            let _ = epoll::delete(&self.epoll, &sandbox.pidfd);
            if sandbox.remove() {
                return self.finish(number, sandbox);
            }
            self.ending.push((number, sandbox, Instant::now()));
        }
        Ok(())
    }

    fn remove_ended(&mut self) -> Result<(), Gone> {
        for (number, mut sandbox, since) in std::mem::take(&mut self.ending) {
            if sandbox.remove() || since.elapsed() > PATIENCE {
                self.finish(number, sandbox)?;
            } else {
                self.ending.push((number, sandbox, since));
            }
        }
        Ok(())
    }

    fn finish(&mut self, number: u64, sandbox: Sandbox) -> Result<(), Gone> {
        let (ending, users) = sandbox.finish();
        self.users.give_back(users);
        let sandbox = number;
        let reply = match ending {
            Ending::Exited(exit) => Reply::Exited { sandbox, exit },
            Ending::Failed(failure) => Reply::Failed { sandbox, failure },
        };
        self.reply(&reply, &[])
    }

    fn end_all(mut self) {
        for sandbox in self.sandboxes.values() {
            kernel::signal(&sandbox.pidfd, Signal::KILL);
        }
        let mut left: Vec<_> = self.sandboxes.into_values().collect();
        left.extend(self.ending.drain(..).map(|(_, sandbox, _)| sandbox));
        let start = Instant::now();
        while !left.is_empty() && start.elapsed() < PATIENCE {
            left.retain_mut(|sandbox| !(sandbox.reap() && sandbox.remove()));
            if !left.is_empty() {
                kernel::pause(RETRY);
            }
        }
        self.workshop.cgroups.remove();
    }
}

const ENDED: &str = "it has ended";
