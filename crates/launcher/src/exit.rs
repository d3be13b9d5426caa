//! How a sandbox ended, and what it used.

use serde::{Deserialize, Serialize};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// How a sandbox ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, if it exited by itself.
    pub code: Option<i32>,
    /// Signal number, if one killed it.
    pub signal: Option<i32>,
    /// Whether the kernel killed something in it for memory.
    pub out_of_memory: bool,
    /// What it used.
    pub usage: Usage,
}

impl Exit {
    /// Such as `exit status 1` or `signal 11 (SIGSEGV)`.
    pub fn describe(&self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => match signal_name(signal) {
                Some(name) => format!("signal {signal} ({name})"),
                None => format!("signal {signal}"),
            },
            (None, None) => "ended".to_owned(),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// What a sandbox used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Most memory in bytes; 0 if the kernel does not tell.
    pub memory_peak: u64,
    /// Microseconds of processor time; 0 if the kernel does not tell.
    pub cpu: u64,
}

/// `struct pidfd_info` of the kernel's `linux/pidfd.h`, its first version.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT`: how it ended.
const INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(0xff, 11, struct pidfd_info)`.
const GET_INFO: u32 = 0xc000_ff0b | (size_of::<PidfdInfo>() as u32) << 16;

/// How a process of somebody else ended, which `process` (a pidfd) has named since before its end; known when its
/// parent has awaited it. `None` before, and where the kernel does not tell (before Linux 6.15).
pub fn status_of(process: &OwnedFd) -> Option<ExitStatus> {
    let mut info = PidfdInfo {
        mask: INFO_EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: the request carries the size of `info`, which outlives the call; the kernel writes no more.
    let answer = unsafe { libc::ioctl(process.as_raw_fd(), GET_INFO.into(), &raw mut info) };
    (answer == 0 && info.mask & INFO_EXIT != 0).then(|| ExitStatus::from_raw(info.exit_code))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::process::Command;

    #[test]
    fn an_exit_status_is_told_apart_from_a_signal() {
        for (script, expected) in [
            ("exit 3", (Some(3), None)),
            ("exit 137", (Some(137), None)),
            ("kill -9 $$", (None, Some(9))),
        ] {
            let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
            child.wait().unwrap();
            let told = status_of(&process).map(|status| (status.code(), status.signal()));
            match rustix::system::uname().release().to_str().unwrap() {
                release if since_6_15(release) => assert_eq!(told, Some(expected)),
                _ => assert!(told.is_none_or(|told| told == expected)),
            }
        }
        let running = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
        assert_eq!(status_of(&running), None);
    }

    fn since_6_15(release: &str) -> bool {
        let mut parts = release
            .split(['.', '-'])
            .map(|part| part.parse().unwrap_or(0));
        (parts.next(), parts.next()) >= (Some(6_u32), Some(15))
    }
}
