"""The attacks of the C program: what each tries, and the answers that count as contained."""

from dataclasses import dataclass, field

IMAGES = ("image as root", "image as 1000")
# `snapshot: init`: an instance, and what it is forked from, which holds two capabilities over its forks.
FORK, ZYGOTE = "fork", "own zygote"
EVERYWHERE = ("folder", *IMAGES, FORK, ZYGOTE)
# With the driver `docker`, which makes no zygotes.
DRIVEN = ("folder", *IMAGES)
# What is not asked of that driver, and why.
APART = {
    "from own zygotes and their forks": "refused at deployment, which a test shows",
    "the other floods": "their bounds are the server's and its scheduler's, the same code for both drivers",
    "Runtime API, doors and way out": "the same sockets, which the launcher puts into both; the runtime's tests ask both",
    "what others left": "a container is never used again",
    "the launcher's program that waits": "no container has it",
    "another function's instance": "its processes are kept apart as the host's are, at which the same is aimed",
    "programs with rights of their own": "no_new_privs, by which they gain nothing, is asked of it",
    "archives that attack who unpacks them": "unpacked before a driver sees them",
}
# What the zygote's two capabilities change has a test of its own.
UNPRIVILEGED = EVERYWHERE[:-1]


@dataclass(frozen=True)
class Case:
    """One attack. `{pid}`, `{file}`, `{name}`, `{key}`, `{port}`, `{address}`, `{data}` in its
    arguments are the canaries'."""

    group: int
    name: str
    tried: str
    contained: str
    arguments: str = ""
    places: tuple = EVERYWHERE
    variant: str = ""
    known: dict = field(default_factory=dict, hash=False)

    @property
    def id(self):
        return f"{self.group}-{self.name}{'-' if self.variant else ''}{self.variant}"

    def command(self, **canaries):
        return " ".join([self.name, self.arguments.format(**canaries)]).strip()


GROUPS = {
    1: "Mounts and namespaces",
    2: "/proc, /sys and cgroups",
    3: "Descriptors, links and the launcher",
    4: "Other processes and what they share",
    5: "System calls and privileges",
    6: "Floods",
    7: "Runtime API and network",
    8: "What others left",
}

NO = "EPERM EACCES"
GONE = "ENOENT ENOTDIR"
MASKED = "ENOENT EROFS EACCES EPERM null_device"
HIDDEN = "ENOENT EACCES EPERM empty ENODEV ENXIO"
FAMILY = "EAFNOSUPPORT EPERM EPROTONOSUPPORT ESOCKTNOSUPPORT EINVAL"
UNREACHED = "ENETUNREACH ECONNREFUSED EHOSTUNREACH ECONNRESET ETIMEDOUT EADDRNOTAVAIL closed EAFNOSUPPORT"

