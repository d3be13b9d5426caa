//! Which controllers this machine mounts where, and where we may make groups.

use super::Version;
use super::group::write;
use crate::rootless;
use model::Limits;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a sandbox is limited or measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    Memory,
    Pids,
    Cpu,
    /// Processor time used: a controller of its own in version 1, always there in version 2.
    Accounting,
    /// Standing still while idle: a controller of its own in version 1, always there in version 2.
    Freezer,
}

impl Controller {
    pub(crate) const ALL: [Self; 5] = [
        Self::Memory,
        Self::Pids,
        Self::Cpu,
        Self::Accounting,
        Self::Freezer,
    ];

    /// Its name in version 1; the first three are the same in version 2.
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Accounting => "cpuacct",
            Self::Freezer => "freezer",
        }
    }

    /// Whether no sandbox may start without it.
    pub(crate) fn required(self) -> bool {
        matches!(self, Self::Memory | Self::Pids)
    }

    /// What is lost without it.
    pub(crate) fn loss(self) -> &'static str {
        match self {
            Self::Memory => "so memory is not limited",
            Self::Pids => "so the number of processes is not limited",
            Self::Cpu => "so processor time is not limited",
            Self::Accounting => "so processor time is not measured",
            Self::Freezer => "so idle instances keep running",
        }
    }

    /// Writes its limit into the group `folder`.
    pub(super) fn limit(self, folder: &Path, version: Version, limits: &Limits) -> io::Result<()> {
        let set = |file: &str, value: String| write(&folder.join(file), &value);
        let memory = || limits.memory.to_string();
        let quota = u64::from(limits.cpu) * 100;
        match (self, version) {
            (Self::Memory, Version::V1) => {
                // Swap would stretch the limit. The file is missing where swap is not accounted.
                let with_swap = || optional(set("memory.memsw.limit_in_bytes", memory()));
                match set("memory.limit_in_bytes", memory()) {
                    // Neither may pass the other: what is raised last is lowered first.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                        with_swap()?;
                        set("memory.limit_in_bytes", memory())?;
                    }
                    first => {
                        first?;
                        with_swap()?;
                    }
                }
                optional(set("memory.swappiness", "0".to_owned()))
            }
            (Self::Memory, Version::V2) => {
                set("memory.max", memory())?;
                optional(set("memory.swap.max", "0".to_owned()))
            }
            (Self::Pids, _) => set("pids.max", limits.pids.to_string()),
            // EINVAL: an outer group allows even less, so ours needs no bound of its own.
            (Self::Cpu, Version::V1) => tighter(set("cpu.cfs_quota_us", quota.to_string())),
            (Self::Cpu, Version::V2) => set("cpu.max", format!("{quota} 100000")),
            (Self::Accounting | Self::Freezer, _) => Ok(()),
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn optional(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn tighter(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    pub(crate) version: Version,
    /// Its controllers' names: in version 1 from the mount options, in version 2 from the root's
    /// `cgroup.controllers`.
    pub(crate) controllers: Vec<String>,
    /// This process's own group, relative to `mount`.
    pub(crate) own: PathBuf,
}

/// The hierarchies of this machine, version 1 first: in a hybrid the controllers are there.
pub(crate) fn discover() -> io::Result<Vec<Hierarchy>> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let mut found = parse(&mountinfo, &own);
    for hierarchy in found.iter_mut().filter(|h| h.version == Version::V2) {
        let names = fs::read_to_string(hierarchy.mount.join("cgroup.controllers"));
        hierarchy.controllers = names
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
    }
    Ok(found)
}

/// Reads `/proc/self/mountinfo` and `/proc/self/cgroup` (proc(5), cgroups(7)).
fn parse(mountinfo: &str, own: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((head, tail)) = line.split_once(" - ") else {
            continue;
        };
        let head: Vec<_> = head.split(' ').collect();
        let tail: Vec<_> = tail.split(' ').collect();
        let (Some(root), Some(mount), Some(kind)) = (head.get(3), head.get(4), tail.first()) else {
            continue;
        };
        let version = match *kind {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => continue,
        };
        let options = tail.get(2).copied().unwrap_or_default();
        let controllers = match version {
            Version::V1 => options.split(',').map(str::to_owned).collect(),
            Version::V2 => Vec::new(),
        };
        let group = own_group(own, version, &controllers);
        let relative = group.strip_prefix(root).unwrap_or(Path::new(""));
        found.push(Hierarchy {
            mount: PathBuf::from(unescape(mount)),
            version,
            controllers,
            own: relative.to_owned(),
        });
    }
    found.sort_by_key(|hierarchy| hierarchy.version == Version::V2);
    found
}

fn own_group(own: &str, version: Version, controllers: &[String]) -> PathBuf {
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(names), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let matches = match version {
            Version::V1 => names.split(',').any(|n| controllers.iter().any(|c| c == n)),
            Version::V2 => names.is_empty(),
        };
        if matches {
            return PathBuf::from(path);
        }
    }
    PathBuf::from("/")
}

/// mountinfo writes space, tab, newline and backslash in octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

impl Hierarchy {
    /// Whether it offers `controller`.
    pub(crate) fn has(&self, controller: Controller) -> bool {
        match (self.version, controller) {
            (Version::V2, Controller::Accounting | Controller::Freezer) => {
                self.has(Controller::Memory)
            }
            _ => self.controllers.iter().any(|c| c == controller.name()),
        }
    }

