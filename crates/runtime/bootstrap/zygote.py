"""Imports once what many functions use, and is forked for each instance.

Runs nothing but the interpreter's own modules and those that the host's administrator chose; no user's
code, ever. The launcher speaks to it on descriptor 3: first the system call filter, then for each fork
a request in JSON with the descriptors of an armed sandbox. The fork enters that sandbox, gives up
everything, and waits there for its function (`stem.wait`)."""

import os
import sys


class Hooks:
    """What modules want done around a fork. That of two of them only makes locks anew which another thread might
    have held: a zygote has one thread, and each of its forks would copy the hundred pages that are touched. So
    the interpreter is told of it in the fork, for those that a function makes itself."""

    LATE = {"threading", "logging"}

    def __init__(self):
        self.register = os.register_at_fork
        self.late = []
        os.register_at_fork = self.sort

    def sort(self, **hooks):
        if {getattr(hook, "__module__", None) for hook in hooks.values()} <= self.LATE:
            self.late.append(hooks)
        else:
            self.register(**hooks)

    def tell(self):
        os.register_at_fork = self.register
        for hooks in self.late:
            self.register(**hooks)


def tops():
    return {name.partition(".")[0] for name in sys.modules}


# Before the other imports, which tell theirs.
hooks = Hooks() if __name__ == "__main__" else None

import bootstrap

# What every instance has imported before its function, zygote or not.
ORDINARY = tops()

import ctypes
import gc
import importlib
import json
import platform
import resource
import signal
import socket
import struct
import threading

import stem

CONTROL = 3
MESSAGE_MAX = 64 * 1024
# For the files, of the 64 KiB that the launcher takes.
GREETING_MAX = 44 * 1024

# clone(2), setns(2), prctl(2), capset(2) as the kernel's headers have them.
CLONE_PARENT = 0x00008000
CLONE_CHILD_CLEARTID = 0x00200000
CLONE_CHILD_SETTID = 0x01000000
NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_GET_TID_ADDRESS = 1, 24, 40
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_CAP_AMBIENT = 38, 22, 47
PR_CAP_AMBIENT_CLEAR_ALL, SECCOMP_MODE_FILTER = 4, 2
CAPABILITY_VERSION = 0x20080522
SYSCALLS = {"x86_64": {"clone": 56, "capset": 126}, "aarch64": {"clone": 220, "capset": 91}}

# Of madvise(2), and what it works on; what the interpreter asks for at a time; most of what is kept together.
MADV_COLLAPSE, HUGE = 25, 2 << 20
ARENA = 1 << 20
ROOM = 24 << 20

libc = ctypes.CDLL(None, use_errno=True)
# Keeps the interpreter's lock, as a fork must.
locked_libc = ctypes.PyDLL(None, use_errno=True)


def check(answer, what):
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return answer


# Told once: to guess the types at each call makes an object for each number.
libc.setns.argtypes = [ctypes.c_int] * 2
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
libc.syscall.argtypes = [ctypes.c_long] + [ctypes.c_ulong] * 2
libc.madvise.argtypes = [ctypes.c_ulong] * 2 + [ctypes.c_int]
libc.sbrk.argtypes, libc.sbrk.restype = [ctypes.c_long], ctypes.c_ulong


def prctl(option, first=0, second=0):
    return libc.prctl(option, first, second, 0, 0)


def preload(names):
    """Imports what there is. A module that is broken must not keep functions from starting."""
    for name in filter(None, names):
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001
            if not isinstance(error, ModuleNotFoundError):
                print(f"zygote: {name} is left out: {error!r}", file=sys.stderr)


def read():
    """The files that the modules were read from, by their folder: the compiled ones where there are any.
    What is mapped besides, the launcher sees. No more of them than the greeting has room for."""
    folders, room = {}, GREETING_MAX
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        for path in (getattr(spec, "cached", None), getattr(module, "__file__", None)):
            if isinstance(path, str) and os.path.isfile(path):
                folder, name = os.path.split(path)
                room -= len(name) + 4 + (0 if folder in folders else len(folder) + 8)
                if room < 0:
                    return folders
                folders.setdefault(folder, []).append(name)
                break
    return folders


