//! Requests about files that are kept in memory.

use super::{CONTROL, ENDED, Gone, PROCESS, Process};
use crate::error::{Failure, Step as _};
use crate::pin::{self, Pin};
use crate::wire::Reply;
use crate::zygote::Zygote;
use crate::{Pinned, kernel};
use rustix::event::epoll;
use std::path::PathBuf;

impl Process {
    /// Which files a zygote or stem has mapped.
    pub(super) fn mapped(&self, request: u64, number: u64) -> Result<(), Gone> {
        let zygote = self.zygotes.get(&number).map(Zygote::process);
        let pid = zygote.map(kernel::Child::number).or_else(|| {
            let sandbox = self.sandboxes.get(&number).filter(|one| one.is_armed());
            sandbox.map(crate::sandbox::Sandbox::pid)
        });
        const STEP: &str = "reading which files it has mapped";
        let files = match pid {
            Some(pid) => pin::mapped(pid).step(STEP),
            None => Err(Failure::new(STEP, ENDED)),
        };
        match files {
            Ok(files) => self.reply(&Reply::Mapped { request, files }, &[]),
            Err(failure) => self.reply(&Reply::Refused { request, failure }, &[]),
        }
    }

    /// Keeps these files in memory from now on; answers once they are.
    pub(super) fn pin(&mut self, request: u64, files: &[PathBuf], bytes: u64) -> Result<(), Gone> {
        if files.is_empty() || bytes == 0 {
            self.pins.end();
            let pinned = Pinned::default();
            return self.reply(&Reply::Pinned { request, pinned }, &[]);
        }
        let started = self.check_number(request).and_then(|()| {
            self.pins
                .start(request, &self.workshop.pin, files, bytes)
                .map(drop)
        });
        let watched = started.and_then(|()| {
            let watch = |pin: &Pin| {
                self.watch(pin.pidfd(), request, PROCESS)?;
                self.watch(pin.control(), request, CONTROL)
            };
            self.pins.get(request).map_or(Ok(()), watch)
        });
        match watched {
            Ok(()) => Ok(()),
            Err(failure) => self.reply(&Reply::Refused { request, failure }, &[]),
        }
    }

    /// A process that pins has said something, or ended.
    pub(super) fn pinned(&mut self, number: u64) -> Result<(), Gone> {
        if let Some(pinned) = self.pins.told(number) {
            let request = number;
            self.reply(&Reply::Pinned { request, pinned }, &[])?;
        }
        // It says one thing; its end is told by its pidfd.
        if let Some(pin) = self.pins.get(number) {
            let _ = epoll::delete(&self.epoll, pin.control());
        }
        Ok(())
    }

    /// A process that pins has ended.
    pub(super) fn unpinned(&mut self, number: u64) -> Result<(), Gone> {
        self.pinned(number)?;
        match self.pins.reap(number) {
            Some(true) => {
                let failure = Failure::new("pinning files", "the process ended before it was done");
                let request = number;
                self.reply(&Reply::Refused { request, failure }, &[])
            }
            Some(false) | None => Ok(()),
        }
    }
}
