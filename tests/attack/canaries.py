"""What stands on the host and must be whole after each attack."""

import ctypes
import fcntl
import hashlib
import os
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.shmat.restype = ctypes.c_void_p
SETTINGS = [
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/sysrq",
    "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname", "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/kernel/panic", "/proc/sys/fs/suid_dumpable", "/proc/sys/fs/mount-max",
    *map(str, Path("/sys/fs/cgroup").glob("*/release_agent")),
    *map(str, Path("/sys/fs/cgroup").glob("*/notify_on_release")),
]
# A process that ends with 9 if the signal reaches it that the attacks send.
SENTINEL = (
    "import os, signal, time\n"
    "signal.signal(signal.SIGURG, lambda *_: os._exit(9))\n"
    "print('ready', flush=True)\n"
    "time.sleep(100000)\n"
)
SIOCGIFADDR = 0x8915
IPC_CREAT, IPC_RMID, MODE = 0o1000, 0, 0o666


def own_mount_namespace():
    """So that the mount table is ours alone, and any new line in it an attack's."""
    clone_newns, ms_private, ms_rec = 0x20000, 1 << 18, 1 << 14
    if LIBC.unshare(clone_newns) or LIBC.mount(None, b"/", None, ms_private | ms_rec, None):
        raise OSError(ctypes.get_errno(), "a mount namespace for the canaries")


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def mounts():
    """Lines of the mount table with their mount points."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line: line.split()[4] for line in lines}


class Host:
    """All canaries. `damage()` tells which are no longer whole."""

    def __init__(self, binary, name=f"rouse-attack-{os.getpid()}"):
        self.name = name
        self.secret = f"canary-{secrets.token_hex(16)}"
        self.folder = Path("/var/tmp") / name
        self.folder.mkdir(mode=0o777)
        self.folder.chmod(0o777)
        # Called rouse, as the launcher's name is found by it. Attacks reach this copy, if any.
        self.binary = self.folder / "rouse"
        shutil.copy(binary, self.binary)
        self.file = self.folder / "canary"
        self.file.write_text(self.secret)
        self.file.chmod(0o666)
        self.shm_file = Path("/dev/shm") / self.name
        self.shm_file.write_text(self.secret)
        self.shm_file.chmod(0o666)
        self.touched = []
        self.read_at, self.digest = None, None
        self._process()
        self._ipc()
        self._sockets()
        self.whole = self._state()
        self.mounts = mounts()
        # Folder of an engine that the tests run beside: what it mounts there is its own.
        self.engine = None
        self.clock = time.time() - time.monotonic()

    def _process(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SENTINEL],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        self.process.stdout.readline()
        self.pid = self.process.pid

    def _ipc(self):
        self.key = 0x0CA00000 + zlib.crc32(self.name.encode()) % 0xFFFFF
        self.shm = LIBC.shmget(self.key, 4096, IPC_CREAT | MODE)
        self.sem = LIBC.semget(self.key, 1, IPC_CREAT | MODE)
        self.msg = LIBC.msgget(self.key, IPC_CREAT | MODE)
        if min(self.shm, self.sem, self.msg) < 0:
            raise OSError(ctypes.get_errno(), "System V IPC for the canaries")
        self.memory = LIBC.shmat(self.shm, None, 0)
        ctypes.memmove(self.memory, self.secret.encode(), len(self.secret))
        # One message of 64 bytes at most: all queues of a user share one bound. (mqueue.h, mq_attr)
        small = (ctypes.c_long * 8)(0, 1, 64, 0)
        queue = LIBC.mq_open(f"/{self.name}".encode(), os.O_CREAT | os.O_RDWR, MODE, small)
        if queue < 0:
            raise OSError(ctypes.get_errno(), "a message queue for the canaries")
        os.close(queue)

    def _binary_state(self):
        """Owner, mode and content, which is read again when ctime changes: no writer can set that."""
        about = self.binary.stat()
        if about.st_ctime_ns != self.read_at:
            self.read_at, self.digest = about.st_ctime_ns, digest(self.binary)
        return about.st_mode, about.st_uid, about.st_gid, self.digest

    def _queue_is_there(self):
        queue = LIBC.mq_open(f"/{self.name}".encode(), os.O_RDWR)
        if queue >= 0:
            os.close(queue)
        return queue >= 0

    def _sockets(self):
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0{self.name}")
        self.tcp = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = self.tcp.getsockname()[1]
        self.abstract.listen()
        for name, listener in (("abstract socket", self.abstract), ("TCP port", self.tcp)):
            threading.Thread(target=self._accept, args=(name, listener), daemon=True).start()

    def _accept(self, name, listener):
        while True:
            try:
                taken, _ = listener.accept()
            except OSError:
                return
            self.touched.append(f"a connection to the host's {name}")
            taken.close()

    def _state(self):
        """What must stay the same: name → value."""
        state = {}
        for path in SETTINGS:
            try:
                state[path] = Path(path).read_text()
            except OSError:
                state[path] = None
        state["rouse's binary"] = self._binary_state()
        state["file"] = self.file.read_text()
        state["files beside it"] = sorted(os.listdir(self.folder))
        state["owner and mode"] = [tuple(p.stat()[n] for n in (0, 4, 5)) for p in (self.folder, self.file)]
        state["/dev/shm"] = self.shm_file.read_text()
        state["shared memory"] = ctypes.string_at(self.memory, len(self.secret)).decode()
        state["message queue"] = self._queue_is_there()
        return state

    def damage(self):
        now = self._state()
        found = [name for name, value in self.whole.items() if now[name] != value]
        found += self.touched + self._mounts_changed()
        if self.process.poll() is not None:
            found.append("the host's process")
        if abs(time.time() - time.monotonic() - self.clock) > 5:
            found.append("the clock")
        return found

    def _mounts_changed(self):
        """New mounts, and gone ones. What others mounted goes when they remove its folder."""
        now = mounts()
        new = [f"new mount {point}" for line, point in now.items() if line not in self.mounts]
        lost = [f"lost mount {point}" for line, point in self.mounts.items()
                if line not in now and os.path.exists(point)]
        return [told for told in new + lost if not self.engine or f" mount {self.engine}/" not in told]

    def addresses(self):
        """The host's own IPv4 addresses other than loopback."""
        found = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            for _, name in socket.if_nameindex():
                asked = struct.pack("256s", name.encode())
                try:
                    answer = fcntl.ioctl(probe, SIOCGIFADDR, asked)
                except OSError:
                    continue
                found.append(socket.inet_ntoa(answer[20:24]))
        return [address for address in found if not address.startswith("127.")]

    def remove(self):
        self.process.kill()
        self.process.wait()
        for call, number in ((LIBC.shmctl, self.shm), (LIBC.msgctl, self.msg)):
            call(number, IPC_RMID, None)
        LIBC.semctl(self.sem, 0, IPC_RMID)
        LIBC.mq_unlink(f"/{self.name}".encode())
        self.shm_file.unlink()
        for listener in (self.tcp, self.abstract):
            # Else the thread that accepts keeps it.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        shutil.rmtree(self.folder)
