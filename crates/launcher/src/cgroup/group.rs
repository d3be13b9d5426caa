//! The control groups of one sandbox.

use super::kept::Kept;
use super::{Controller, Parent, Version};
use crate::Usage;
use crate::error::{Failure, Step};
use model::Limits;
use rustix::fs::{Mode, OFlags, open};
use std::cell::Cell;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Where the kernel tells the most memory that a group used, in bytes.
fn peak_file(version: Version) -> &'static str {
    match version {
        Version::V1 => "memory.max_usage_in_bytes",
        Version::V2 => "memory.peak",
    }
}

/// Most bytes that may still be charged to a group when the next sandbox gets it: what the kernel
/// keeps for a while of the last one's files and kernel objects.
const RESIDUE: u64 = 1024 * 1024;

/// The cgroups of one sandbox; those of version 1 serve one sandbox after the other.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(super) parts: Vec<Parent>,
    /// As they were written last.
    limits: Option<Limits>,
    /// What the kernel killed for memory in earlier sandboxes.
    killed_before: u64,
    /// Nanoseconds of processor time that earlier sandboxes used, as version 1 counts them.
    used_before: u64,
    /// It may be frozen: it was, and the server may have thawed it since.
    frozen: Cell<bool>,
    kept: Files,
}

/// What is looked at for every sandbox.
#[derive(Debug, Default)]
struct Files {
    peak: Kept,
    charged: Kept,
    kills: Kept,
    time: Kept,
    processes: Kept,
    freezer: Kept,
    /// What is written to for entering, of each part.
    tasks: [Kept; Controller::ALL.len()],
}

impl Group {
    /// Sets the limits that are not set already.
    pub(crate) fn limit(&mut self, limits: &Limits) -> Result<(), Failure> {
        if self.limits.as_ref() == Some(limits) {
            return Ok(());
        }
        self.limits = None;
        for part in &self.parts {
            for controller in &part.controllers {
                controller
                    .limit(&part.folder, part.version, limits)
                    .step(format!("limiting {controller} to what was asked for"))?;
            }
        }
        self.limits = Some(limits.clone());
        Ok(())
    }

    /// Whether it has a group of version 2, which serves one sandbox only: `memory.peak` cannot be set
    /// back, and version 2 makes and removes groups fast.
    pub(crate) fn is_unified(&self) -> bool {
        self.parts.iter().any(|part| part.version == Version::V2)
    }

    /// Makes a group of version 1 fit for the next sandbox: no process, hardly any memory charged, counters at
    /// the beginning. False if that cannot be had; then it is to be removed.
    pub(crate) fn reset(&mut self) -> bool {
        if !self.has_no_process() {
            return false;
        }
        let memory_is_fit = match self.part(Controller::Memory) {
            Some(part) => self.empty(&part.folder),
            None => true,
        };
        self.thaw();
        self.frozen.set(false);
        self.killed_before = self.kills();
        self.used_before = self.time().unwrap_or(0);
        memory_is_fit
    }

    /// Whether nothing runs in it. The controller of processes counts exactly, and whoever enters one of the
    /// groups enters all; a list of processes (`tasks`) would be made in each.
    fn has_no_process(&self) -> bool {
        let count = self.part(Controller::Pids).and_then(|part| {
            let text = self.kept.processes.read(&part.folder.join("pids.current"));
            text.ok()
        });
        count.is_some_and(|count| count.trim() == "0")
    }

    /// Gives the pages of a version 1 group back to the machine, if it has more than a few left.
    fn empty(&self, folder: &Path) -> bool {
        let used = || {
            let text = self
                .kept
                .charged
                .read(&folder.join("memory.usage_in_bytes"));
            text.ok().and_then(|text| text.trim().parse::<u64>().ok())
        };
        let few = |used: Option<u64>| used.is_some_and(|used| used <= RESIDUE);
        let is_empty = few(used()) || {
            let _ = write(&folder.join("memory.force_empty"), "0");
            few(used())
        };
        is_empty && write(&folder.join(peak_file(Version::V1)), "0").is_ok()
    }

    /// What thaws it, opened for writing, and whose words it takes.
    pub(crate) fn freezer(&self) -> Option<(OwnedFd, Version)> {
        let part = self.part(Controller::Freezer)?;
        let name = match part.version {
            Version::V1 => "freezer.state",
            Version::V2 => "cgroup.freeze",
        };
        let file = self
            .kept
            .freezer
            .share(&part.folder.join(name), OFlags::WRONLY);
        Some((file.ok()?, part.version))
    }

