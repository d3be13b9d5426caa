//! Control groups of version 1, 2, and both together: what each sandbox may use, and what it used.

mod group;
mod hierarchy;
mod kept;

pub(crate) use group::Group;
pub(crate) use hierarchy::{Controller, Hierarchy, discover};
pub(crate) use kept::{Kept, kept_below};

use crate::error::{Failure, Step};
use crate::kernel;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::fs;
use std::io;
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
        let old = || {
            let places = hierarchies.iter().flat_map(Hierarchy::places);
            places.map(|place| place.join(name))
        };
        // What is frozen does not even heed a kill, whichever hierarchy it comes from.
        old().for_each(|folder| thaw_all(&folder));
        old().try_for_each(|folder| sweep(&folder))?;
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

/// Lets what runs in the sandboxes beneath `parent` run on.
fn thaw_all(parent: &Path) {
    let folders = fs::read_dir(parent).into_iter().flatten().flatten();
    for folder in folders.map(|entry| entry.path()) {
        // Each is there in one version only.
        let _ = group::write(&folder.join("freezer.state"), "THAWED");
        let _ = group::write(&folder.join("cgroup.freeze"), "0");
    }
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
