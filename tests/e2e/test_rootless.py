"""A server that an ordinary user started: root is in the set-up of the tests only."""

import contextlib
import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from conftest import NODE_RUNTIME, PYTHON_RUNTIME, REPO, OrdinaryServer, wait_for

sys.path.insert(0, str(REPO / "benches"))
sys.path.insert(0, str(REPO / "tests/attack"))
from process import control_groups, group_names, tree  # noqa: E402
from test_leftovers import alive, launcher_of  # noqa: E402

WHO = "import os\ndef handler(e, c):\n    return [os.getuid(), os.getgid(), os.getpid(), e]\n"
NONE = "0" * 16


@pytest.fixture(scope="module")
def rootless():
    server = OrdinaryServer().start()
    yield server
    server.remove()


def status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: words.split() for name, _, words in (line.partition(":") for line in lines)}


def ids():
    """The user, and its subordinate ids."""
    user = pwd.getpwnam("rouse-test").pw_uid
    [line] = [line for line in Path("/etc/subuid").read_text().splitlines() if line.startswith("rouse-test:")]
    first, length = map(int, line.split(":")[1:])
    return user, range(first, first + length)


def test_nothing_of_it_is_root(rootless):
    rootless.create("who", PYTHON_RUNTIME, {"app.py": WHO})
    assert rootless.invoke("who", 7)[1] == [1000, 1000, rootless.invoke("who")[1][2], 7]
    user, subordinate = ids()
    server, launcher = rootless.process.pid, launcher_of(rootless)
    host = os.readlink("/proc/self/ns/user")
    for pid in (server, launcher):
        assert set(status(pid)["Uid"]) == {str(user)}
        assert os.readlink(f"/proc/{pid}/ns/user") != host
    stated = status(server)
    assert {kind: stated[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == dict.fromkeys(
        ("Inh", "Prm", "Eff", "Bnd", "Amb"), [NONE])
    assert stated["NoNewPrivs"] == ["1"] and stated["Groups"] == []
    instances = []
    for pid in tree(launcher):
        # One that compiles modules, or was only being made, may be gone by now.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            instances.append(status(pid))
    users = [told["Uid"] for told in instances if told["CapEff"] == [NONE] and told["Uid"][0] != str(user)]
    assert users, "no instance is another user than the server"
    assert all(int(uid) in subordinate for uids in users for uid in uids), users


def test_each_way_to_run_a_program(rootless, tmp_path):
    node = "exports.handler = async (e) => [process.getuid(), e]\n"
    rootless.create("node", NODE_RUNTIME, {"app.js": node})
    assert rootless.invoke("node", 1)[1] == [1000, 1]
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "app.py").write_text("import os\nAT = os.getpid()\ndef handler(e, c):\n    return [os.getuid(), e]\n")
    rootless.deploy(tmp_path, """
name: ways
services:
  once:
    build: ./snapshot
    x-rouse: {runtime: python3.11, handler: app.handler, snapshot: init}
""")
    assert rootless.invoke("once", 2)[1] == [1000, 2]


def test_a_static_program(rootless, tmp_path):
    import e2e
    (tmp_path / "static").mkdir()
    e2e.compile_attacks(tmp_path / "static/bootstrap")
    rootless.deploy(tmp_path, """
name: static
services:
  static:
    build: ./static
    x-rouse: {runtime: provided, memory: 64M}
""")
    error, told, _ = rootless.invoke("static", "status")
    assert error is None and told["answer"] == "as stated", told


def test_memory_is_limited(rootless):
    code = "def handler(e, c):\n    kept = []\n    while True:\n        kept.append(bytearray(1024 * 1024))\n"
    rootless.create("fills-memory", PYTHON_RUNTIME, {"app.py": code}, MemorySize=128, Timeout=60)
    error, payload, _ = rootless.invoke("fills-memory")
    assert (error, payload["errorType"]) == ("Unhandled", "Runtime.OutOfMemory")


def test_processes_are_limited(rootless):
    code = (
        "import os, time\ndef handler(e, c):\n    made = 0\n    try:\n        while True:\n"
        "            if os.fork() == 0:\n                time.sleep(600)\n            made += 1\n"
        "    except BlockingIOError:\n        return made\n"
    )
    rootless.create("fork-bomb", PYTHON_RUNTIME, {"app.py": code}, MemorySize=1024, Timeout=60)
    error, payload, _ = rootless.invoke("fork-bomb")
    assert error is None and 10 < payload < 1024


def test_a_user_that_no_range_has_is_named(rootless, tmp_path):
    import images
    archive = images.image(tmp_path / "image.tar", [[images.Entry("attack", b"#!/none")]], User="5000:5000")
    rootless.rouse("image", "import", archive, "--name", "odd/user:1")
    (tmp_path / "compose.yaml").write_text("name: odd\nservices:\n  odd:\n    image: odd/user:1\n    x-rouse: {}\n")
    rootless.rouse("deploy", cwd=tmp_path, check=False)
    with pytest.raises(ClientError, match="the user id 5000 cannot be had without root"):
        rootless.invoke("odd")


def test_the_start_tells_what_is_not_to_be_had(rootless):
    log = rootless.log.read_text()
    for word in ("at most 512 sandboxes", "outbound network", "without root"):
        assert word in log, (word, log)


def test_the_doctor_tells_an_ordinary_user():
    server = OrdinaryServer()
    try:
        done = subprocess.run([*server.by, server.program(), "doctor", "--data", server.data, "--json"],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "enough for 512 sandboxes" in done.stdout
    finally:
        server.remove()


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL", "SIGKILL of both"])
def test_nothing_stays_and_the_next_start_goes_on(end):
    server = OrdinaryServer().start()
    try:
        server.create("who", PYTHON_RUNTIME, {"app.py": WHO})
        assert server.invoke("who", 1)[1][3] == 1
        wait_for("an instance", lambda: server.control("instances"))
        everything, launcher = tree(server.process.pid), launcher_of(server)
        groups = group_names(everything)
        assert groups and control_groups(groups)
        if end == "SIGTERM":
            server.stop()
        elif end == "SIGKILL":
            server.kill()
        else:
            os.kill(launcher, signal.SIGSTOP)
            server.kill()
            os.kill(launcher, signal.SIGKILL)
        server.start()
        assert server.invoke("who", 2)[1][3] == 2
        server.stop()
        wait_for("every process to be gone", lambda: not alive(everything), timeout=30)
        wait_for("cgroups to be gone", lambda: not control_groups(groups), timeout=15)
    finally:
        server.remove()