    /// Stops what runs in it. Without a freezer it runs on.
    pub(crate) fn freeze(&self) {
        self.frozen.set(true);
        self.write_freezer("FROZEN", "1");
    }

    /// What tells the most memory that it used, opened for reading.
    pub(crate) fn memory_peak(&self) -> Option<OwnedFd> {
        let part = self.part(Controller::Memory)?;
        let file = part.folder.join(peak_file(part.version));
        self.kept.peak.share(&file, OFlags::RDONLY).ok()
    }

    /// Lets it run on, so that a signal reaches it. One that is not frozen stays as it is.
    pub(crate) fn thaw(&self) {
        if self.frozen.get() {
            self.write_freezer("THAWED", "0");
        }
    }

    fn write_freezer(&self, v1: &str, v2: &str) {
        if let Some(part) = self.part(Controller::Freezer) {
            let (name, word) = match part.version {
                Version::V1 => ("freezer.state", v1),
                Version::V2 => ("cgroup.freeze", v2),
            };
            // The group is there as long as its sandbox is.
            let _ = self.kept.freezer.write(&part.folder.join(name), word);
        }
    }

    /// The files by which a process enters it, opened: whoever writes "0" there moves itself.
    pub(crate) fn entries(&self) -> Result<Vec<OwnedFd>, Failure> {
        let mut entries = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let name = match part.version {
                Version::V1 => "tasks",
                Version::V2 => "cgroup.procs",
            };
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let file = open(part.folder.join(name), flags, Mode::empty());
            entries.push(file.step("opening the cgroup")?);
        }
        Ok(entries)
    }

    fn part(&self, controller: Controller) -> Option<&Parent> {
        let mut parts = self.parts.iter();
        parts.find(|part| part.controllers.contains(&controller))
    }

    /// The version 2 folder, for a clone straight into it.
    pub(crate) fn unified(&self) -> Result<Option<OwnedFd>, Failure> {
        let Some(part) = self.parts.iter().find(|part| part.version == Version::V2) else {
            return Ok(None);
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(&part.folder, flags, Mode::empty()).step("opening the cgroup")?;
        Ok(Some(folder))
    }

    /// Enters the version 1 groups. A process that writes 0 to `tasks` moves itself, which spares
    /// the many milliseconds of grace period that `cgroup.procs` costs.
    pub(crate) fn enter(&self) -> Result<(), Failure> {
        self.enter_by(|_, tasks| write(tasks, "0"))
    }

    /// The same for a process that still has all of the launcher's descriptors: what it opens for that stays open
    /// there, if they share the table.
    pub(crate) fn enter_by_kept(&self) -> Result<(), Failure> {
        self.enter_by(|kept, tasks| kept.write(tasks, "0"))
    }

    fn enter_by(&self, write: impl Fn(&Kept, &Path) -> io::Result<()>) -> Result<(), Failure> {
        for (part, kept) in self.parts.iter().zip(&self.kept.tasks) {
            if part.version == Version::V1 {
                let entered = write(kept, &part.folder.join("tasks"));
                entered.step(format!("entering {}", part.folder.display()))?;
            }
        }
        Ok(())
    }

    fn read(&self, file: &Kept, controller: Controller, v1: &str, v2: &str) -> Option<String> {
        let part = self.part(controller)?;
        let name = match part.version {
            Version::V1 => v1,
            Version::V2 => v2,
        };
        file.read(&part.folder.join(name)).ok()
    }

    /// What all processes used so far; 0 where the kernel does not tell.
    pub(crate) fn usage(&self) -> Usage {
        let memory = self.read(
            &self.kept.peak,
            Controller::Memory,
            peak_file(Version::V1),
            peak_file(Version::V2),
        );
        Usage {
            memory_peak: memory.and_then(|m| m.trim().parse().ok()).unwrap_or(0),
            cpu: self.time().unwrap_or(0).saturating_sub(self.used_before) / 1000,
        }
    }

    /// Nanoseconds of processor time that were used in it.
    fn time(&self) -> Option<u64> {
        let text = self.read(
            &self.kept.time,
            Controller::Accounting,
            "cpuacct.usage",
            "cpu.stat",
        )?;
        let whole = text.trim().parse();
        Some(whole.unwrap_or_else(|_| field(&text, "usage_usec").saturating_mul(1000)))
    }

    /// Whether the kernel killed something of this sandbox for memory.
    pub(crate) fn out_of_memory(&self) -> bool {
        self.kills() > self.killed_before
    }

    fn kills(&self) -> u64 {
        let events = self.read(
            &self.kept.kills,
            Controller::Memory,
            "memory.oom_control",
            "memory.events",
        );
        events.map_or(0, |text| field(&text, "oom_kill"))
    }

    /// Removes what has no process left; whether all of it is gone.
    pub(crate) fn remove(&mut self) -> bool {
        self.parts
            .retain(|part| match fs::remove_dir(&part.folder) {
                Ok(()) => false,
                Err(error) => error.kind() != io::ErrorKind::NotFound,
            });
        self.parts.is_empty()
    }
}

