//! What the programs without a library share: where they begin, how they call the kernel, how they end.

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
const EXIT: usize = 60;
#[cfg(target_arch = "aarch64")]
const EXIT: usize = 93;
/// Of sendto(2): a broken socket is an error, no signal.
pub(crate) const MSG_NOSIGNAL: usize = 0x4000;

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym crate::main
);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "bl {main}", "brk #1", main = sym crate::main);

/// A system call; an error is its negated number.
///
/// # Safety
/// As the call demands: addresses must be valid for what it does with them.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn call(number: usize, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let answer;
    // SAFETY: the kernel's convention for x86-64; it clobbers rcx and r11 besides the answer. What the
    // call itself does with memory is the caller's contract.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => answer,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    answer
}

/// A system call; an error is its negated number.
///
/// # Safety
/// As the call demands: addresses must be valid for what it does with them.
#[cfg(target_arch = "aarch64")]
pub(crate) unsafe fn call(number: usize, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let answer;
    // SAFETY: the kernel's convention for arm64. What the call itself does with memory is the caller's
    // contract.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => answer,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack)
        );
    }
    answer
}

pub(crate) fn leave(code: usize) -> ! {
    loop {
        // SAFETY: ends the process; touches no memory.
        unsafe { call(EXIT, [code, 0, 0, 0, 0, 0]) };
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    leave(126)
}
