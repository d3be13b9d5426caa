"""Whatever way the server ends, no process, mount, cgroup or veth of it stays."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PYTHON_RUNTIME, REPO, Server, wait_for

sys.path.insert(0, str(REPO / "benches"))
from process import control_groups, group_names, tree  # noqa: E402


def links():
    return subprocess.run(["ls", "/sys/class/net"], capture_output=True, text=True).stdout


def mounts():
    return Path("/proc/self/mountinfo").read_text().count("\n")


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
    groups = group_names(everything)
    assert groups and control_groups(groups)

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

    if end != "SIGKILL of both":
        wait_for("every process to be gone", lambda: not alive(everything), timeout=30)
    if end.startswith("SIGKILL of"):
        # Nobody was left to remove the cgroups or, without both, to thaw what was frozen so that it can end:
        # the next start does.
        server.start()
        server.rouse("rm", "service/catalog", "--yes")
        server.stop()
    wait_for("every process to be gone", lambda: not alive(everything), timeout=30)
    wait_for("cgroups to be gone", lambda: not control_groups(groups), timeout=15)
    assert links() == before[0]
    assert mounts() == before[1]
