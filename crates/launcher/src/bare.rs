//! The programs without a library, as sealed files in memory: nobody can write to them, not even through
//! `/proc/1/exe`. `park/park.rs` waits in armed sandboxes, `pin/pin.rs` keeps files in memory.

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create, open};
use rustix::io::Errno;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

const PARK: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/park"));
/// `gate/gate.rs`: it is a file in the data folder, since containers of others mount it.
pub(crate) const GATE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/gate"));
const PIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pin"));
/// Out of the way of the numbers that children give to what they keep.
const NUMBER: i32 = 64;

/// Makes the file of the program that waits.
pub(crate) fn park() -> io::Result<OwnedFd> {
    file(c"rouse-park", PARK)
}

/// Makes the file of the program that keeps files in memory.
pub(crate) fn pin() -> io::Result<OwnedFd> {
    file(c"rouse-pin", PIN)
}

fn file(name: &CStr, program: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Where it must be said (sysctl vm.memfd_noexec), say that it is a program; earlier kernels than
    // 6.3 do not know the flag.
    let made = match memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create(name, flags)?,
        other => other?,
    };
    let mut written = 0;
    while let Some(rest) = program.get(written..)
        && !rest.is_empty()
    {
        written += rustix::io::write(&made, rest)?;
    }
    rustix::fs::fchmod(&made, Mode::from_raw_mode(0o555))?;
    fcntl_add_seals(
        &made,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    // What somebody has open for writing cannot be executed.
    let path = format!("/proc/self/fd/{}", made.as_raw_fd());
    let readable = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::io::fcntl_dupfd_cloexec(readable, NUMBER)?)
}
