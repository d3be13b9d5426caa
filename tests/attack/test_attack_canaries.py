"""Each canary tells when it is touched: one that cannot is none."""

import os
import signal
import socket

import canaries
import e2e
import pytest

LIBC = canaries.LIBC


def shared_memory(host):
    canaries.ctypes.memmove(host.memory, b"x", 1)


def abstract(host):
    socket.socket(socket.AF_UNIX).connect(f"\0{host.name}")


def mount(_):
    assert LIBC.mount(b"attack-canary", b"/mnt", b"tmpfs", 0, None) == 0


TOUCHES = {
    "file": lambda host: host.file.write_text("x"),
    "files beside it": lambda host: (host.folder / "planted").touch(),
    "owner and mode": lambda host: host.file.chmod(0o600),
    "rouse's binary": lambda host: host.binary.open("ab").write(b"x"),
    "/dev/shm": lambda host: host.shm_file.write_text("x"),
    "shared memory": shared_memory,
    "message queue": lambda host: LIBC.mq_unlink(f"/{host.name}".encode()),
    "the host's process": lambda host: os.kill(host.pid, signal.SIGURG),
    "a connection to the host's abstract socket": abstract,
    "a connection to the host's TCP port": lambda host: socket.create_connection(("127.0.0.1", host.port)),
    "new mount /mnt": mount,
}


@pytest.mark.parametrize("what", TOUCHES)
def test_a_canary_tells(what, program):
    # The program stands for the server's binary, which is larger.
    host = canaries.Host(program, f"rouse-attack-touched-{os.getpid()}")
    try:
        assert host.damage() == []
        TOUCHES[what](host)
        e2e.wait_for(what, lambda: what in host.damage(), timeout=10)
    finally:
        if what.startswith("new mount"):
            LIBC.umount2(b"/mnt", 2)
        host.remove()
