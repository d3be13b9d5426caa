"""Whatever way the server ends, no process, mount, cgroup or veth of it stays."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import PYTHON_RUNTIME, Server, wait_for


def groups_of(pids):
    """Names of the server's cgroups, which it has by its data folder."""
    names = set()
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            continue
        names |= {part for part in text.replace("\n", "/").split("/") if part.startswith("rouse-")}
    return names


def cgroups(names):
    # Groups come and go meanwhile: unlike rglob, walk heeds that.
    walk = os.walk("/sys/fs/cgroup")
    return {os.path.join(folder, name) for folder, inside, _ in walk for name in inside if name in names}


def links():
    return subprocess.run(["ls", "/sys/class/net"], capture_output=True, text=True).stdout


def mounts():
    return Path("/proc/self/mountinfo").read_text().count("\n")


def tree(pid):
    """The process and all below it."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = set(), [pid]
    while todo:
        found.add(todo[-1])
        todo.extend(children.get(todo.pop(), []))
    return found


def alive(pids):
    return {pid for pid in pids if Path(f"/proc/{pid}/exe").exists() and not zombie(pid)}


def zombie(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def launcher_of(server):
    """The server's one child; what the launcher has just forked still has its name."""
    [child] = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    assert b"launcher" in Path(f"/proc/{child}/cmdline").read_bytes()
    return int(child)


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL", "SIGKILL of the launcher", "SIGKILL of both"])
def test_nothing_stays(tmp_path, shop, photos, end, request):
    before = links(), mounts()
    server = Server(tmp_path / "data").start()
    request.addfinalizer(server.kill)
    server.rouse("deploy", "-f", shop / "compose.yaml")
    code = "import os, time\nif os.fork() == 0:\n    time.sleep(600)\ndef handler(e, c):\n    return 1\n"
    server.create("forks", PYTHON_RUNTIME, {"app.py": code})
    assert server.invoke("forks")[1] == 1
    s3 = server.client("s3")
    for photo in photos[:4]:
        s3.put_object(Bucket="photos", Key=photo.name, Body=photo.read_bytes())
    wait_for("a function at work", lambda: len(server.control("instances")) >= 3)
    everything, launcher = tree(server.process.pid), launcher_of(server)
    assert len(everything) >= 5
    groups = groups_of(everything)
    assert groups and cgroups(groups)

    if end == "SIGTERM":
        server.stop()
    elif end == "SIGKILL":
        server.kill()
    elif end == "SIGKILL of the launcher":
        os.kill(launcher, signal.SIGKILL)
        # Without its launcher the server can do nothing: it says so and ends.
        assert server.process.wait(30) != 0
    else:
        os.kill(launcher, signal.SIGSTOP)
        server.kill()
        os.kill(launcher, signal.SIGKILL)

    wait_for("every process to be gone", lambda: not alive(everything), timeout=30)
    if end.startswith("SIGKILL of"):
        # Nobody was left to remove the cgroups: the next start does.
        server.start()
        server.rouse("rm", "service/catalog", "--yes")
        server.stop()
    wait_for("cgroups to be gone", lambda: not cgroups(groups), timeout=15)
    assert links() == before[0]
    assert mounts() == before[1]
