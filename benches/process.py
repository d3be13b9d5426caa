"""Processes: started so that they end with the benchmark, and looked at through /proc."""

import ctypes
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def start(command, log=None, **more):
    """A process in a session of its own, so that Ctrl-C reaches only the benchmark, which then stops
    it; it is told to end if the benchmark is killed."""

    def end_with_parent():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                            start_new_session=True, preexec_fn=end_with_parent, **more)


def stop(process, patience=60):
    """Asks the process to end, and ends it if it does not."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def remove(folder):
    """Removes a folder; what is still mounted below it is unmounted first, never emptied."""
    below = f"{folder}/"
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(below)), reverse=True):
        LIBC.umount2(mount.encode(), 2)
    if not any(line.split()[4].startswith(below) for line in Path("/proc/self/mountinfo").read_text().splitlines()):
        shutil.rmtree(folder, ignore_errors=True)


def tree(root):
    """The process and all below it, by process id."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, todo = [], [root]
    while todo:
        found.append(todo.pop())
        todo.extend(children.get(found[-1], []))
    return found


def namespace(pid, kind):
    """Which namespace of the kind (net, pid, mnt) the process is in, or None if it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return None


def outside(root):
    """Those of the tree that live in this machine's process namespace: server and launcher."""
    ours = namespace("self", "pid")
    return [pid for pid in tree(root) if namespace(pid, "pid") == ours]


def pinning(root):
    """The process of the tree that keeps the runtimes' files in memory."""
    return [pid for pid in outside(root) if command(pid) == b"rouse-pin\0"]


def zygotes(root):
    """The interpreters of the tree that are forked for instances."""
    return [pid for pid in outside(root) if command(pid).endswith(b"/zygote.py\0")]


def command(pid):
    """The command line, each word with a zero byte behind; nothing if the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def platform(root):
    """Server and launcher, without what keeps files in memory and without zygotes."""
    others = pinning(root) + zygotes(root)
    return [pid for pid in outside(root) if pid not in others]


def locked(pid):
    """Bytes that the process has locked in memory."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmLck:\s+(\d+) kB", text, re.M)
    return int(found[1]) * 1024 if found else 0


def inside(root):
    """Those of the tree in a process namespace of their own: instances, and what is prepared."""
    ours = namespace("self", "pid")
    return [pid for pid in tree(root) if namespace(pid, "pid") not in (ours, None)]


def companions(pid):
    """All processes of the instance whose first process this is."""
    wanted = namespace(pid, "pid")
    if wanted == namespace("self", "pid"):
        raise RuntimeError(f"process {pid} has no process namespace of its own: it is no instance")
    others = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [one for one in others if wanted and namespace(one, "pid") == wanted]


def proportional(pids):
    """Proportional set size of the processes together, in MB (10^6 bytes); pages that several share
    count by their share."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        found = re.search(r"^Pss:\s+(\d+) kB", text, re.M)
        total += int(found[1]) * 1024 if found else 0
    return total / 1e6


def processor_seconds(pids):
    """Seconds of processor time that the processes have used so far."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def descriptors(pids):
    total = 0
    for pid in pids:
        try:
            total += len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            continue
    return total


def mounts(pids):
    """Mounts in all mount namespaces that the processes live in, each namespace once."""
    seen, total = {namespace("self", "mnt")}, 0
    for pid in pids:
        space = namespace(pid, "mnt")
        if space is None or space in seen:
            continue
        seen.add(space)
        try:
            total += Path(f"/proc/{pid}/mountinfo").read_text().count("\n")
        except OSError:
            continue
    return total + Path("/proc/self/mountinfo").read_text().count("\n")


def network_namespaces(pids):
    """Network namespaces that the processes live in or hold open."""
    found = {namespace(pid, "net") for pid in pids}
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = os.readlink(fd)
            except OSError:
                continue
            if target.startswith("net:["):
                found.add(target)
    return len(found - {None, namespace("self", "net")})


def group_names(pids):
    """Names of a server's control groups, which it has by its data folder, told by its instances."""
    names = set()
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            continue
        names |= {part for part in text.replace("\n", "/").split("/") if re.fullmatch("rouse-[0-9a-f]{16}", part)}
    return names


def control_groups(names):
    """Control group folders of those names and all below them, in every hierarchy."""
    return sum(1 for folder, _, _ in os.walk("/sys/fs/cgroup") if names & set(folder.split("/")))


def kernel_objects(name):
    """How many objects of that kind the kernel has, or None where it does not tell."""
    try:
        text = Path("/proc/slabinfo").read_text()
    except OSError:
        return None
    found = re.search(rf"^{re.escape(name)}\s+(\d+)", text, re.M)
    return int(found[1]) if found else None
