//! Control groups of version 1, 2, and both together: what each sandbox may use, and what it used.

mod hierarchy;

pub(crate) use hierarchy::{Controller, Hierarchy, discover};

use crate::error::{Failure, Step};
use crate::{Usage, kernel};
use model::Limits;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Version of a hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Version {
    V1,
    V2,
}

/// One folder in which sandboxes get theirs.
#[derive(Debug, Clone)]
struct Parent {
    folder: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
}

/// The parent folders in every hierarchy that counts.
pub(crate) struct Cgroups {
    parents: Vec<Parent>,
    /// Losses that do not prevent a start.
    pub(crate) warnings: Vec<String>,
}

impl Cgroups {
    /// Finds the hierarchies, clears what an earlier launcher of this `name` left, makes the parents.
    ///
    /// # Errors
    /// Names the controller that cannot be enforced, and why.
    pub(crate) fn prepare(name: &str) -> Result<Self, String> {
        let hierarchies = discover().map_err(|error| format!("reading /proc: {error}"))?;
        let mut cgroups = Self {
            parents: Vec::new(),
            warnings: Vec::new(),
        };
        for hierarchy in &hierarchies {
            for place in hierarchy.places() {
                sweep(&place.join(name))?;
            }
        }
        for controller in Controller::ALL {
            let made = match hierarchies.iter().find(|h| h.has(controller)) {
                Some(hierarchy) => cgroups.add(hierarchy, controller, name),
                None => Err("no cgroup hierarchy offers it".to_owned()),
            };
            match (made, controller.required()) {
                (Ok(()), _) => {}
                (Err(reason), true) => {
                    return Err(format!(
                        "the cgroup controller \"{controller}\" cannot be used: {reason}"
                    ));
                }
                (Err(reason), false) => cgroups.warnings.push(format!(
                    "the cgroup controller \"{controller}\" cannot be used, {}: {reason}",
                    controller.loss()
                )),
            }
        }
        Ok(cgroups)
    }

    fn add(
        &mut self,
        hierarchy: &Hierarchy,
        controller: Controller,
        name: &str,
    ) -> Result<(), String> {
        let known = |parent: &&mut Parent| parent.folder.starts_with(&hierarchy.mount);
        if let Some(parent) = self.parents.iter_mut().find(known) {
            if hierarchy.version == Version::V2 {
                if let Some(above) = parent.folder.parent() {
                    hierarchy::delegate(above, controller)?;
                }
                hierarchy::delegate(&parent.folder, controller)?;
            }
            parent.controllers.push(controller);
            return Ok(());
        }
        let folder = hierarchy.make_parent(name, controller)?;
        self.parents.push(Parent {
            folder,
            version: hierarchy.version,
            controllers: vec![controller],
        });
        Ok(())
    }

    /// Makes the groups of one sandbox, without limits. Nothing is left when it fails.
    pub(crate) fn create(&self, name: &str) -> Result<Group, Failure> {
        let mut group = Group::default();
        for parent in &self.parents {
            let folder = parent.folder.join(name);
            if let Err(error) = fs::create_dir(&folder) {
                group.remove();
                return Err(error).step(format!("making the cgroup {}", folder.display()));
            }
            group.parts.push(Parent {
                folder,
                ..parent.clone()
            });
        }
        Ok(group)
    }

    /// Removes the parents; call it when no sandbox is left.
    pub(crate) fn remove(&self) {
        for parent in &self.parents {
            // What is still in use is swept by the next launcher.
            let _ = fs::remove_dir(&parent.folder);
        }
    }
}

/// Most bytes that may still be charged to a group when the next sandbox gets it: what the kernel
/// keeps for a while of the last one's files and kernel objects.
const RESIDUE: u64 = 1024 * 1024;

/// The cgroups of one sandbox; those of version 1 serve one sandbox after the other.
#[derive(Debug, Default)]
pub(crate) struct Group {
    parts: Vec<Parent>,
    /// As they were written last.
    limits: Option<Limits>,
    /// What the kernel killed for memory in earlier sandboxes.
    killed_before: u64,
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

    /// Makes the group fit for the next sandbox: no process, hardly any memory charged, counters at
    /// the beginning. False if that cannot be had; then it is to be removed.
    pub(crate) fn reset(&mut self) -> bool {
        if self.parts.iter().any(|part| part.version == Version::V2) {
            // memory.peak cannot be set back; and version 2 makes and removes groups fast.
            return false;
        }
        let mut memory_is_fit = true;
        for part in &self.parts {
            if fs::read_to_string(part.folder.join("tasks")).is_ok_and(|tasks| !tasks.is_empty()) {
                return false;
            }
            for controller in &part.controllers {
                let file = |name: &str| part.folder.join(name);
                match controller {
                    Controller::Memory => memory_is_fit = empty(&part.folder),
                    // One that stays is only shown too high.
                    Controller::Accounting => {
                        let _ = write(&file("cpuacct.usage"), "0");
                    }
                    Controller::Freezer => {
                        let _ = write(&file("freezer.state"), "THAWED");
                    }
                    Controller::Pids | Controller::Cpu => {}
                }
            }
        }
        self.killed_before = self.kills();
        memory_is_fit
    }

