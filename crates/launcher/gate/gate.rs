//! The first program of a container that something else than the launcher makes, without any library, so
//! that it runs on whatever the image brings.
//!
//! It knocks at the socket that is mounted at [`DOOR`], shows its network and its mount namespace, and waits.
//! When these are furnished it is given standard output and error and the system call filter of every sandbox, which
//! it installs over the one that it has, and then told what to become (`bare/program.rs`). So arguments,
//! environment and log never pass through who made the container.

#![no_std]
#![no_main]

#[path = "../bare/program.rs"]
mod program;
#[path = "../bare/system.rs"]
mod system;

use program::CONTROL;
use system::{MSG_NOSIGNAL, call, leave};

#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const CLOSE: usize = 3;
    pub(super) const SOCKET: usize = 41;
    pub(super) const CONNECT: usize = 42;
    pub(super) const SENDMSG: usize = 46;
    pub(super) const RECVMSG: usize = 47;
    pub(super) const OPENAT: usize = 257;
    pub(super) const DUP3: usize = 292;
    pub(super) const SECCOMP: usize = 317;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub(super) const CLOSE: usize = 57;
    pub(super) const SOCKET: usize = 198;
    pub(super) const CONNECT: usize = 203;
    pub(super) const SENDMSG: usize = 211;
    pub(super) const RECVMSG: usize = 212;
    pub(super) const OPENAT: usize = 56;
    pub(super) const DUP3: usize = 24;
    pub(super) const SECCOMP: usize = 277;
}

/// Where the socket is mounted; the client end names the same place.
const DOOR: &[u8; 12] = b"/.rouse/door";
const NETWORK: &[u8; 18] = b"/proc/self/ns/net\0";
const MOUNTS: &[u8; 18] = b"/proc/self/ns/mnt\0";

const AF_UNIX: u16 = 1;
const SEQPACKET_CLOEXEC: usize = 5 | 0o2_000_000;
const READ_CLOEXEC: usize = 0o2_000_000;
const CMSG_CLOEXEC: usize = 0x4000_0000;
const AT_FDCWD: usize = -100_isize as usize;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const SECCOMP_SET_MODE_FILTER: usize = 1;

/// Bytes of an instruction of a filter, and the most of them (`BPF_MAXINSNS`).
const INSTRUCTION: usize = 8;
const FILTER_MAX: usize = 4096 * INSTRUCTION;

static mut FILTER: [u8; FILTER_MAX] = [0; FILTER_MAX];

/// What it ends with if nobody is at the socket, or hangs up.
const ALONE: usize = 125;

/// `struct sockaddr_un`.
#[repr(C)]
struct Address {
    family: u16,
    path: [u8; 108],
}

/// `struct msghdr`.
#[repr(C)]
struct Message {
    name: usize,
    name_length: u32,
    parts: usize,
    part_count: usize,
    control: usize,
    control_length: usize,
    flags: i32,
}

/// `struct iovec`.
#[repr(C)]
struct Part {
    address: usize,
    length: usize,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    code: usize,
}

/// `struct cmsghdr`, with two descriptors.
#[repr(C)]
struct Rights {
    length: usize,
    level: i32,
    kind: i32,
    descriptors: [i32; 2],
}

extern "C" fn main() -> ! {
    // SAFETY: every address passed is of a local that outlives its call, with its length; there is one
    // thread, which enters here once.
    unsafe {
        let socket = call(number::SOCKET, [AF_UNIX as usize, SEQPACKET_CLOEXEC, 0, 0, 0, 0]);
        let socket = or_leave(socket);
        if socket != CONTROL {
            or_leave(call(number::DUP3, [socket, CONTROL, READ_CLOEXEC, 0, 0, 0]));
            call(number::CLOSE, [socket, 0, 0, 0, 0, 0]);
        }
        let mut address = Address {
            family: AF_UNIX,
            path: [0; 108],
        };
        let path = &raw mut address.path as *mut u8;
        let mut at = 0;
        while at < DOOR.len() {
            path.add(at).write_volatile((&raw const *DOOR as *const u8).add(at).read());
            at += 1;
        }
        let length = size_of::<Address>();
        let address = &raw const address as usize;
        or_leave(call(number::CONNECT, [CONTROL, address, length, 0, 0, 0]));
        let open = |path: *const u8| {
            or_leave(call(number::OPENAT, [AT_FDCWD, path as usize, READ_CLOEXEC, 0, 0, 0]))
        };
        let network = open(&raw const *NETWORK as *const u8);
        let mounts = open(&raw const *MOUNTS as *const u8);
        let byte = 0_u8;
        let word = (&raw const byte as usize, 1);
        exchange(number::SENDMSG, word, [network as i32, mounts as i32], MSG_NOSIGNAL);
        call(number::CLOSE, [network, 0, 0, 0, 0, 0]);
        call(number::CLOSE, [mounts, 0, 0, 0, 0, 0]);
        let code = &raw mut FILTER as usize;
        let (received, [output, error]) =
            exchange(number::RECVMSG, (code, FILTER_MAX), [-1, -1], CMSG_CLOEXEC);
        for (given, place) in [(output, 1), (error, 2)] {
            or_leave(call(number::DUP3, [given as usize, place, 0, 0, 0, 0]));
            call(number::CLOSE, [given as usize, 0, 0, 0, 0, 0]);
        }
        let filter = Program {
            length: (received / INSTRUCTION) as u16,
            code,
        };
        let filter = &raw const filter as usize;
        or_leave(call(number::SECCOMP, [SECCOMP_SET_MODE_FILTER, 0, filter, 0, 0, 0]));
        program::obey()
    }
}

/// Sends or receives bytes (an address and a length) with two descriptors; gives how many there were, and the
/// descriptors of the message.
///
/// # Safety
/// The address must be valid for so many bytes, to be written if it receives.
unsafe fn exchange(
    number: usize,
    (address, length): (usize, usize),
    descriptors: [i32; 2],
    flags: usize,
) -> (usize, [i32; 2]) {
    let part = Part { address, length };
    let mut rights = Rights {
        length: size_of::<Rights>(),
        level: SOL_SOCKET,
        kind: SCM_RIGHTS,
        descriptors,
    };
    let message = Message {
        name: 0,
        name_length: 0,
        parts: &raw const part as usize,
        part_count: 1,
        control: &raw mut rights as usize,
        control_length: size_of::<Rights>(),
        flags: 0,
    };
    // SAFETY: the message's parts are locals that outlive the call, with their lengths, and the caller's bytes.
    let done = unsafe { call(number, [CONTROL, &raw const message as usize, flags, 0, 0, 0]) };
    // SAFETY: a local; the kernel wrote to it behind the compiler's back.
    let given = unsafe { (&raw const rights).read_volatile() };
    match usize::try_from(done) {
        Ok(done) if done > 0 && given.length == size_of::<Rights>() => (done, given.descriptors),
        _ => leave(ALONE),
    }
}

fn or_leave(answer: isize) -> usize {
    match usize::try_from(answer) {
        Ok(answer) => answer,
        Err(_) => leave(ALONE),
    }
}