CASES = [
    Case(1, "mount", "mount a tmpfs, proc, sysfs, overlay", NO),
    Case(1, "mount-bind", "bind `/`, make it shared, move `/proc`", NO),
    Case(1, "mount-remount", "remount `/` and `/proc/sys` writable", NO),
    Case(1, "umount-mask", "unmount what hides `/proc/kcore` and its kin", NO),
    Case(1, "fsopen", "fsopen, fspick, fsconfig, fsmount", NO),
    Case(1, "open_tree", "open_tree, move_mount, mount_setattr", NO),
    Case(1, "unshare-user", "unshare a user namespace", NO),
    Case(1, "unshare-others", "unshare every other namespace", NO),
    Case(1, "clone-namespaces", "clone with new namespaces", NO),
    Case(1, "clone3", "clone3, whose flags a filter cannot see", "ENOSYS"),
    Case(1, "setns", "setns to the host's namespaces by pid, and to its own",
         "EPERM EACCES ENOENT EINVAL", "{pid}"),
    Case(1, "chroot-kept-fd", "chroot with a kept descriptor, then upwards", "EPERM ENOENT", "{file}"),
    Case(1, "pivot_root", "pivot_root", NO),
    Case(1, "upwards", "the host's file by `/..`, `/proc/1/root`, `/proc/self/cwd`", "ENOENT EACCES EPERM", "{file}"),
    Case(2, "core_pattern", "write `core_pattern`", MASKED),
    Case(2, "sysrq", "write `sysrq-trigger`", MASKED),
    Case(2, "modprobe-path", "write the kernel's path of modprobe", MASKED),
    Case(2, "binfmt_misc", "register a binary format, mount binfmt_misc", MASKED),
    Case(2, "release_agent", "write `release_agent` of every hierarchy", MASKED),
    Case(2, "cgroup-write", "lift the own limits, allow devices, make a group", MASKED),
    Case(2, "cgroup-mount", "mount cgroup version 1 and 2", NO),
    Case(2, "sysctls", "write other settings of the kernel, IRQ affinity, MTRR", MASKED),
    Case(2, "read-kernel", "read `kcore`, `keys`, `timer_list`, `sched_debug`, `latency_stats`", HIDDEN),
    Case(2, "read-more", "read `kmsg`, `slabinfo`, `vmallocinfo`, `acpi`, firmware, debugfs, `interrupts`", HIDDEN),
    Case(2, "kernel-addresses", "kernel addresses in `kallsyms`, `iomem`", HIDDEN + " no_addresses"),
    Case(2, "kernel-log", "read the kernel's log", HIDDEN),
    Case(2, "oom_score_adj", "become the last one that the kernel kills", NO),
    Case(2, "host-paths", "paths of the host in mount table, cgroups, maps", "not_told", "{data}",
         known=dict.fromkeys(("folder", FORK, ZYGOTE), "mountinfo names the data folder as the source of /var/task")),
    Case(3, "kept-descriptors", "the host's file by folders left open (CVE-2024-21626)",
         "none ENOENT EACCES", "{file}"),
    Case(3, "proc-exe", "write each program through `/proc/PID/exe`, execute that of pid 1 again (CVE-2019-5736)",
         "ETXTBSY EROFS EACCES EPERM nothing_gained"),
    Case(3, "write-code", "write the own code, root and programs", "EROFS EACCES ETXTBSY EPERM"),
    Case(4, "ptrace", "trace a process of the host, and pid 1", "EPERM ESRCH", "{pid}"),
    Case(4, "ptrace-own", "be traced", NO),
    Case(4, "process_vm", "read and write the memory of a process of the host", "EPERM ESRCH ENOENT EBADF ENOSYS", "{pid}"),
    Case(4, "pidfd_getfd", "pidfd_getfd of others, kcmp", "EPERM ESRCH ENOSYS", "{pid}"),
    Case(4, "kill-all", "kill(-1)", "ESRCH own_processes EPERM"),
    Case(4, "kill-host", "kill a process of the host in five ways", "ESRCH EPERM", "{pid}"),
    Case(4, "process-settings", "limits, priority, affinity of a process of the host", "ESRCH EPERM", "{pid}"),
    Case(4, "abstract-socket", "connect to an abstract socket of the host", "ECONNREFUSED EPERM", "{name}"),
    Case(4, "path-sockets", "connect to Docker, D-Bus, containerd, systemd", GONE + " ECONNREFUSED"),
    Case(4, "sysv-ipc", "shared memory, semaphores, queue of the host (System V)", "ENOENT EINVAL EACCES none", "{key:#x}"),
    Case(4, "posix-ipc", "message queue and shared memory of the host (POSIX)", "ENOENT EACCES", "{name}"),
    Case(4, "foreign-processes", "processes of others in sight", "own_only"),
    Case(5, "packet-sockets", "AF_PACKET", FAMILY),
    Case(5, "raw-sockets", "raw IPv4 and IPv6", FAMILY),
    Case(5, "socket-families", "ALG, VSOCK, XDP, RXRPC, and eleven other families", FAMILY),
    Case(5, "netlink", "netlink other than ROUTE", FAMILY),
    Case(5, "netlink-route-change", "take a link down by route netlink", NO),
    Case(5, "int80", "sockets and namespaces through int 0x80", "SIGSYS SIGSEGV"),
    Case(5, "x32", "sockets and namespaces through the x32 ABI", "EPERM ENOSYS SIGSYS"),
    Case(5, "tcp-ulp", "TCP_ULP: tls, espintcp, smc", "ENOENT EPERM EOPNOTSUPP ENOPROTOOPT"),
    Case(5, "io_uring", "io_uring", "ENOSYS EPERM"),
    Case(5, "bpf", "bpf", NO),
    Case(5, "userfaultfd", "userfaultfd", NO + " ENOSYS ENOENT"),
    Case(5, "keyrings", "keyctl, add_key, request_key", NO + " ENOSYS"),
    Case(5, "perf", "perf_event_open", NO + " ENOSYS"),
    Case(5, "open_by_handle_at", "any inode by its number (shocker)", NO),
    Case(5, "kernel-modules", "load and remove kernel modules", NO + " ENOSYS"),
    Case(5, "machine", "kexec, reboot, swap, acct, quota, host name, ports, fanotify", NO + " ENOSYS"),
    Case(5, "mknod", "make a disk, `mem`, `kmsg`, and open it", NO),
    Case(5, "device-nodes", "open `mem`, disks, `fuse`, `kvm`, `tun`, loop devices", "ENOENT ENOTDIR EPERM EACCES"),
    Case(5, "privileged-file", "a set-user-id program of the image", "nothing_gained EPERM EACCES",
         "/attack-suid", IMAGES, "suid"),
    Case(5, "privileged-file", "a program with file capabilities", "nothing_gained EPERM EACCES",
         "/attack-caps", IMAGES, "capabilities"),
    Case(5, "gain-privileges", "capset, ambient set, securebits, seccomp and no_new_privs off", "EPERM EINVAL",
         places=UNPRIVILEGED),
    Case(5, "other-users", "become other users and groups, write `uid_map`", "EPERM EINVAL EACCES"),
    Case(5, "personality", "personality: no address randomisation", NO),
    Case(5, "modify_ldt", "modify_ldt", NO + " ENOSYS"),
    Case(5, "clock_settime", "set the clock in three ways", NO),
    Case(5, "real-time", "real time and deadline scheduling, nice −20", NO),
    Case(5, "terminal", "push input into a terminal (TIOCSTI)", "ENOENT ENXIO EIO EPERM EACCES"),
    Case(5, "pages", "page 0, 256 MiB locked, huge pages", "EPERM EACCES ENOMEM EAGAIN"),
    Case(5, "status", "Seccomp 2, NoNewPrivs 1, every capability set empty", "as_stated",
         places=UNPRIVILEGED),
    Case(7, "addresses", "ports of the host on loopback", UNREACHED,
         "127.0.0.1 {port} ::1 {port} 0.0.0.0 {port}", variant="loopback"),
    Case(7, "addresses", "ports of the host on its address", UNREACHED, "{address} {port}", variant="host"),
    Case(7, "addresses", "somewhere outside", UNREACHED, "198.51.100.1 80 2001:db8::1 80", variant="outside"),
    Case(7, "metadata", "a cloud's metadata addresses", UNREACHED),
    Case(7, "other-instances", "other instances' addresses and ports", UNREACHED),
    Case(7, "datagrams", "UDP to name servers, multicast, broadcast", UNREACHED + " EPERM EACCES EAGAIN"),
    Case(7, "interfaces", "links other than loopback", "loopback_only"),
    Case(8, "descriptors", "descriptors other than the standard ones", "standard_only"),
]


def words(answer):
    """The single answers of one attack."""
    return {word.replace(" ", "_") for word in answer.split("|")}


def contained(case, answer):
    return words(answer) <= set(case.contained.split())