    /// Where our parent folder may be, best first: at the top, where the next server finds it
    /// wherever it is started from; in the folder that root gave to this user; or below our own group, if
    /// only that is ours.
    pub(crate) fn places(&self) -> Vec<PathBuf> {
        let mut places = vec![self.mount.clone()];
        if self.version == Version::V1
            && let Some(user) = rootless::user()
        {
            places.push(self.mount.join(rootless::delegated(user)));
        }
        // An earlier start may have moved this process aside: then its own group is the one above.
        let above = self.own.parent().filter(|_| self.own.ends_with(ASIDE));
        let own = above.unwrap_or(&self.own);
        if own.components().next().is_some() {
            places.push(self.mount.join(own));
        }
        places
    }

    /// Makes the folder `name` that sandboxes get their groups in.
    ///
    /// # Errors
    /// What was refused, for each place.
    pub(super) fn make_parent(
        &self,
        name: &str,
        controller: Controller,
    ) -> Result<PathBuf, String> {
        let mut refused = Vec::new();
        for place in self.places() {
            let folder = place.join(name);
            let made = match self.version {
                Version::V1 => Ok(()),
                Version::V2 => delegate(&place, controller),
            }
            .and_then(|()| fs::create_dir(&folder).map_err(|error| error.to_string()))
            .and_then(|()| match self.version {
                Version::V1 => Ok(()),
                Version::V2 => delegate(&folder, controller),
            });
            match made {
                Ok(()) => return Ok(folder),
                Err(reason) => {
                    let _ = fs::remove_dir(&folder);
                    refused.push(format!("{}: {reason}", folder.display()));
                }
            }
        }
        Err(refused.join("; "))
    }
}

/// Version 2: lets the groups beneath `folder` use `controller`.
pub(super) fn delegate(folder: &Path, controller: Controller) -> Result<(), String> {
    if matches!(controller, Controller::Accounting | Controller::Freezer) {
        return Ok(());
    }
    let file = folder.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&file).unwrap_or_default();
    if enabled.split_whitespace().any(|c| c == controller.name()) {
        return Ok(());
    }
    let enable = || write(&file, &format!("+{controller}"));
    match enable() {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            // Only a group without processes of its own may pass controllers on.
            step_aside(folder)?;
            enable().map_err(|error| format!("writing {}: {error}", file.display()))
        }
        other => other.map_err(|error| format!("writing {}: {error}", file.display())),
    }
}

/// The leaf for the server and the launcher in a group of version 2 that passes controllers on.
const ASIDE: &str = "rouse-server";

/// Moves the server and this launcher from `folder` to a leaf beneath it.
fn step_aside(folder: &Path) -> Result<(), String> {
    let told = |error: io::Error| format!("moving the server below {}: {error}", folder.display());
    let ours = [Some(rustix::process::getpid()), rustix::process::getppid()]
        .map(|pid| pid.map(|pid| pid.as_raw_nonzero().to_string()));
    let processes = fs::read_to_string(folder.join("cgroup.procs")).map_err(told)?;
    let others = processes
        .lines()
        .filter(|line| !ours.iter().flatten().any(|pid| pid == line))
        .count();
    if others > 0 {
        return Err(format!(
            "{} holds {others} other processes, so cgroup v2 does not let it pass controllers on; \
             start the server in a cgroup of its own (systemd: Delegate=yes)",
            folder.display()
        ));
    }
    let leaf = folder.join(ASIDE);
    if let Err(error) = fs::create_dir(&leaf)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(told(error));
    }
    for pid in processes.lines() {
        write(&leaf.join("cgroup.procs"), pid).map_err(told)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_hybrid_is_read_with_version_1_first() {
        let mountinfo = "\
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw";
        let own = "4:memory:/a/b\n1:cpu,cpuacct:/\n0::/user.slice\n";
        let found = parse(mountinfo, own);
        assert_eq!(found.len(), 3);
        assert!(found[0].has(Controller::Cpu) && found[0].has(Controller::Accounting));
        assert_eq!(found[1].places()[1], Path::new("/sys/fs/cgroup/memory/a/b"));
        assert_eq!(found[2].version, Version::V2);
        assert_eq!(found[2].own, Path::new("user.slice"));
        let mut unified = found[2].clone();
        let place = unified.places().pop();
        assert_eq!(
            place.as_deref(),
            Some(Path::new("/sys/fs/cgroup/unified/user.slice"))
        );
        unified.own = Path::new("user.slice").join(ASIDE);
        assert_eq!(unified.places().pop(), place, "moved aside, it is the same");
    }

    #[test]
    fn a_bind_of_our_own_group_is_its_own_top() {
        let mountinfo =
            "35 31 0:32 /docker/7 /sys/fs/cgroup/me\\040mory ro - cgroup none rw,memory";
        let found = parse(mountinfo, "4:memory:/docker/7\n");
        assert_eq!(found[0].mount, Path::new("/sys/fs/cgroup/me mory"));
        assert_eq!(found[0].places().len(), 1);
    }

    #[test]
    fn unified_accounts_for_processor_time_where_it_limits_memory() {
        let mut found = parse(
            "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 none rw",
            "0::/x\n",
        );
        assert!(!found[0].has(Controller::Memory));
        found[0].controllers = vec!["memory".to_owned(), "pids".to_owned()];
        assert!(found[0].has(Controller::Accounting) && !found[0].has(Controller::Cpu));
    }
}
