//! The system call filter: an allow-list, compiled once to a compact binary search.

mod allowed;

use libc::sock_filter;

/// What happens with a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    /// Refused with this error.
    Errno(i32),
    /// Allowed if the first argument has none of these bits; else EPERM.
    WithoutBits(u32),
    /// Allowed if the first argument is 0 or all ones (a question); else EPERM.
    ZeroOrQuery,
    /// socket(2): only UNIX, INET, INET6 and NETLINK with the routing protocol.
    Socket,
    /// socketpair(2): only UNIX.
    SocketPair,
    /// setsockopt(2): anything but putting another protocol over TCP, which has been a way into the
    /// kernel more than once.
    SocketOption,
}

/// Every flag that makes a namespace, with CLONE_NEWTIME.
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;
/// CLONE_NEWTIME is a flag of unshare(2) and clone3(2) only; for clone(2) its bit is the exit signal's.
const NEWTIME: u32 = 0x80;

/// The verdicts that are not plain: arguments matter, or the error does.
const SPECIAL: [(libc::c_long, Verdict); 9] = [
    // Nor does a program give the launcher, its parent, children that nobody awaits.
    (
        libc::SYS_clone,
        Verdict::WithoutBits(NAMESPACES | libc::CLONE_PARENT as u32),
    ),
    (
        libc::SYS_unshare,
        Verdict::WithoutBits(NAMESPACES | NEWTIME),
    ),
    // Its flags lie in memory where a filter cannot look; libc falls back to clone.
    (libc::SYS_clone3, Verdict::Errno(libc::ENOSYS)),
    (libc::SYS_personality, Verdict::ZeroOrQuery),
    (libc::SYS_socket, Verdict::Socket),
    (libc::SYS_socketpair, Verdict::SocketPair),
    (libc::SYS_setsockopt, Verdict::SocketOption),
    (libc::SYS_io_uring_setup, Verdict::Errno(libc::ENOSYS)),
    // All of the machine shares one number of these requests (`fs.aio-max-nr`), which one sandbox
    // could use up. Whoever is told that there are none reads and writes without.
    (libc::SYS_io_setup, Verdict::Errno(libc::ENOSYS)),
];

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;
/// Numbers from here on are another architecture's in disguise (x32).
const FOREIGN: u32 = 0x4000_0000;

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENT_0: u32 = 16;
const ARGUMENT_1: u32 = 24;
const ARGUMENT_2: u32 = 32;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const IF_BITS: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;

/// Whom a filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Every sandbox.
    Sandbox,
    /// The zygote of a function's own: its forks may also become children of its parent, and enter
    /// namespaces that they have an open file of.
    Snapshot,
}

/// The filter of a profile.
pub(crate) fn compile(profile: Profile) -> Vec<sock_filter> {
    let mut code = Backwards::default();
    let found = code.search(&segments(profile));
    code.jump(found);
    let known = code.push(plain(LOAD, NUMBER));
    let foreign = code.answer(libc::SECCOMP_RET_KILL_PROCESS);
    code.branch(IF_EQUAL, ARCH, known, foreign);
    code.push(plain(LOAD, ARCHITECTURE));
    code.instructions.reverse();
    code.instructions
}

/// The verdicts as (first number, verdict of it and all up to the next entry), ascending, from 0.
fn segments(profile: Profile) -> Vec<(u32, Verdict)> {
    let last = allowed::all().max().unwrap_or(0) as u32;
    let verdict = |number: u32| {
        let long = libc::c_long::from(number);
        let special = SPECIAL.iter().find(|(n, _)| *n == long);
        match special {
            _ if profile == Profile::Snapshot && long == libc::SYS_setns => Verdict::Allow,
            _ if profile == Profile::Snapshot && long == libc::SYS_clone => {
                Verdict::WithoutBits(NAMESPACES)
            }
            Some((_, verdict)) => *verdict,
            None if allowed::all().any(|n| n == long) => Verdict::Allow,
            None => Verdict::Errno(libc::EPERM),
        }
    };
    let mut segments: Vec<(u32, Verdict)> = Vec::new();
    // What the kernel may learn later is unknown here, and a program that asks is told so.
    let tail = [
        (last + 1, Verdict::Errno(libc::ENOSYS)),
        (FOREIGN, Verdict::Errno(libc::EPERM)),
    ];
    for (number, verdict) in (0..=last).map(|n| (n, verdict(n))).chain(tail) {
        if segments.last().is_none_or(|(_, before)| *before != verdict) {
            segments.push((number, verdict));
        }
    }
    segments
}

/// A filter that is written from its end, so that what is jumped to is there already, and each answer only
/// once. The kernel translates it anew for each sandbox, at a price for each instruction. A place in it is the
/// number of instructions from there to the end.
#[derive(Default)]
struct Backwards {
    /// The last one first.
    instructions: Vec<sock_filter>,
    /// What is returned, and the place.
    answers: Vec<(u32, usize)>,
}

impl Backwards {
    fn push(&mut self, instruction: sock_filter) -> usize {
        self.instructions.push(instruction);
        self.instructions.len()
    }