def hide():
    """A function may have modules of these names itself. What it is handed is found where a bootstrap that is the
    program has it, which is how it is pickled."""
    for name in ("bootstrap", "stem", "zygote"):
        sys.modules.pop(name, None)
    for kind in bootstrap.HANDED:
        kind.__module__ = "__main__"
        setattr(sys.modules["__main__"], kind.__name__, kind)


class Fork:
    """Forks with the launcher as parent, which awaits it as it awaits every sandbox."""

    def __init__(self):
        # Where the C library keeps the thread's number: in the fork it must be the fork's.
        address = ctypes.c_void_p()
        known = prctl(PR_GET_TID_ADDRESS, ctypes.addressof(address)) == 0
        tid = (known and address.value) or 0
        flags = CLONE_PARENT | signal.SIGCHLD
        if tid:
            flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID
        machine = platform.machine()
        # The last two are swapped on arm64.
        last = (tid, 0) if machine == "x86_64" else (0, tid)
        self.arguments = SYSCALLS[machine]["clone"], flags, 0, 0, *last
        self.clone = locked_libc.syscall
        self.clone.argtypes = [ctypes.c_long] + [ctypes.c_ulong] * 5
        api = ctypes.pythonapi
        self.before, self.in_parent = api.PyOS_BeforeFork, api.PyOS_AfterFork_Parent
        self.in_child = api.PyOS_AfterFork_Child

    def __call__(self):
        self.before()
        pid = self.clone(*self.arguments)
        if pid == 0:
            self.in_child()
            if hooks is not None:
                hooks.tell()
        else:
            self.in_parent()
        return pid


class Zygote:
    def __init__(self, generators):
        self.generators = generators
        self.control = socket.socket(fileno=CONTROL)
        self.seal = Seal(self.control.recv(MESSAGE_MAX))
        self.fork = Fork()
        open_streams()
        self.logs = bootstrap.open_logs()

    def serve(self):
        while True:
            message, fds, _, _ = socket.recv_fds(self.control, MESSAGE_MAX, 32)
            if not message:
                return
            self.answer(json.loads(message), fds)
            for fd in fds:
                os.close(fd)

    def answer(self, request, fds):
        try:
            check(libc.setns(fds[1], NEWPID), "entering the pid namespace")
            pid = self.fork()
        except OSError as error:
            self.control.send(str(error).encode())
            return
        if pid == 0:
            self.become(request, fds)
        told = str(pid) if pid > 0 else f"clone: {os.strerror(ctypes.get_errno())}"
        self.control.send(told.encode())

    def become(self, request, fds):
        """In the fork. Never returns."""
        code = 1
        try:
            self.enter(request, fds)
            stem.wait(CONTROL, self.logs, self.generators)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException as error:  # noqa: BLE001
            print(f"zygote: {error!r}", file=sys.stderr, flush=True)
        finally:
            leave(code)

    def enter(self, request, fds):
        control, sandbox, stdout, stderr, *groups = fds
        for group in groups:
            os.write(group, b"0")
        everything = NEWUSER | NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWNET
        check(libc.setns(sandbox, everything), "entering the sandbox")
        os.setsid()
        null = os.open("/dev/null", os.O_RDONLY)
        for fd, number in ((null, 0), (stdout, 1), (stderr, 2), (control, CONTROL)):
            os.dup2(fd, number)
        # The old socket's number is the new one's now.
        self.control.detach()
        os.closerange(CONTROL + 1, max(fds) + 2)
        self.drop_privilege(request)

    def drop_privilege(self, request):
        for capability in range(64):
            if prctl(PR_CAPBSET_DROP, capability) != 0:
                break
        for which, bound in request["limits"]:
            _, hard = resource.getrlimit(which)
            bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
            resource.setrlimit(which, (bound, bound))
        os.setgroups(request["groups"])
        os.setresgid(*[request["gid"]] * 3)
        os.setresuid(*[request["uid"]] * 3)
        os.umask(0o022)
        self.seal()


