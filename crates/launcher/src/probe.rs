//! What of this machine can be used, and what cannot, and why (`rouse doctor`).

use crate::cgroup::{self, Controller, Version};
use crate::{capabilities, network, rootless};
use std::fs;

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is there.
    Ok,
    /// It works without, with a stated loss.
    Degraded,
    /// Functions cannot run without it.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// Such as `cgroups` or `user namespaces`.
    pub what: String,
    /// How it stands.
    pub standing: Standing,
    /// What was found, what it means, and what to do.
    pub detail: String,
}

impl Finding {
    fn new(what: &str, standing: Standing, detail: impl Into<String>) -> Self {
        Self {
            what: what.to_owned(),
            standing,
            detail: detail.into(),
        }
    }
}

/// Oldest kernel that has all that is used: mount_setattr(2) came with 5.12.
const KERNEL: (u32, u32) = (5, 12);

/// Looks at kernel, user, namespaces, cgroups (v1, v2, hybrid, each controller), seccomp, mounts,
/// outbound network.
/// Changes nothing.
pub fn probe() -> Vec<Finding> {
    let mut findings = foundations();
    findings.push(egress());
    findings
}

/// What sandboxes cannot be made without, among others.
fn foundations() -> Vec<Finding> {
    let mut findings = vec![kernel(), user(), namespaces(), user_namespaces(), seccomp()];
    findings.extend(file_systems());
    findings.extend(cgroups());
    findings.push(open_files());
    findings
}

/// What keeps this process from making sandboxes, in words.
pub(crate) fn obstacles() -> Vec<String> {
    foundations()
        .into_iter()
        .filter(|finding| finding.standing == Standing::Missing)
        .map(|finding| format!("{}: {}", finding.what, finding.detail))
        .collect()
}

