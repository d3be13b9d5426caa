//! System calls that no safe wrapper covers.

use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
use rustix::mount::MountAttrFlags;
use rustix::process::{Pid, Signal};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

fn check(answer: libc::c_long) -> io::Result<libc::c_long> {
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer)
}

/// `struct clone_args` of clone3(2), its second version (with `cgroup`).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// clone3(2), since Linux 5.7. libc's own constant is cut to 32 bits.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A child of [`fork`].
pub(crate) struct Child {
    pub(crate) pid: Pid,
    /// Close-on-exec.
    pub(crate) pidfd: OwnedFd,
}

impl Child {
    /// Its process id, as this process sees it.
    pub(crate) fn number(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }
}

/// Forks with `flags` (namespaces), on cgroup v2 straight into `cgroup`. `None` in the child.
///
/// With `CLONE_PARENT`, the child's parent is the caller's.
///
/// The caller must be single-threaded, as the launcher is: then the child's copy of the heap is
/// whole, and the child may do whatever the parent may.
pub(crate) fn fork(flags: c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<Child>> {
    let mut pidfd: c_int = -1;
    let mut args = CloneArgs {
        flags: (flags | libc::CLONE_PIDFD) as u64,
        pidfd: (&raw mut pidfd) as u64,
        // A sibling takes over the caller's.
        exit_signal: match flags & libc::CLONE_PARENT {
            0 => libc::SIGCHLD as u64,
            _ => 0,
        },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a valid clone_args of the size passed; without CLONE_VM and with no stack
    // given this is fork(2): the child runs on its own copy of this stack. `pidfd` outlives the call.
    let answer = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    if check(answer)? == 0 {
        return Ok(None);
    }
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = Pid::from_raw(answer as i32).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some(Child { pid, pidfd }))
}

/// Bytes of the stack of a child of [`spawn`].
const STACK: usize = 512 * 1024;

/// A child with `flags` (namespaces) that runs `work`, whose answer is its exit status, in this process's memory
/// and with its descriptors, while this process stands still, until it executes a program or leaves: nothing is
/// copied, and no page must be copied later.
///
/// What `work` opens or closes before it gets descriptors of its own ([`unshare_descriptors`]) is open or closed
/// here too. What it has allocated and not given back when it executes stays allocated here. The caller must
/// be single-threaded.
pub(crate) fn spawn(flags: c_int, work: &dyn Fn() -> c_int) -> io::Result<Child> {
    extern "C" fn begin(work: *mut c_void) -> c_int {
        // SAFETY: `spawn` passes a pointer to its `work`, which outlives the child's use of it.
        let work = unsafe { &*work.cast::<&dyn Fn() -> c_int>() };
        work()
    }
    let stack = stack()?;
    let mut pidfd: c_int = -1;
    let shared = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;
    let told = libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: the stack is ours alone, since no other child of this kind runs: this thread stands still
    // until this one has left its memory, and so `work` and `pidfd` outlive its use of them. The thread's
    // own storage is shared with nobody who runs.
    let answer = unsafe {
        libc::clone(
            begin,
            stack,
            flags | shared | told,
            (&raw const work).cast_mut().cast::<c_void>(),
            &raw mut pidfd,
        )
    };
    check(answer.into())?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = Pid::from_raw(answer).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Child { pid, pidfd })
}

/// The upper end of the one stack that children of [`spawn`] use after each other, below which is a page that
/// nobody may touch.
fn stack() -> io::Result<*mut c_void> {
    static STACK_END: AtomicUsize = AtomicUsize::new(0);
    let known = STACK_END.load(Ordering::Relaxed);
    if known != 0 {
        return Ok(known as *mut c_void);
    }
    let guard = rustix::param::page_size();
    let (read_write, private) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    let start =
        unsafe { mmap_anonymous(std::ptr::null_mut(), STACK + guard, read_write, private) }?;
    // SAFETY: the first page of the mapping just made, which nobody uses yet.
    unsafe { mprotect(start, guard, MprotectFlags::empty()) }?;
    let end = start as usize + STACK + guard;
    STACK_END.store(end, Ordering::Relaxed);
    Ok(end as *mut c_void)
}