class Seal:
    """Gives up every capability, and installs the system call filter: the last of a fork's steps. What the
    kernel is told is made before the fork."""

    def __init__(self, filter):
        header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
        self.kept = [ctypes.create_string_buffer(text, len(text)) for text in (header, bytes(24), filter)]
        addresses = [ctypes.addressof(buffer) for buffer in self.kept]
        program = struct.pack("@HP", len(filter) // 8, addresses.pop())
        self.kept.append(ctypes.create_string_buffer(program, len(program)))
        self.program = ctypes.addressof(self.kept[-1])
        self.capset = SYSCALLS[platform.machine()]["capset"], *addresses

    def __call__(self):
        check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL), "clearing capabilities")
        check(libc.syscall(*self.capset), "dropping capabilities")
        check(prctl(PR_SET_NO_NEW_PRIVS, 1), "giving up new privileges")
        # Since the launcher is the parent, it is the launcher's end that counts.
        check(prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "binding to the launcher")
        check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, self.program), "installing the filter")


def open_streams():
    """The standard streams as forks will have them: nothing comes in, and what goes out goes to pipes, which a
    stream finds out when it is made. The numbers are the same, so a fork has only to put others behind."""
    pipe = os.pipe()
    null = os.open("/dev/null", os.O_RDONLY)
    for number, fd in ((0, null), (1, pipe[1]), (2, pipe[1])):
        own = os.dup(number)
        os.dup2(fd, number)
        if number == 0:
            sys.stdin = sys.__stdin__ = open(0, closefd=False)
        else:
            name = ("stdout", "stderr")[number - 1]
            stream = open(number, "w", errors="backslashreplace", buffering=1, closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        os.dup2(own, number)
        os.close(own)
    for fd in (null, *pipe):
        os.close(fd)


class Memory:
    """The interpreter's memory in huge pages: each fork copies the page tables and gives them back, which for
    thousands of small pages takes more time than all that it does with them. What a fork writes to is
    copied by small pages as ever."""

    def __init__(self):
        """Before the imports: takes memory in one piece, where libraries would be mapped in between else, and
        keeps one object in each part of it."""
        self.bottom = libc.sbrk(0)
        self.kept = {}
        things = [None] * (ROOM // 448)
        for at in range(len(things)):
            things[at] = thing = bytes(400)
            self.kept.setdefault(id(thing) // ARENA, thing)

    def collapse(self):
        """After them. Parts that are still empty are given back. A kernel that cannot do it (before 6.1), or
        does not find a huge page, leaves all as it is."""
        places = {part * ARENA // HUGE * HUGE for part in self.kept}
        self.kept.clear()
        bottom = (self.bottom + HUGE - 1) // HUGE * HUGE
        places.update(range(bottom, libc.sbrk(0) - HUGE + 1, HUGE))
        for place in places:
            libc.madvise(place, HUGE, MADV_COLLAPSE)


def leave(code):
    """As the interpreter ends: hooks of the function's own, then what is still in its buffers."""
    import atexit

    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def main():
    memory = Memory()
    preload(os.environ.pop("ROUSE_PRELOAD", "").split(","))
    generators = stem.rehearse_ahead()
    files = read()
    hide()
    beyond = sorted(tops() - ORDINARY - set(sys.builtin_module_names))
    if threading.active_count() != 1:
        raise SystemExit("zygote: a preloaded module has started a thread, which no fork would have")
    zygote = Zygote(generators)
    # What lives now lives for ever: the collector must not touch it, or each fork would copy it.
    gc.collect()
    gc.freeze()
    memory.collapse()
    packages = [name for name in beyond if name not in sys.stdlib_module_names]
    greeting = {"modules": beyond, "packages": packages, "files": files}
    zygote.control.send(json.dumps(greeting).encode())
    zygote.serve()


if __name__ == "__main__":
    main()