    /// What is written next goes on at `to`.
    fn jump(&mut self, to: usize) {
        let over = self.instructions.len() - to;
        if over > 0 {
            self.push(plain(JUMP, over as u32));
        }
    }

    /// A place near enough for a conditional jump, which reaches 255 instructions, from where `to` is reached.
    fn near(&mut self, to: usize) -> usize {
        // One more may come in between.
        if self.instructions.len() - to < 255 {
            return to;
        }
        self.jump(to);
        self.instructions.len()
    }

    fn branch(&mut self, code: u16, k: u32, yes: usize, no: usize) -> usize {
        let (yes, no) = (self.near(yes), self.near(no));
        let over = |to: usize| (self.instructions.len() - to) as u8;
        let instruction = branch(code, k, over(yes), over(no));
        self.push(instruction)
    }

    fn answer(&mut self, returned: u32) -> usize {
        if let Some((_, place)) = self.answers.iter().find(|(known, _)| *known == returned) {
            return *place;
        }
        let place = self.push(plain(RETURN, returned));
        self.answers.push((returned, place));
        place
    }

    /// A binary search over the segments, with the verdict at each leaf.
    fn search(&mut self, segments: &[(u32, Verdict)]) -> usize {
        let (left, right) = segments.split_at(segments.len() / 2);
        let Some((first, verdict)) = right.first() else {
            return self.instructions.len();
        };
        if left.is_empty() {
            return self.leaf(*verdict);
        }
        let (right, left) = (self.search(right), self.search(left));
        self.branch(IF_AT_LEAST, *first, right, left)
    }

    fn leaf(&mut self, verdict: Verdict) -> usize {
        let allow = self.answer(libc::SECCOMP_RET_ALLOW);
        let mut refuse = |errno: i32| self.answer(libc::SECCOMP_RET_ERRNO | errno as u32);
        match verdict {
            Verdict::Allow => allow,
            Verdict::Errno(errno) => refuse(errno),
            Verdict::WithoutBits(bits) => {
                let no = refuse(libc::EPERM);
                self.branch(IF_BITS, bits, no, allow);
                self.push(plain(LOAD, ARGUMENT_0))
            }
            Verdict::ZeroOrQuery => {
                let no = refuse(libc::EPERM);
                let query = self.branch(IF_EQUAL, u32::MAX, allow, no);
                self.branch(IF_EQUAL, 0, allow, query);
                self.push(plain(LOAD, ARGUMENT_0))
            }
            Verdict::Socket => {
                let no = refuse(libc::EAFNOSUPPORT);
                self.branch(IF_EQUAL, libc::NETLINK_ROUTE as u32, allow, no);
                let protocol = self.push(plain(LOAD, ARGUMENT_2));
                let mut family = self.branch(IF_EQUAL, libc::AF_NETLINK as u32, protocol, no);
                for known in [libc::AF_INET6, libc::AF_INET, libc::AF_UNIX] {
                    family = self.branch(IF_EQUAL, known as u32, allow, family);
                }
                self.push(plain(LOAD, ARGUMENT_0))
            }
            Verdict::SocketPair => {
                let no = refuse(libc::EAFNOSUPPORT);
                self.branch(IF_EQUAL, libc::AF_UNIX as u32, allow, no);
                self.push(plain(LOAD, ARGUMENT_0))
            }
            Verdict::SocketOption => {
                let no = refuse(libc::EPERM);
                self.branch(IF_EQUAL, libc::TCP_ULP as u32, no, allow);
                let option = self.push(plain(LOAD, ARGUMENT_2));
                self.branch(IF_EQUAL, libc::IPPROTO_TCP as u32, option, allow);
                self.push(plain(LOAD, ARGUMENT_1))
            }
        }
    }
}