fn kernel() -> Finding {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    match version(&release) {
        Some(version) if version >= KERNEL => {
            let detail = format!("{release}: pidfd, idmapped mounts, clone into a cgroup");
            Finding::new("kernel", Standing::Ok, detail)
        }
        _ => {
            let (major, minor) = KERNEL;
            let detail = format!("{release} is older than {major}.{minor}; a newer one is needed");
            Finding::new("kernel", Standing::Missing, detail)
        }
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn user() -> Finding {
    const WHAT: &str = "privilege";
    let uid = rustix::process::geteuid().as_raw();
    let missing = capabilities::missing();
    if missing.is_empty() {
        let detail = format!("user id {uid}, with every capability that is needed");
        return Finding::new(WHAT, Standing::Ok, detail);
    }
    if uid == 0 {
        let detail = format!("user id {uid} lacks {}", missing.join(", "));
        return Finding::new(WHAT, Standing::Missing, detail);
    }
    match rootless::means() {
        Ok(means) => {
            let losses = rootless::LOSSES.join("; ");
            let detail = format!("user id {uid}, without root: {means}; {losses}");
            Finding::new(WHAT, Standing::Degraded, detail)
        }
        Err(reason) => {
            let missing = missing.join(", ");
            let detail = format!("user id {uid} lacks {missing}; without root: {reason}");
            Finding::new(WHAT, Standing::Missing, detail)
        }
    }
}

fn namespaces() -> Finding {
    const WHAT: &str = "namespaces";
    let kinds = ["pid", "mnt", "net", "ipc", "uts", "cgroup", "user"];
    let missing: Vec<_> = kinds
        .into_iter()
        .filter(|kind| fs::symlink_metadata(format!("/proc/self/ns/{kind}")).is_err())
        .collect();
    if missing.is_empty() {
        return Finding::new(WHAT, Standing::Ok, kinds.join(" "));
    }
    let detail = format!("this kernel has none of the kind {}", missing.join(", "));
    Finding::new(WHAT, Standing::Missing, detail)
}

fn user_namespaces() -> Finding {
    const WHAT: &str = "user namespaces";
    let most = fs::read_to_string("/proc/sys/user/max_user_namespaces");
    match most.ok().and_then(|text| text.trim().parse::<u64>().ok()) {
        Some(0) => {
            let detail = "forbidden; allow them: sysctl -w user.max_user_namespaces=10000";
            Finding::new(WHAT, Standing::Missing, detail)
        }
        Some(most) => Finding::new(WHAT, Standing::Ok, format!("up to {most}")),
        None => Finding::new(WHAT, Standing::Missing, "this kernel has none"),
    }
}

fn seccomp() -> Finding {
    const WHAT: &str = "seccomp";
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    match actions {
        Ok(actions) if actions.contains("kill_process") && actions.contains("errno") => {
            Finding::new(WHAT, Standing::Ok, "system calls are filtered")
        }
        _ => Finding::new(
            WHAT,
            Standing::Missing,
            "this kernel cannot filter system calls",
        ),
    }
}

fn file_systems() -> Vec<Finding> {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has = |name: &str| {
        known
            .lines()
            .any(|l| l.split_whitespace().last() == Some(name))
    };
    let one = |name: &str, absent: Standing, loss: &str| {
        if has(name) {
            Finding::new(name, Standing::Ok, "there")
        } else {
            Finding::new(name, absent, loss)
        }
    };
    vec![
        one(
            "tmpfs",
            Standing::Missing,
            "this kernel has none, and /tmp needs it",
        ),
        one("proc", Standing::Missing, "this kernel has none"),
        one(
            "overlay",
            Standing::Degraded,
            "not loaded, so images cannot be run, only the host's runtimes; try: modprobe overlay",
        ),
    ]
}

fn cgroups() -> Vec<Finding> {
    let hierarchies = match cgroup::discover() {
        Ok(hierarchies) => hierarchies,
        Err(error) => {
            let detail = format!("reading /proc: {error}");
            return vec![Finding::new("cgroups", Standing::Missing, detail)];
        }
    };
    let has = |version: Version| hierarchies.iter().any(|h| h.version == version);
    let mode = match (has(Version::V1), has(Version::V2)) {
        (true, true) => "version 1 and 2 (hybrid)",
        (true, false) => "version 1",
        (false, true) => "version 2",
        (false, false) => {
            let detail = "none is mounted; mount them: mount -t cgroup2 none /sys/fs/cgroup";
            return vec![Finding::new("cgroups", Standing::Missing, detail)];
        }
    };
    let mut findings = vec![Finding::new("cgroups", Standing::Ok, mode)];
    for controller in Controller::ALL {
        let what = format!("cgroup {controller}");
        let absent = if controller.required() {
            Standing::Missing
        } else {
            Standing::Degraded
        };
        let Some(found) = hierarchies.iter().find(|h| h.has(controller)) else {
            let detail = format!("no hierarchy offers it, {}", controller.loss());
            findings.push(Finding::new(&what, absent, detail));
            continue;
        };
        let places = found.places();
        let writable = places
            .iter()
            .find(|place| rustix::fs::access(*place, rustix::fs::Access::WRITE_OK).is_ok());
        findings.push(match writable {
            Some(place) => Finding::new(&what, Standing::Ok, format!("at {}", place.display())),
            None => {
                let detail = format!(
                    "{} cannot be written, {}; start as root, or with that group delegated{}",
                    found.mount.display(),
                    controller.loss(),
                    rootless::delegation(found.version, &found.mount)
                );
                Finding::new(&what, absent, detail)
            }
        });
    }
    findings
}

fn egress() -> Finding {
    const WHAT: &str = "outbound network";
    match network::try_egress() {
        Ok(()) => Finding::new(
            WHAT,
            Standing::Ok,
            "connections are led out by BPF sk_lookup",
        ),
        Err(reason) => {
            let detail = format!(
                "{reason}; functions and services reach the platform and each other only; needs \
                 root, Linux 5.9 and BPF"
            );
            Finding::new(WHAT, Standing::Degraded, detail)
        }
    }
}

fn open_files() -> Finding {
    const WHAT: &str = "open files";
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limit.maximum {
        Some(hard) if hard < 4096 => {
            let detail = format!(
                "at most {hard}, so few instances can run at one time, and none gets more; raise \
                 it: ulimit -Hn 65536"
            );
            Finding::new(WHAT, Standing::Degraded, detail)
        }
        Some(hard) => Finding::new(WHAT, Standing::Ok, format!("at most {hard}")),
        None => Finding::new(WHAT, Standing::Ok, "no bound"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert!(version("5.4.0") < Some(KERNEL));
        assert!(version("10.0-rc1") > Some(KERNEL));
        assert_eq!(version("strange"), None);
    }

    #[test]
    fn every_finding_says_something() {
        for finding in probe() {
            assert!(!finding.what.is_empty() && !finding.detail.is_empty());
        }
    }
}