/// The number behind `key` in a file of `key number` lines.
fn field(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

/// One write to a file of the kernel, without creating it.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let file = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, text.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::{discover, sweep};
    use super::*;
    use crate::kernel;
    use rustix::process::Signal;
    use std::os::fd::AsFd as _;
    use tempfile::TempDir;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(field(text, "oom_kill"), 3);
        assert_eq!(field(text, "oom"), 0);
    }

    /// A folder with the files that a group of version 2 has, as ordinary ones.
    fn unified(files: &[(&str, &str)]) -> (TempDir, Group) {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let part = Parent {
            folder: folder.path().to_owned(),
            version: Version::V2,
            controllers: Controller::ALL.to_vec(),
        };
        (
            folder,
            Group {
                parts: vec![part],
                ..Group::default()
            },
        )
    }

    #[test]
    fn limits_are_written_as_version_2_has_them() {
        let names = ["memory.max", "memory.swap.max", "pids.max", "cpu.max"];
        let (folder, _) = unified(&names.map(|name| (name, "")));
        let limits = Limits {
            cpu: 1500,
            ..Limits::default()
        };
        for controller in Controller::ALL {
            controller
                .limit(folder.path(), Version::V2, &limits)
                .unwrap();
        }
        let written = names.map(|name| fs::read_to_string(folder.path().join(name)).unwrap());
        assert_eq!(written, ["134217728", "0", "512", "150000 100000"]);
        fs::remove_file(folder.path().join("memory.swap.max")).unwrap();
        let swapless = Controller::Memory.limit(folder.path(), Version::V2, &limits);
        assert!(swapless.is_ok(), "not every kernel accounts for swap");
        fs::remove_file(folder.path().join("pids.max")).unwrap();
        assert!(
            Controller::Pids
                .limit(folder.path(), Version::V2, &limits)
                .is_err()
        );
    }

    #[test]
    fn usage_is_read_as_version_2_tells_it() {
        let (_folder, group) = unified(&[
            ("memory.peak", "4096\n"),
            ("cpu.stat", "usage_usec 77\nuser_usec 70\n"),
            (
                "memory.events",
                "low 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n",
            ),
        ]);
        assert_eq!(
            group.usage(),
            Usage {
                memory_peak: 4096,
                cpu: 77
            }
        );
        assert!(group.out_of_memory());
        let (_folder, silent) = unified(&[]);
        assert_eq!(silent.usage(), Usage::default());
    }

    #[test]
    fn a_fork_begins_in_its_group_of_version_2() {
        let hierarchies = discover().unwrap();
        let unified = hierarchies
            .iter()
            .find(|h| h.version == Version::V2)
            .unwrap();
        let folder = unified
            .mount
            .join(format!("rouse-test-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let group = Group {
            parts: vec![Parent {
                folder: folder.clone(),
                version: Version::V2,
                controllers: Vec::new(),
            }],
            ..Group::default()
        };
        let place = group.unified().unwrap().unwrap();
        let Some(child) = kernel::fork(0, Some(place.as_fd())).unwrap() else {
            // This is one of several threads, so the child does nothing but bare system calls.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            let minute = rustix::thread::Timespec {
                tv_sec: 60,
                tv_nsec: 0,
            };
            let _ = rustix::thread::nanosleep(&minute);
            kernel::exit_now(0);
        };
        let number = child.pid.as_raw_nonzero().to_string();
        let inside = fs::read_to_string(folder.join("cgroup.procs")).unwrap();
        sweep(&folder).unwrap();
        let options = rustix::process::WaitIdOptions::EXITED;
        let pidfd = rustix::process::WaitId::PidFd(child.pidfd.as_fd());
        assert!(rustix::process::waitid(pidfd, options).is_ok());
        assert_eq!(inside.trim(), number);
    }
}