/// Leaves at once, without running destructors or handlers.
pub(crate) fn exit_now(code: c_int) -> ! {
    // SAFETY: always sound; ends the process.
    unsafe { libc::_exit(code) }
}

/// Ids are mapped as a user namespace does (mount_setattr(2), since Linux 5.12).
pub(crate) const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Adds the `MOUNT_ATTR_*` flags `set` to the mount `tree` and to those beneath it. With
/// `MOUNT_ATTR_IDMAP` among them, `tree` must be detached, and ids are mapped as `users` maps them.
pub(crate) fn mount_setattr(
    tree: BorrowedFd<'_>,
    set: u64,
    users: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    set_attributes(tree, set, users, libc::AT_EMPTY_PATH | libc::AT_RECURSIVE)
}

/// Adds the `MOUNT_ATTR_*` flags `set` to the mount `tree`, not to those beneath it.
pub(crate) fn mount_setattr_one(tree: BorrowedFd<'_>, set: MountAttrFlags) -> io::Result<()> {
    set_attributes(tree, set.bits().into(), None, libc::AT_EMPTY_PATH)
}

fn set_attributes(
    tree: BorrowedFd<'_>,
    set: u64,
    users: Option<BorrowedFd<'_>>,
    flags: c_int,
) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: set,
        attr_clr: 0,
        propagation: 0,
        userns_fd: users.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: the path is a valid empty C string and `attr` a mount_attr of the size passed; both
    // outlive the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    check(answer).map(drop)
}

/// Enters new namespaces (`CLONE_NEW*`).
pub(crate) fn unshare(flags: c_int) -> io::Result<()> {
    // SAFETY: only namespace flags are passed, never CLONE_FILES: no descriptor changes its meaning.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}

/// Closes every descriptor from 3 on, but for `keep`. Whoever owned one of the others must never
/// run its destructor: for a child that ends in `execve` or [`exit_now`].
pub(crate) fn close_all_but(keep: &mut Vec<RawFd>) -> io::Result<()> {
    keep.retain(|fd| *fd > 2);
    keep.sort_unstable();
    let mut first: u32 = 3;
    for fd in keep.iter() {
        let fd = *fd as u32;
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX, 0)
}

/// Gives this process a table of descriptors of its own, if it shares one, with those up to `last` only.
pub(crate) fn unshare_descriptors(last: RawFd) -> io::Result<()> {
    let first = last.unsigned_abs() + 1;
    close_range(first, u32::MAX, libc::CLOSE_RANGE_UNSHARE)
}

/// Makes `fd` the descriptor `number` too, close-on-exec. What had that number is closed: the caller knows that
/// it is reserved, or that nobody has it.
pub(crate) fn duplicate_as(fd: RawFd, number: RawFd) -> io::Result<()> {
    // SAFETY: no memory is passed. That no owner uses the replaced descriptor is the callers' contract.
    check(unsafe { libc::dup3(fd, number, libc::O_CLOEXEC) }.into()).map(drop)
}

/// Marks every descriptor from 3 on close-on-exec.
pub(crate) fn close_on_exec() -> io::Result<()> {
    close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Makes `fd` the descriptor `number`, open beyond `execve`. Whatever had that number is closed: for a
/// child that ends in `execve` or [`exit_now`].
pub(crate) fn keep_as(fd: &OwnedFd, number: RawFd) -> io::Result<()> {
    let fd = fd.as_raw_fd();
    if fd == number {
        // SAFETY: F_SETFD takes an integer and touches no memory.
        return check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }.into()).map(drop);
    }
    // SAFETY: no memory is passed. That no owner uses the replaced descriptor is the callers' contract.
    check(unsafe { libc::dup2(fd, number) }.into()).map(drop)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: no memory is passed. That no owner uses a closed descriptor is the callers' contract.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// Default disposition for every signal, and none blocked: a program expects both. Not by libc,
/// which keeps two signals for itself that a parent may have left ignored.
pub(crate) fn reset_signals() {
    // The kernel's sigaction (handler, flags, restorer, mask), all zero: SIG_DFL, nothing else.
    let default = [0_u64; 4];
    let none = 0_u64;
    for signal in 1..=64 {
        // SAFETY: `default` is a sigaction of the kernel's layout, with a mask of 8 bytes; the old
        // one is not asked for. SIGKILL and SIGSTOP are refused, which is right.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of_val(&none),
            )
        };
    }
    // SAFETY: `none` is a signal set of 8 bytes; the old one is not asked for.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut::<u64>(),
            size_of_val(&none),
        )
    };
}