fn plain(code: u16, k: u32) -> sock_filter {
    branch(code, k, 0, 0)
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    /// What the filter answers, by interpreting it as the kernel does.
    fn run(number: libc::c_long, arch: u32, args: [u64; 3]) -> u32 {
        thread_local!(static CODE: Vec<sock_filter> = compile(Profile::Sandbox));
        CODE.with(|code| interpret(code, number, arch, args))
    }

    fn interpret(code: &[sock_filter], number: libc::c_long, arch: u32, args: [u64; 3]) -> u32 {
        let mut accumulator = 0_u32;
        let mut at = 0;
        loop {
            let op = code[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { op.jt } else { op.jf });
            match op.code {
                LOAD => {
                    accumulator = match op.k {
                        NUMBER => number as u32,
                        ARCHITECTURE => arch,
                        ARGUMENT_0 => args[0] as u32,
                        ARGUMENT_1 => args[1] as u32,
                        ARGUMENT_2 => args[2] as u32,
                        other => panic!("loads offset {other}"),
                    }
                }
                RETURN => return op.k,
                IF_EQUAL => at += jump(accumulator == op.k),
                IF_AT_LEAST => at += jump(accumulator >= op.k),
                IF_BITS => at += jump(accumulator & op.k != 0),
                JUMP => at += op.k as usize,
                other => panic!("unknown instruction {other}"),
            }
        }
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    fn errno(code: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | code as u32
    }

    #[test]
    fn every_number_gets_the_verdict_of_the_list() {
        for number in 0..600 {
            if SPECIAL.iter().any(|(special, _)| *special == number) {
                continue;
            }
            let answer = run(number, ARCH, [0; 3]);
            let expected = allowed::all().any(|n| n == number);
            assert_eq!(answer == ALLOW, expected, "system call {number}");
        }
        assert_eq!(run(5000, ARCH, [0; 3]), errno(libc::ENOSYS));
    }

    #[test]
    fn what_reaches_the_kernel_or_other_processes_is_refused() {
        for number in [
            libc::SYS_mount,
            libc::SYS_ptrace,
            libc::SYS_bpf,
            libc::SYS_setns,
            libc::SYS_userfaultfd,
            libc::SYS_keyctl,
            libc::SYS_open_by_handle_at,
            libc::SYS_process_vm_readv,
            libc::SYS_kexec_load,
            libc::SYS_io_uring_enter,
            libc::SYS_chroot,
            libc::SYS_pidfd_getfd,
        ] {
            assert_eq!(run(number, ARCH, [0; 3]), errno(libc::EPERM), "{number}");
        }
        assert_eq!(run(libc::SYS_clone3, ARCH, [0; 3]), errno(libc::ENOSYS));
    }

    #[test]
    fn arguments_decide() {
        let first = |number, argument: u32| run(number, ARCH, [argument.into(), 0, 0]);
        assert_eq!(first(libc::SYS_clone, libc::SIGCHLD as u32), ALLOW);
        assert_eq!(
            first(libc::SYS_clone, libc::CLONE_NEWUSER as u32),
            errno(libc::EPERM)
        );
        assert_eq!(first(libc::SYS_unshare, NEWTIME), errno(libc::EPERM));
        assert_eq!(first(libc::SYS_personality, 0), ALLOW);
        assert_eq!(first(libc::SYS_personality, u32::MAX), ALLOW);
        assert_eq!(first(libc::SYS_personality, 0x40000), errno(libc::EPERM));
        for family in [
            libc::AF_UNIX,
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_NETLINK,
        ] {
            assert_eq!(first(libc::SYS_socket, family as u32), ALLOW, "{family}");
        }
        for family in [libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG, 0] {
            assert_eq!(
                first(libc::SYS_socket, family as u32),
                errno(libc::EAFNOSUPPORT)
            );
        }
        let audit = run(libc::SYS_socket, ARCH, [libc::AF_NETLINK as u64, 0, 9]);
        assert_eq!(audit, errno(libc::EAFNOSUPPORT));
        assert_eq!(first(libc::SYS_socketpair, libc::AF_UNIX as u32), ALLOW);
        assert_eq!(
            first(libc::SYS_socketpair, libc::AF_INET as u32),
            errno(libc::EAFNOSUPPORT)
        );
    }

    #[test]
    fn a_snapshot_may_enter_namespaces_and_give_its_forks_away_and_no_more() {
        let code = compile(Profile::Snapshot);
        let both = |number, argument: u64| {
            let arguments = [argument, 0, 0];
            let snapshot = interpret(&code, number, ARCH, arguments);
            (snapshot, run(number, ARCH, arguments))
        };
        let refused = errno(libc::EPERM);
        assert_eq!(both(libc::SYS_setns, 0), (ALLOW, refused));
        let parent = libc::CLONE_PARENT as u64;
        assert_eq!(both(libc::SYS_clone, parent), (ALLOW, refused));
        for number in (0..600).filter(|number| ![libc::SYS_setns].contains(number)) {
            let (snapshot, sandbox) = both(number, 0);
            assert_eq!(snapshot, sandbox, "system call {number}");
        }
        let namespaces = u64::from(NAMESPACES);
        assert_eq!(both(libc::SYS_clone, namespaces), (refused, refused));
        assert_eq!(both(libc::SYS_unshare, namespaces), (refused, refused));
    }

    #[test]
    fn nothing_is_put_over_tcp() {
        let option = |level: i32, name: i32| {
            let arguments = [3, level as u64, name as u64];
            run(libc::SYS_setsockopt, ARCH, arguments)
        };
        let refused = option(libc::IPPROTO_TCP, libc::TCP_ULP);
        assert_eq!(refused, errno(libc::EPERM));
        assert_eq!(option(libc::IPPROTO_TCP, libc::TCP_NODELAY), ALLOW);
        assert_eq!(option(libc::SOL_SOCKET, libc::TCP_ULP), ALLOW);
    }

    #[test]
    fn another_architecture_does_not_pass() {
        assert_eq!(run(1, 0x4000_0003, [0; 3]), libc::SECCOMP_RET_KILL_PROCESS);
        let x32 = libc::c_long::from(FOREIGN) + libc::SYS_write;
        assert_eq!(run(x32, ARCH, [0; 3]), errno(libc::EPERM));
    }

    #[test]
    fn the_filter_stays_compact() {
        for profile in [Profile::Sandbox, Profile::Snapshot] {
            let length = compile(profile).len();
            assert!(length < 300, "{profile:?}: {length}");
        }
    }
}
