//! What the programs without a library share that become another: reading what to execute, trying it, and
//! saying why nothing could be.
//!
//! It is told in one packet: the numbers of candidates, arguments and variables (three `u32`), then as
//! strings with a zero at their end the working directory, the paths to try, the arguments, and the
//! environment. If nothing can be executed it answers with what it was at (1: the directory, 2: the
//! program), the error number, the candidate's index, and whether that file is there (four `u32`), and
//! ends.

use crate::system::{MSG_NOSIGNAL, call, leave};

/// The launcher's bound of a message.
const PACKET_MAX: usize = 192 * 1024;
/// Where the socket is that it is told by, close-on-exec.
pub(crate) const CONTROL: usize = 3;

#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const RT_SIGACTION: usize = 13;
    pub(super) const ACCESS: usize = 21;
    pub(super) const SENDTO: usize = 44;
    pub(super) const RECVFROM: usize = 45;
    pub(super) const EXECVE: usize = 59;
    pub(super) const CHDIR: usize = 80;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub(super) const RT_SIGACTION: usize = 134;
    pub(super) const ACCESS: usize = 48;
    pub(super) const SENDTO: usize = 206;
    pub(super) const RECVFROM: usize = 207;
    pub(super) const EXECVE: usize = 221;
    pub(super) const CHDIR: usize = 49;
}

const SIGCHLD: usize = 17;
const ENOENT: usize = 2;
const EACCES: usize = 13;
const ENOTDIR: usize = 20;

static mut PACKET: [u8; PACKET_MAX] = [0; PACKET_MAX];
/// Each string has at least its zero; three lists end with a null besides.
static mut POINTERS: [usize; PACKET_MAX + 4] = [0; PACKET_MAX + 4];

/// Becomes what the socket tells. To be called once, by the only thread.
///
/// # Safety
/// Nothing else may have a reference to the statics of this file.
pub(crate) unsafe fn obey() -> ! {
    // SAFETY: the caller's contract.
    // Every index below stays within them, since the packet is no longer than PACKET, and each string
    // takes at least one of its bytes and one pointer.
    unsafe {
        let packet = &raw mut PACKET as *mut u8;
        let length = call(number::RECVFROM, [CONTROL, packet as usize, PACKET_MAX, 0, 0, 0]);
        if length < 12 {
            leave(0);
        }
        let end = packet as usize + length as usize;
        let count = |index: usize| (packet as *const u32).add(index).read_unaligned() as usize;
        let (candidates, arguments, variables) = (count(0), count(1), count(2));
        let pointers = &raw mut POINTERS as *mut usize;
        let mut at = packet as usize + 12;
        let directory = at;
        at = skip(at, end);
        let mut slot = 0;
        let lists = [candidates, arguments, variables];
        let mut starts = [0; 3];
        let mut list = 0;
        while list < 3 {
            *(&raw mut starts as *mut usize).add(list) = slot;
            let mut left = *(&raw const lists as *const usize).add(list);
            while left > 0 && at < end {
                pointers.add(slot).write(at);
                at = skip(at, end);
                slot += 1;
                left -= 1;
            }
            pointers.add(slot).write(0);
            slot += 1;
            list += 1;
        }
        let [paths, argv, envp] = starts;
        let entered = call(number::CHDIR, [directory, 0, 0, 0, 0, 0]);
        if entered < 0 {
            refuse(1, entered.unsigned_abs(), 0, 0);
        }
        // It was ignored while waiting, and would stay so.
        let default = [0_usize; 4];
        call(
            number::RT_SIGACTION,
            [SIGCHLD, &raw const default as usize, 0, 8, 0, 0],
        );
        execute(pointers.add(paths), pointers.add(argv) as usize, pointers.add(envp) as usize)
    }
}

/// Tries each candidate, as a shell does: a file that may not be executed does not end the search.
///
/// # Safety
/// All three are lists of addresses of strings, ended by a null.
unsafe fn execute(paths: *const usize, argv: usize, envp: usize) -> ! {
    let (mut worst, mut index) = (ENOENT, 0);
    // SAFETY: the caller's contract; the loop ends at the null.
    unsafe {
        while paths.add(index).read() != 0 {
            let path = paths.add(index).read();
            #[cfg(target_arch = "x86_64")]
            let there = call(number::ACCESS, [path, 0, 0, 0, 0, 0]) == 0;
            #[cfg(target_arch = "aarch64")]
            let there = call(number::ACCESS, [-100_isize as usize, path, 0, 0, 0, 0]) == 0;
            let error = call(number::EXECVE, [path, argv, envp, 0, 0, 0]).unsigned_abs();
            match error {
                ENOENT if there => refuse(2, ENOENT, index, 1),
                ENOENT | ENOTDIR => {}
                EACCES => worst = EACCES,
                other => refuse(2, other, index, 1),
            }
            index += 1;
        }
    }
    refuse(2, worst, 0, 0)
}

/// The address after the string at `at`.
///
/// # Safety
/// From `at` to `end` is readable.
unsafe fn skip(mut at: usize, end: usize) -> usize {
    // SAFETY: the caller's contract.
    while at < end && unsafe { (at as *const u8).read() } != 0 {
        at += 1;
    }
    at + 1
}

fn refuse(stage: usize, error: usize, candidate: usize, there: usize) -> ! {
    let answer = [stage as u32, error as u32, candidate as u32, there as u32];
    let address = &raw const answer as usize;
    // SAFETY: the answer is 16 bytes long and outlives the call.
    unsafe { call(number::SENDTO, [CONTROL, address, 16, MSG_NOSIGNAL, 0, 0]) };
    leave(127)
}
