//! Files that are kept in memory, by a small process that has them locked (`pin/pin.rs`).
//!
//! It executes with no capability but that to lock memory, gives that up once all are locked, and waits.
//! Another list needs another process: the one before it lives until that has locked its own, so that no
//! file leaves memory in between. When memory runs out it is the first to be killed, and what it held is
//! an ordinary part of the page cache again.

use crate::error::{Failure, Step};
use crate::{Pinned, capabilities, kernel, wire};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit, Signal};
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// Most files of one list (`FILES_MAX` of `pin/pin.rs`).
const FILES_MAX: usize = 2048;
/// How it gets its list, and answers.
const LIST: i32 = 0;
const CONTROL: i32 = 3;
/// Of the memory that is available, this part may be pinned.
const SHARE: u64 = 4;
const STARTING: &str = "starting the process that pins files";
/// The first to be killed when memory runs out.
const OOM_SCORE: &str = "1000";

/// A process that holds files.
pub(crate) struct Pin {
    process: kernel::Child,
    control: OwnedFd,
    /// What it holds, once it has told.
    held: Option<Pinned>,
}

/// The process that holds the files, and one that is about to take its place. The number of each is that
/// of the request it was started for.
#[derive(Default)]
pub(crate) struct Pins {
    /// The earliest first.
    all: Vec<(u64, Pin)>,
}

impl Pins {
    /// Starts a process for a list; what it needs is watched by the caller.
    pub(crate) fn start(
        &mut self,
        number: u64,
        program: &OwnedFd,
        files: &[PathBuf],
        bytes: u64,
    ) -> Result<&Pin, Failure> {
        // What is pinned is not available any more, but it may be pinned again.
        let held = self.all.iter().filter_map(|(_, pin)| pin.held.as_ref());
        let held = held.map(|held| held.bytes).max().unwrap_or(0);
        let pin = Pin::start(program, files, bytes, held)?;
        self.all.push((number, pin));
        match self.all.last() {
            Some((_, pin)) => Ok(pin),
            None => Err(Failure::new(STARTING, "it is gone")),
        }
    }

    /// Whether there is one of this number.
    pub(crate) fn has(&self, number: u64) -> bool {
        self.all.iter().any(|(other, _)| *other == number)
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Pin> {
        let found = self.all.iter().find(|(other, _)| *other == number);
        found.map(|(_, pin)| pin)
    }

    /// What it tells, if it does so for the first time; then those before it end.
    pub(crate) fn told(&mut self, number: u64) -> Option<Pinned> {
        let place = self.all.iter().position(|(other, _)| *other == number)?;
        let (before, rest) = self.all.split_at_mut(place);
        let (_, pin) = rest.first_mut()?;
        let told = pin.listen()?;
        before.iter().for_each(|(_, pin)| pin.end());
        Some(told)
    }

    /// Forgets one that has ended; whether it had never told anything.
    pub(crate) fn reap(&mut self, number: u64) -> Option<bool> {
        let place = self.all.iter().position(|(other, _)| *other == number)?;
        let (_, pin) = self.all.get(place)?;
        crate::sandbox::wait(&pin.process.pidfd)?;
        let (_, pin) = self.all.remove(place);
        Some(pin.held.is_none())
    }

    /// Ends all.
    pub(crate) fn end(&self) {
        self.all.iter().for_each(|(_, pin)| pin.end());
    }
}

impl Pin {
    fn start(program: &OwnedFd, files: &[PathBuf], bytes: u64, held: u64) -> Result<Self, Failure> {
        let kind = SocketType::SEQPACKET;
        let (control, inside) =
            socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).step(STARTING)?;
        let Some(process) = kernel::fork(0, None).step("forking")? else {
            let (Ok(failure) | Err(failure)) = become_pin(program, &inside, files, bytes, held);
            eprintln!("launcher: {STARTING}: {}: {}", failure.step, failure.reason);
            kernel::exit_now(1);
        };
        Ok(Self {
            process,
            control,
            held: None,
        })
    }

    pub(crate) fn pidfd(&self) -> &OwnedFd {
        &self.process.pidfd
    }

    pub(crate) fn control(&self) -> &OwnedFd {
        &self.control
    }

    fn end(&self) {
        kernel::signal(&self.process.pidfd, Signal::KILL);
    }

    /// Takes its answer, if it has come and was not taken.
    fn listen(&mut self) -> Option<Pinned> {
        let mut answer = [0_u8; 24];
        let received = rustix::net::recv(&self.control, &mut answer, RecvFlags::DONTWAIT);
        if self.held.is_some() || !matches!(received, Ok((24, _))) {
            return None;
        }
        let mut numbers = answer.as_chunks::<8>().0.iter();
        let mut next = || numbers.next().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let (files, bytes, error) = (next(), next(), next());
        let refused = i32::try_from(error).ok().filter(|error| *error != 0);
        let pinned = Pinned {
            files,
            bytes,
            refused: refused.map(|error| Errno::from_raw_os_error(error).to_string()),
        };
        self.held = Some(pinned.clone());
        Some(pinned)
    }
}

