//! What children say while they get ready.

use super::{ENDED, Gone, PROCESS, Process};
use crate::error::Failure;
use crate::kernel;
use crate::sandbox::{Progress, Sandbox};
use crate::snapshot::{self, Start};
use crate::wire::{GroupFiles, Reply};
use crate::zygote::{By, Word};
use rustix::event::epoll;
use std::os::fd::AsFd;

impl Process {
    pub(super) fn reported(&mut self, number: u64) -> Result<(), Gone> {
        let Some(sandbox) = self.sandboxes.get_mut(&number) else {
            return Ok(());
        };
        match sandbox.progress() {
            Progress::Parked => self.parked(number),
            Progress::Armed(greeting) => self.armed(number, greeting),
            Progress::Started => {
                // At its end the socket would be ready for ever.
                let _ = epoll::delete(&self.epoll, sandbox.report());
                self.reply(&Reply::Started { sandbox: number }, &[])
            }
            Progress::Ended => {
                let _ = epoll::delete(&self.epoll, sandbox.report());
                Ok(())
            }
            Progress::Waiting | Progress::Failed => Ok(()),
        }
    }

    fn parked(&mut self, number: u64) -> Result<(), Gone> {
        let Some(fork) = self.forks.remove(&number) else {
            return self.armed(number, Vec::new());
        };
        let Some(sandbox) = self.sandboxes.get(&number) else {
            return Ok(());
        };
        let asked = match &fork.by {
            By::Zygote(zygote) => match self.zygotes.get_mut(zygote) {
                Some(zygote) => zygote.ask(number, sandbox, &fork),
                None => Err(Failure::new("forking the zygote", ENDED)),
            },
            By::Snapshot(snapshot) => match self.sandboxes.get(snapshot) {
                Some(snapshot) => snapshot::ask(snapshot, sandbox, &fork),
                None => Err(Failure::new("forking the snapshot", ENDED)),
            },
            By::Itself { argv, environment } => {
                let start = Start { argv, environment };
                let begun = snapshot::begin(&self.workshop, sandbox, &fork, &start);
                match begun {
                    Ok(process) => return self.snapshot_begun(number, process),
                    Err(failure) => Err(failure),
                }
            }
        };
        if let (Err(failure), Some(sandbox)) = (asked, self.sandboxes.get_mut(&number)) {
            sandbox.fail(failure);
        }
        Ok(())
    }

    /// A function's own zygote was forked. The server hears what it says, or how it ended.
    fn snapshot_begun(&mut self, number: u64, process: kernel::Child) -> Result<(), Gone> {
        self.joined(number, Ok(process))?;
        let Some(sandbox) = self.sandboxes.get_mut(&number) else {
            return Ok(());
        };
        let (files, fds) = sandbox.take_ends();
        let pid = sandbox.pid();
        let control = self.sandboxes.get(&number).and_then(Sandbox::control);
        let fds: Vec<_> = fds.iter().chain(control).map(AsFd::as_fd).collect();
        let greeting = Vec::new();
        let reply = Reply::Armed {
            sandbox: number,
            pid,
            files,
            greeting,
        };
        self.reply(&reply, &fds)
    }

    pub(super) fn said(&mut self, number: u64) -> Result<(), Gone> {
        if self.pins.has(number) {
            return self.pinned(number);
        }
        if let Some(zygote) = self.zygotes.get_mut(&number) {
            let pid = zygote.process().number();
            return match zygote.listen() {
                Word::Nothing => Ok(()),
                Word::Greeting(greeting) => self.reply(
                    &Reply::Armed {
                        sandbox: number,
                        pid,
                        files: GroupFiles::default(),
                        greeting,
                    },
                    &[],
                ),
                Word::Fork(sandbox, fork) => self.joined(sandbox, fork),
                Word::End => {
                    let _ = epoll::delete(&self.epoll, zygote.control());
                    Ok(())
                }
            };
        }
        let Some(sandbox) = self.sandboxes.get_mut(&number) else {
            return Ok(());
        };
        match sandbox.greeted() {
            Progress::Armed(greeting) => {
                if sandbox.is_restored() {
                    self.watch_member(number);
                }
                self.armed(number, greeting)
            }
            Progress::Ended => {
                if let Some(control) = sandbox.control() {
                    let _ = epoll::delete(&self.epoll, control);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn joined(&mut self, number: u64, fork: Result<kernel::Child, Failure>) -> Result<(), Gone> {
        let Some(sandbox) = self.sandboxes.get_mut(&number) else {
            // It ended meanwhile, and with it whatever is in its pid namespace.
            return Ok(());
        };
        match fork {
            Ok(process) => {
                let greeting = sandbox.join(process);
                self.watch_member(number);
                greeting.map_or(Ok(()), |greeting| self.armed(number, greeting))
            }
            Err(failure) => {
                sandbox.fail(failure);
                Ok(())
            }
        }
    }

    /// The end of the sandbox's program shall be heard of, if that is not its first process.
    fn watch_member(&mut self, number: u64) {
        let watched = match self.sandboxes.get(&number).and_then(Sandbox::member) {
            Some(member) => self.watch(&member.pidfd, number, PROCESS),
            None => Ok(()),
        };
        if let (Err(failure), Some(sandbox)) = (watched, self.sandboxes.get_mut(&number)) {
            sandbox.fail(failure);
        }
    }

    fn armed(&mut self, number: u64, greeting: Vec<u8>) -> Result<(), Gone> {
        let Some(sandbox) = self.sandboxes.get_mut(&number) else {
            return Ok(());
        };
        if !sandbox.is_armed() {
            return Ok(());
        }
        let (files, fds) = sandbox.take_ends();
        let pid = sandbox.pid();
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        self.reply(
            &Reply::Armed {
                sandbox: number,
                pid,
                files,
                greeting,
            },
            &fds,
        )
    }
}