    /// What thaws it, opened for writing, and whose words it takes.
    pub(crate) fn freezer(&self) -> Option<(OwnedFd, Version)> {
        let part = self.part(Controller::Freezer)?;
        let name = match part.version {
            Version::V1 => "freezer.state",
            Version::V2 => "cgroup.freeze",
        };
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = open(part.folder.join(name), flags, Mode::empty()).ok()?;
        Some((file, part.version))
    }

    /// Stops what runs in it. Without a freezer it runs on.
    pub(crate) fn freeze(&self) {
        self.write_freezer("FROZEN", "1");
    }

    /// Lets it run on, so that a signal reaches it. One that is not frozen stays as it is.
    pub(crate) fn thaw(&self) {
        self.write_freezer("THAWED", "0");
    }

    fn write_freezer(&self, v1: &str, v2: &str) {
        if let Some(part) = self.part(Controller::Freezer) {
            let (name, word) = match part.version {
                Version::V1 => ("freezer.state", v1),
                Version::V2 => ("cgroup.freeze", v2),
            };
            // The group is there as long as its sandbox is.
            let _ = write(&part.folder.join(name), word);
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
        for part in self.parts.iter().filter(|p| p.version == Version::V1) {
            let tasks = part.folder.join("tasks");
            write(&tasks, "0").step(format!("entering {}", part.folder.display()))?;
        }
        Ok(())
    }

    fn read(&self, controller: Controller, v1: &str, v2: &str) -> Option<String> {
        let part = self.part(controller)?;
        let file = match part.version {
            Version::V1 => v1,
            Version::V2 => v2,
        };
        fs::read_to_string(part.folder.join(file)).ok()
    }

    /// What all processes used so far; 0 where the kernel does not tell.
    pub(crate) fn usage(&self) -> Usage {
        let memory = self.read(
            Controller::Memory,
            "memory.max_usage_in_bytes",
            "memory.peak",
        );
        let nanoseconds = self.read(Controller::Accounting, "cpuacct.usage", "cpu.stat");
        let cpu = match nanoseconds {
            Some(text) => match text.trim().parse::<u64>() {
                Ok(nanoseconds) => nanoseconds / 1000,
                Err(_) => field(&text, "usage_usec"),
            },
            None => 0,
        };
        Usage {
            memory_peak: memory.and_then(|m| m.trim().parse().ok()).unwrap_or(0),
            cpu,
        }
    }

    /// Whether the kernel killed something of this sandbox for memory.
    pub(crate) fn out_of_memory(&self) -> bool {
        self.kills() > self.killed_before
    }

    fn kills(&self) -> u64 {
        let events = self.read(Controller::Memory, "memory.oom_control", "memory.events");
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

/// Gives the pages of a version 1 group back to the machine, if it has more than a few left.
fn empty(folder: &Path) -> bool {
    let used = || {
        let text = fs::read_to_string(folder.join("memory.usage_in_bytes"));
        text.ok().and_then(|text| text.trim().parse::<u64>().ok())
    };
    let few = |used: Option<u64>| used.is_some_and(|used| used <= RESIDUE);
    if !few(used()) {
        let _ = write(&folder.join("memory.force_empty"), "0");
    }
    few(used()) && write(&folder.join("memory.max_usage_in_bytes"), "0").is_ok()
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
fn write(path: &Path, text: &str) -> io::Result<()> {
    let file = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, text.as_bytes())?;
    Ok(())
}

/// Kills all that runs in the sandboxes beneath `parent` and removes them and it.
fn sweep(parent: &Path) -> Result<(), String> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let stuck = |what: &Path, why: &str| format!("clearing the old {}: {why}", what.display());
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(stuck(parent, &error.to_string())),
    };
    let folders: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    for folder in folders.iter().map(PathBuf::as_path).chain([parent]) {
        kill_all(folder);
    }
    let start = Instant::now();
    for folder in folders.iter().map(PathBuf::as_path).chain([parent]) {
        loop {
            match fs::remove_dir(folder) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) if start.elapsed() > PATIENCE => {
                    return Err(stuck(folder, &error.to_string()));
                }
                Err(_) => kill_all(folder),
            }
            kernel::pause(Duration::from_millis(5));
        }
    }
    Ok(())
}

fn kill_all(folder: &Path) {
    let Ok(processes) = fs::read_to_string(folder.join("cgroup.procs")) else {
        return;
    };
    let pids = processes.lines().filter_map(|line| line.parse().ok());
    for pid in pids.filter_map(Pid::from_raw) {
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        // The number may have a new owner by now: only one that is still in the group is killed.
        let still = fs::read_to_string(folder.join("cgroup.procs"));
        let number = pid.as_raw_nonzero().to_string();
        if still.is_ok_and(|text| text.lines().any(|line| line == number)) {
            kernel::signal(&pidfd, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
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