/// In the child: opens the files and becomes the program. Returns only why not.
fn become_pin(
    program: &OwnedFd,
    control: &OwnedFd,
    files: &[PathBuf],
    bytes: u64,
    held: u64,
) -> Result<Failure, Failure> {
    kernel::close_all_but(&mut vec![program.as_raw_fd(), control.as_raw_fd()])
        .step("closing files")?;
    kernel::keep_as(control, CONTROL).step("passing the socket on")?;
    std::fs::write("/proc/self/oom_score_adj", OOM_SCORE).step("setting oom_score_adj")?;
    let bound = match available() {
        Some(available) => bytes.min(available.saturating_add(held) / SHARE),
        None => bytes,
    };
    // It is enough where the capability to lock is not there; raising it may take another one.
    let limit = Rlimit {
        current: Some(bound),
        maximum: Some(bound),
    };
    let _ = rustix::process::setrlimit(Resource::Memlock, limit);
    capabilities::keep_for_pin().step("dropping capabilities")?;
    let list = choose(files, bound);
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).step("making a pipe")?;
    // At most half of what a pipe holds, so this never blocks.
    rustix::io::write(&write, &list).step("passing the list on")?;
    kernel::keep_as(&read, LIST).step("passing the list on")?;
    let error = kernel::execute_file(program, c"rouse-pin");
    Ok(Failure::new(STARTING, error.to_string()))
}

/// Opens files, those named first first, as far as they fit, for what this process executes. Gives the
/// list that the program reads.
fn choose(files: &[PathBuf], bound: u64) -> Vec<u8> {
    let page = rustix::param::page_size() as u64;
    let mut left = bound;
    let mut list = Vec::new();
    for path in files.iter().take(FILES_MAX) {
        let Some((file, length)) = regular(path) else {
            continue;
        };
        let Some(rest) = left.checked_sub(length.next_multiple_of(page)) else {
            continue;
        };
        left = rest;
        // It is the program's now.
        list.extend((file.into_raw_fd() as u64).to_ne_bytes());
        list.extend(length.to_ne_bytes());
    }
    list
}

/// A regular file with something in it, open beyond `execve`, and its bytes. Looked at before it is
/// opened: to open something else may have an effect.
fn regular(path: &Path) -> Option<(OwnedFd, u64)> {
    let found = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = fstat(&found).ok()?;
    let length = u64::try_from(stat.st_size).ok().filter(|size| *size > 0)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    let file = open(again, OFlags::RDONLY, Mode::empty()).ok()?;
    Some((file, length))
}

/// Bytes of memory that can be had without swapping, as the kernel estimates.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The files that a process has mapped, each once, as far as they have a path in this process's root.
pub(crate) fn mapped(pid: u32) -> std::io::Result<Vec<PathBuf>> {
    Ok(named(&std::fs::read_to_string(format!(
        "/proc/{pid}/maps"
    ))?))
}

/// The paths in `/proc/PID/maps`: address, permissions, offset, device, inode, path. As many as one
/// message holds.
fn named(maps: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut room = wire::MESSAGE_MAX / 2;
    for line in maps.lines() {
        let path = line.find('/').and_then(|at| line.get(at..));
        let Some(path) = path.filter(|path| !path.ends_with(" (deleted)")) else {
            continue;
        };
        if paths.iter().any(|known| known == Path::new(path)) {
            continue;
        }
        // With what the message needs besides.
        let Some(left) = room.checked_sub(path.len() + 8) else {
            break;
        };
        room = left;
        paths.push(PathBuf::from(path));
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_map_are_named_once() {
        let maps = "\
5610-5620 r--p 00000000 fe:00 1311 /usr/bin/python3.11
5620-5680 r-xp 00010000 fe:00 1311 /usr/bin/python3.11
5680-5690 rw-p 00000000 00:00 0 [heap]
7f00-7f10 rw-p 00000000 00:00 0
7f10-7f20 r-xp 00000000 fe:00 77 /usr/lib/x86_64-linux-gnu/libc.so.6
7f20-7f30 r--p 00000000 fe:00 78 /opt/my libs/a.so
7f30-7f40 rw-s 00000000 00:01 9 /dev/zero (deleted)
7fff-8000 r-xp 00000000 00:00 0 [vdso]
";
        let expected = [
            "/usr/bin/python3.11",
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
            "/opt/my libs/a.so",
        ];
        assert_eq!(named(maps), expected.map(PathBuf::from));
    }

    #[test]
    fn only_regular_files_that_fit_are_chosen() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, length: usize| {
            let path = folder.path().join(name);
            std::fs::write(&path, vec![1; length]).expect("a file");
            path
        };
        let files = [
            file("small", 100),
            file("large", 1 << 20),
            file("empty", 0),
            PathBuf::from("/dev/zero"),
            folder.path().join("absent"),
            file("last", 50),
        ];
        let list = choose(&files, 2 * rustix::param::page_size() as u64);
        let numbers: Vec<u64> = list
            .as_chunks::<8>()
            .0
            .iter()
            .map(|n| u64::from_ne_bytes(*n))
            .collect();
        let [_, 100, _, 50] = numbers.as_slice() else {
            panic!("{numbers:?}");
        };
    }
}
