//! What waits in an armed sandbox: a program of a few hundred instructions, without any library.
//!
//! Whoever executes a program gives up the memory it had. A fork of the launcher has thousands of pages,
//! whose return to the kernel takes a good part of a millisecond: too long while somebody waits for the
//! program. This one has a handful. Nor does anything of the launcher's memory stay in the sandbox.
//!
//! It is told by descriptor 3 what to become (`bare/program.rs`).

#![no_std]
#![no_main]

#[path = "../bare/program.rs"]
mod program;
#[path = "../bare/system.rs"]
mod system;

use program::CONTROL;
use system::call;

#[cfg(target_arch = "x86_64")]
const FCNTL: usize = 72;
#[cfg(target_arch = "aarch64")]
const FCNTL: usize = 25;

const F_SETFD: usize = 2;
const FD_CLOEXEC: usize = 1;

extern "C" fn main() -> ! {
    // SAFETY: there is one thread, which enters here once; fcntl(2) touches no memory.
    unsafe {
        call(FCNTL, [CONTROL, F_SETFD, FD_CLOEXEC, 0, 0, 0]);
        program::obey()
    }
}
