//! Whether the process that says it is a sandbox's is one: the fork of a function's own zygote has run user
//! code before it joined, so nothing that it says is believed.

use super::adopt;
use crate::error::{Failure, Step};
use crate::kernel;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;

const STEP: &str = "looking at the snapshot's fork";
const NAMESPACES: [&str; 7] = ["pid", "mnt", "net", "ipc", "uts", "cgroup", "user"];
/// What `/proc/PID/status` says of every sandbox's processes (proc(5)).
const STATUS: [(&str, &str); 7] = [
    ("CapInh", "0000000000000000"),
    ("CapPrm", "0000000000000000"),
    ("CapEff", "0000000000000000"),
    ("CapBnd", "0000000000000000"),
    ("CapAmb", "0000000000000000"),
    ("NoNewPrivs", "1"),
    ("Seccomp", "2"),
];

/// The process `pid`, which must be a child of the launcher in all namespaces and cgroups of `first`, the
/// process that waits there, and without any privilege, as that one is.
pub(super) fn verified(first: &kernel::Child, pid: Pid) -> Result<kernel::Child, Failure> {
    let refuse = |reason: &str| Err(Failure::new(STEP, reason));
    if pid == first.pid {
        return refuse("it says that it is the sandbox's first process");
    }
    let child = adopt(pid.as_raw_nonzero().get()).step(STEP)?;
    // It stays this one until it is awaited, which only a child can be.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::PidFd(child.pidfd.as_fd()), options) {
        Ok(None) => {}
        Ok(Some(_)) => return refuse("it has ended"),
        Err(_) => return refuse("it is not a child of the launcher"),
    }
    for kind in NAMESPACES {
        if namespace(&child, kind)? != namespace(first, kind)? {
            return refuse(&format!("it is not in the sandbox's {kind} namespace"));
        }
    }
    if read(&child, "cgroup")? != read(first, "cgroup")? {
        return refuse("it is not in the sandbox's cgroups");
    }
    let (own, other) = (read(&child, "status")?, read(first, "status")?);
    let ids = ["Uid", "Gid", "Groups"];
    if ids
        .iter()
        .any(|name| field(&own, name) != field(&other, name))
    {
        return refuse("it is another user than the sandbox's");
    }
    match STATUS
        .iter()
        .find(|(name, value)| field(&own, name) != Some(*value))
    {
        Some((name, _)) => refuse(&format!("its {name} is not as it should be")),
        None => Ok(child),
    }
}

fn namespace(process: &kernel::Child, kind: &str) -> Result<u64, Failure> {
    let path = format!("/proc/{}/ns/{kind}", process.number());
    Ok(std::fs::metadata(path).step(STEP)?.ino())
}

fn read(process: &kernel::Child, file: &str) -> Result<String, Failure> {
    std::fs::read_to_string(format!("/proc/{}/{file}", process.number())).step(STEP)
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines();
    lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "SeccompX:\t1\nSeccomp:\t2\nUid:\t1\t2\t3\t4\n";
        assert_eq!(field(status, "Seccomp"), Some("2"));
        assert_eq!(field(status, "Uid"), Some("1\t2\t3\t4"));
        assert_eq!(field(status, "Gid"), None);
    }
}