/// Ignores a signal.
pub(crate) fn ignore(signal: Signal) {
    // SAFETY: SIG_IGN is a valid disposition and no handler of ours is replaced.
    unsafe { libc::signal(signal.as_raw(), libc::SIG_IGN) };
}

/// A file that can be read when children have ended, from now on: SIGCHLD is blocked for that, until
/// [`reset_signals`] in a child.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    let set = 1_u64 << (libc::SIGCHLD - 1);
    let none = std::ptr::null_mut::<u64>();
    // SAFETY: `set` is a signal set of 8 bytes; the old one is not asked for.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_BLOCK,
            &raw const set,
            none,
            size_of_val(&set),
        )
    })?;
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    // SAFETY: `set` is a signal set of the size passed, and outlives the call.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const set,
            size_of_val(&set),
            flags,
        )
    })?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A child that has ended and was not awaited, if there is one; it stays so.
pub(crate) fn ended_child() -> Option<Pid> {
    // SAFETY: siginfo_t is plain old data; all-zero is a valid value.
    let mut told: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `told` is a siginfo_t that outlives the call, and that waitid fills or leaves zero.
    let answer = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut told, options) };
    // SAFETY: waitid fills this field, or it is zero still.
    let pid = unsafe { told.si_pid() };
    (answer == 0).then(|| Pid::from_raw(pid)).flatten()
}

/// Sets the `up` flag of the interface `lo` in this network namespace. `socket` is any socket in it.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: ifreq is plain old data; all-zero is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = *byte as c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which `request` is.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(answer.into()).map(drop)
}

/// Installs a seccomp filter for this thread and what it executes; irrevocable.
pub(crate) fn seccomp(filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: `program` names a filter and its true length; the kernel copies it and writes nothing.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    check(answer).map(drop)
}

/// Becomes the program at `path`; returns only the reason why not. `argv` and `envp` end with null.
pub(crate) fn execve(path: &CStr, argv: &CStrings, envp: &CStrings) -> Errno {
    // SAFETY: the path and both arrays are valid, null-terminated and outlive the call.
    unsafe {
        libc::execve(
            path.as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
        )
    };
    let code = io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(code.unwrap_or(libc::EINVAL))
}

/// Becomes the program that `file` is, by this name, without arguments or environment; returns only the
/// reason why not.
pub(crate) fn execute_file(file: &OwnedFd, name: &CStr) -> Errno {
    let argv = [name.as_ptr(), std::ptr::null()];
    let envp = [std::ptr::null::<c_char>()];
    // SAFETY: the path is a valid empty string, both arrays are null-terminated; all outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    let code = io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(code.unwrap_or(libc::EINVAL))
}

/// A null-terminated array of C strings, as execve(2) takes it.
pub(crate) struct CStrings {
    // The pointers point into these; neither changes after it is made.
    #[expect(dead_code, reason = "owns what `pointers` points to")]
    strings: Vec<std::ffi::CString>,
    pointers: Vec<*const c_char>,
}

impl CStrings {
    pub(crate) fn new(strings: Vec<std::ffi::CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { strings, pointers }
    }
}

/// Sends a signal to what `pidfd` names; one that has ended already is no error.
pub(crate) fn signal(pidfd: impl AsFd, signal: Signal) {
    // The only other errors are EPERM, which root does not meet, and EINVAL for a bad signal.
    let _ = rustix::process::pidfd_send_signal(pidfd, signal);
}

/// Sends a signal to this process itself.
pub(crate) fn signal_own(signal: Signal) {
    // It fails only for a signal that does not exist.
    let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
}

/// Does nothing for a while.
#[expect(
    clippy::disallowed_methods,
    reason = "only the launcher calls it, whose one thread has nothing else to do then"
)]
pub(crate) fn pause(time: std::time::Duration) {
    std::thread::sleep(time);
}
