//! What comes out of a sandbox while it gets ready, and what that leads to.

use super::{Member, Phase, Role, Sandbox, member};
use crate::cgroup::{Kept, kept_below};
use crate::child::hostname;
use crate::error::Failure;
use crate::network::Namespace;
use crate::redirect::Redirect;
use crate::slot::Template;
use crate::spaces::{self, Spaces};
use crate::wire::{self, Made, Report};
use rustix::net::RecvFlags;
use rustix::process::Pid;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// What a word from inside leads to.
pub(crate) enum Progress {
    /// Nothing yet.
    Waiting,
    /// The first process is contained.
    Parked,
    /// Nothing more will come from there.
    Ended,
    /// It waits for its assignment; with what the stem said.
    Armed(Vec<u8>),
    /// What was assigned runs.
    Started,
    /// It failed, and was killed; its end is to be awaited.
    Failed,
}

const KILLED: &str = "killed before the program began";

impl Sandbox {
    /// Takes what the first process has reported; never blocks.
    pub(crate) fn progress(&mut self) -> Progress {
        if matches!(self.phase, Phase::Armed | Phase::Starting(_)) {
            return self.answered();
        }
        let mut buffer = [0; 8192];
        match wire::receive(&self.report, &mut buffer, RecvFlags::DONTWAIT) {
            // Later, user code may reach the process that waits.
            Ok(Some((Report::Parked(made), fds))) if matches!(self.phase, Phase::Parking) => {
                self.parked(made, fds)
            }
            Ok(Some((Report::Failed(failure), _))) => self.fail(failure),
            Ok(Some(_)) => self.fail(Failure::new("reading a report", "it comes too late")),
            // The end: the descriptor was closed, by execve or by death.
            Ok(None) => match self.phase {
                Phase::Parking => self.died(KILLED),
                Phase::Armed
                | Phase::Starting(_)
                | Phase::Warming
                | Phase::Running
                | Phase::Failed(_) => Progress::Ended,
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Progress::Waiting,
            Err(error) => self.fail(Failure::new("reading a report", error.to_string())),
        }
    }

    /// Takes what the process says that waits: nothing, as long as nothing goes wrong.
    fn answered(&mut self) -> Progress {
        let mut buffer = [0; 64];
        let received = wire::receive_bytes(&self.report, &mut buffer, RecvFlags::DONTWAIT);
        match (received, &self.phase) {
            (Ok(Some((length, _))), Phase::Starting(told)) => {
                let failure = told.explain(buffer.get(..length).unwrap_or_default());
                self.fail(failure)
            }
            // The descriptor was closed by execve.
            (Ok(None), Phase::Starting(_)) => {
                self.phase = Phase::Running;
                Progress::Started
            }
            // A stem was executed, and has said that it waits before this was looked at.
            (Ok(None), Phase::Armed) if self.control.is_some() => Progress::Ended,
            (Ok(_), _) => self.died(KILLED),
            (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => Progress::Waiting,
            (Err(error), _) => self.fail(Failure::new("reading an answer", error.to_string())),
        }
    }

    fn parked(&mut self, made: Made, mut fds: Vec<OwnedFd>) -> Progress {
        let spaces = match fds.len().checked_sub(spaces::COUNT) {
            Some(others) if made.spaces => fds.split_off(others),
            _ => Vec::new(),
        };
        // With many sandboxes, the number of descriptors matters more.
        let few = spaces.iter().all(|fd| fd.as_raw_fd() < kept_below());
        if let (Ok(namespaces), true) = (spaces.try_into(), few) {
            let hostname = hostname(&self.shape, &self.slot);
            self.slot.spaces = Some(Spaces::new(namespaces, hostname));
        }
        let template = made.template.then(|| fds.pop()).flatten();
        let network = made.network.then(|| fds.pop()).flatten();
        let redirect = match (made.redirect, fds.len()) {
            (true, 2..) => fds.pop().zip(fds.pop()),
            _ => None,
        };
        let redirect = redirect.map(|(link, map)| Redirect { map, link });
        if let Some(namespace) = template {
            self.slot.template = Some(Template {
                shape: self.shape.clone(),
                namespace,
                ids: made.ids.clone(),
            });
        }
        if let Some(fd) = network {
            self.slot.network = Some(Namespace {
                fd,
                egress: self.shape.egress,
                redirect: None,
                counts: Kept::default(),
            });
        }
        if let (Some(network), Some(redirect)) = (&mut self.slot.network, redirect) {
            network.redirect = Some(redirect);
        }
        if let Some(ends) = &mut self.ends {
            ends.listeners = fds;
        }
        self.phase = match self.control {
            Some(_) => Phase::Warming,
            None => Phase::Armed,
        };
        Progress::Parked
    }

    /// Takes what the stem has said; never blocks.
    pub(crate) fn greeted(&mut self) -> Progress {
        let (Some(control), Phase::Warming) = (&self.control, &self.phase) else {
            return Progress::Ended;
        };
        let mut buffer = [0; 64];
        match wire::receive_packet(control, &mut buffer, RecvFlags::DONTWAIT) {
            Ok(Some(packet)) => {
                if self.role == Role::Restored
                    && let Err(failure) = self.admit(packet.sender)
                {
                    return self.fail(failure);
                }
                let greeting = buffer.get(..packet.length).unwrap_or_default().to_vec();
                if self.role == Role::Forked && self.member.is_none() {
                    // Nobody would hear of its end. A zygote that ends before it tells fails the sandbox, and
                    // one that has been given away by then would fail a call.
                    self.early = Some(greeting);
                    return Progress::Waiting;
                }
                self.phase = Phase::Armed;
                Progress::Armed(greeting)
            }
            Ok(None) => self.died("it ended before it was ready to wait"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Progress::Waiting,
            Err(error) => self.fail(Failure::new("reading from the stem", error.to_string())),
        }
    }

    /// Takes in the fork of a function's own zygote, if it is one.
    fn admit(&mut self, sender: Option<Pid>) -> Result<(), Failure> {
        let unknown = || Failure::new("reading from the stem", "it is not told who it is");
        let process = member::verified(&self.first, sender.ok_or_else(unknown)?)?;
        self.member = Some(Member::new(process));
        Ok(())
    }

    pub(super) fn died(&mut self, how: &str) -> Progress {
        let reason = if self.slot.group.out_of_memory() {
            "killed for memory; the limit is too small even to begin"
        } else {
            how
        };
        self.fail(Failure::new("setting up the sandbox", reason))
    }
}
