//! What keeps files in memory: it maps and locks them, gives up its privilege, and waits.
//!
//! Its list comes on descriptor 0: for each file its descriptor and its length in bytes, two `u64`. Once
//! they are locked it tells on descriptor 3 how many are, of how many bytes, and the error number of the
//! first that is not (three `u64`). It ends when the other end of descriptor 3 closes, and with it what
//! it held.

#![no_std]
#![no_main]

#[path = "../bare/system.rs"]
mod system;

use system::{MSG_NOSIGNAL, call, leave};

/// The launcher's bound of the list.
const FILES_MAX: usize = 2048;
const LIST: usize = 0;
const CONTROL: usize = 3;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const CLOSE: usize = 3;
    pub const MMAP: usize = 9;
    pub const MUNMAP: usize = 11;
    pub const SENDTO: usize = 44;
    pub const RECVFROM: usize = 45;
    pub const CAPSET: usize = 126;
    pub const MLOCK: usize = 149;
    pub const PRCTL: usize = 157;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const READ: usize = 63;
    pub const CLOSE: usize = 57;
    pub const MMAP: usize = 222;
    pub const MUNMAP: usize = 215;
    pub const SENDTO: usize = 206;
    pub const RECVFROM: usize = 207;
    pub const CAPSET: usize = 91;
    pub const MLOCK: usize = 228;
    pub const PRCTL: usize = 167;
}

const PROT_READ: usize = 1;
const MAP_SHARED: usize = 1;
const PR_SET_NAME: usize = 15;
/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

static mut FILES: [[u64; 2]; FILES_MAX] = [[0; 2]; FILES_MAX];

extern "C" fn main() -> ! {
    // SAFETY: there is one thread, which enters here once; nothing else has a reference to the static.
    // The kernel writes at most the static's size, and only entries that it wrote are read. The name,
    // for `ps` and `top`, ends with a zero.
    let answer = unsafe {
        let name = c"rouse-pin".as_ptr() as usize;
        call(number::PRCTL, [PR_SET_NAME, name, 0, 0, 0, 0]);
        let files = &raw mut FILES as *mut [u64; 2];
        let count = read(files as usize, size_of::<[[u64; 2]; FILES_MAX]>()) / size_of::<[u64; 2]>();
        lock(files, count)
    };
    // All that was needed privilege for is done: no capability from now on. If that fails there is
    // nothing that this program could do with one.
    let header = [CAPABILITY_VERSION, 0];
    let nothing = [0_u32; 6];
    // SAFETY: both are of the kernel's layout (capset(2)); the answer is 24 bytes long. All outlive
    // their calls. The last call writes one byte.
    unsafe {
        let (header, nothing) = (&raw const header as usize, &raw const nothing as usize);
        call(number::CAPSET, [header, nothing, 0, 0, 0, 0]);
        let address = &raw const answer as usize;
        call(number::SENDTO, [CONTROL, address, 24, MSG_NOSIGNAL, 0, 0]);
        let mut byte = 0_u8;
        call(number::RECVFROM, [CONTROL, &raw mut byte as usize, 1, 0, 0, 0]);
    }
    leave(0)
}

/// Reads the list to its end: how many bytes came.
///
/// # Safety
/// From `at` on, `size` bytes are writable.
unsafe fn read(at: usize, size: usize) -> usize {
    let mut length = 0;
    while length < size {
        // SAFETY: the caller's contract; the kernel writes no more than is asked for.
        let got = unsafe { call(number::READ, [LIST, at + length, size - length, 0, 0, 0]) };
        if got <= 0 {
            break;
        }
        length += got as usize;
    }
    length
}

/// Locks each file that can be: how many, their bytes, and the first error.
///
/// # Safety
/// From `files` on, `count` entries are readable.
unsafe fn lock(files: *const [u64; 2], count: usize) -> [u64; 3] {
    let [mut locked, mut bytes, mut error] = [0_u64; 3];
    let mut index = 0;
    while index < count {
        // SAFETY: the index is below the count. The mapping is a new one, at an address that the kernel
        // chooses, and nobody ever reads or writes it.
        unsafe {
            let [fd, length] = files.add(index).read();
            let (fd, length) = (fd as usize, length as usize);
            let at = call(number::MMAP, [0, length, PROT_READ, MAP_SHARED, fd, 0]);
            let mut failed = at;
            if at > 0 {
                failed = call(number::MLOCK, [at as usize, length, 0, 0, 0, 0]);
            }
            if failed < 0 {
                if at > 0 {
                    call(number::MUNMAP, [at as usize, length, 0, 0, 0, 0]);
                }
                if error == 0 {
                    error = failed.unsigned_abs() as u64;
                }
            } else {
                locked += 1;
                bytes += length as u64;
            }
            call(number::CLOSE, [fd, 0, 0, 0, 0, 0]);
        }
        index += 1;
    }
    [locked, bytes, error]
}
