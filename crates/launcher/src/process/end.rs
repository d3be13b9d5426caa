//! What ends: sandboxes, zygotes, and the launcher with all of them.

use super::{ENDED, Gone, PATIENCE, Process, RETRY};
use crate::cgroup::Group;
use crate::error::Failure;
use crate::kernel;
use crate::sandbox::{Ending, Sandbox};
use crate::slot::Slot;
use crate::wire::Reply;
use crate::zygote::Zygote;
use rustix::event::epoll;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use std::time::Instant;

/// Children that are reaped before others are heard again: a snapshot can make any number of them.
const REAPED_AT_ONCE: usize = 64;

impl Process {
    pub(super) fn reap(&mut self, number: u64) -> Result<(), Gone> {
        if self.pins.has(number) {
            return self.unpinned(number);
        }
        if self.zygotes.contains_key(&number) {
            return self.reap_zygote(number);
        }
        // What it reported before it ended comes first.
        self.reported(number)?;
        self.said(number)?;
        let Some(sandbox) = self.sandboxes.get_mut(&number) else {
            return Ok(());
        };
        let over = sandbox.reap();
        for ended in sandbox.ended_processes() {
            let _ = epoll::delete(&self.epoll, ended);
        }
        if !over && let Some(exit) = sandbox.end_to_tell() {
            return self.tell_end(number, Ending::Exited(exit));
        }
        if over && let Some(sandbox) = self.sandboxes.remove(&number) {
            self.forks.remove(&number);
            let told = sandbox.is_told();
            let (ending, slot, intact) = sandbox.finish();
            self.give_back(slot, intact);
            if !told {
                return self.tell_end(number, ending);
            }
        }
        Ok(())
    }

    /// Reaps every child that has ended. What a snapshot, or a fork of one, has made with `CLONE_PARENT` is
    /// known to nobody, and its pid namespace could not end before it is reaped.
    pub(super) fn reap_all(&mut self) -> Result<(), Gone> {
        // Each tells of any number of them.
        let mut told = [0_u8; 1024];
        while let Some(children) = &self.children
            && rustix::io::read(children, &mut told).is_ok_and(|length| length > 0)
        {}
        let mut last = None;
        for _ in 0..REAPED_AT_ONCE {
            let Some(pid) = kernel::ended_child() else {
                return Ok(());
            };
            let owner = self.sandboxes.iter().find(|(_, found)| found.awaits(pid));
            let owner = owner.map(|(number, _)| *number).or_else(|| {
                let mut zygotes = self.zygotes.iter();
                zygotes
                    .find(|(_, zygote)| zygote.process().pid == pid)
                    .map(|(number, _)| *number)
            });
            match owner {
                // It was reaped just now, or never will be.
                Some(_) if last == Some(pid) => return Ok(()),
                Some(number) => self.reap(number)?,
                None => reap_stranger(pid),
            }
            last = Some(pid);
        }
        // There may be more, after whatever else there is to do.
        kernel::signal_own(Signal::CHILD);
        Ok(())
    }

    fn reap_zygote(&mut self, number: u64) -> Result<(), Gone> {
        let Some(zygote) = self.zygotes.get(&number) else {
            return Ok(());
        };
        let Some(status) = zygote.reap() else {
            return Ok(());
        };
        // What it said before it ended comes first, of each fork.
        for _ in 0..=zygote.asked() {
            self.said(number)?;
        }
        let Some(zygote) = self.zygotes.remove(&number) else {
            return Ok(());
        };
        let (slot, asked, ending) = zygote.finish(status.as_ref());
        self.give_back(slot, false);
        if !asked.is_empty() {
            // It may have made a fork and not told of it, which the sandbox could not end without.
            match self.watch_children() {
                Ok(()) => kernel::signal_own(Signal::CHILD),
                Err(failure) => eprintln!("launcher: {}: {}", failure.step, failure.reason),
            }
        }
        for sandbox in asked {
            if let Some(sandbox) = self.sandboxes.get_mut(&sandbox) {
                sandbox.fail(Failure::new("forking the zygote", ENDED));
            }
        }
        self.tell_end(number, ending)
    }

    fn tell_end(&self, sandbox: u64, ending: Ending) -> Result<(), Gone> {
        let reply = match ending {
            Ending::Exited(exit) => Reply::Exited { sandbox, exit },
            Ending::Failed(failure) => Reply::Failed { sandbox, failure },
        };
        self.reply(&reply, &[])
    }

    pub(super) fn give_back(&mut self, slot: Slot, intact: bool) {
        let lender = slot.lender;
        if let Some(mut group) = self.slots.give_back(&self.workshop.cgroups, slot, intact)
            && !group.remove()
        {
            self.leaving.push((group, Instant::now()));
        }
        let lender = lender.and_then(|number| self.sandboxes.get(&number));
        // It has waited for its last fork.
        if let Some(lender) = lender
            && !lender.can_lend()
        {
            lender.kill();
        }
    }

    pub(super) fn end_all(mut self) {
        self.pins.end();
        self.zygotes.values().for_each(Zygote::kill);
        self.sandboxes.values().for_each(Sandbox::end);
        let start = Instant::now();
        let mut left: Vec<Group> = self.leaving.drain(..).map(|(group, _)| group).collect();
        while start.elapsed() < PATIENCE {
            let over: Vec<u64> = self
                .sandboxes
                .iter_mut()
                .filter_map(|(number, sandbox)| sandbox.reap().then_some(*number))
                .collect();
            for number in over {
                if let Some(sandbox) = self.sandboxes.remove(&number) {
                    let (_, slot, _) = sandbox.finish();
                    left.push(slot.group);
                }
            }
            let over: Vec<u64> = self
                .zygotes
                .iter()
                .filter_map(|(number, zygote)| zygote.reap().map(|_| *number))
                .collect();
            for number in over {
                if let Some(zygote) = self.zygotes.remove(&number) {
                    left.push(zygote.finish(None).0.group);
                }
            }
            while let Some(pid) = kernel::ended_child()
                && !self.sandboxes.values().any(|found| found.awaits(pid))
                && !self
                    .zygotes
                    .values()
                    .any(|found| found.process().pid == pid)
            {
                reap_stranger(pid);
            }
            left.retain_mut(|group| !group.remove());
            if left.is_empty() && self.sandboxes.is_empty() && self.zygotes.is_empty() {
                break;
            }
            kernel::pause(RETRY);
        }
        self.slots.remove();
        self.workshop.cgroups.remove();
    }
}

fn reap_stranger(pid: Pid) {
    // It has ended, and nobody else awaits it.
    let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
}
