"""`snapshot: init`: a function that is initialised once, and forked for each instance."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conftest import wait_for

APP = """
import os, random, time, uuid
from snapshot_restore_py import register_after_restore, register_before_snapshot
print("initialising", flush=True)
time.sleep(1)
MADE = {"by": str(uuid.uuid4()), "before": 0, "after": 0}
@register_before_snapshot
def before(): MADE["before"] += 1
@register_after_restore
def after(): MADE["after"] += 1
def handler(event, context):
    time.sleep(event.get("sleep", 0))
    return {**MADE, "random": random.random(), "version": VERSION}
"""

MANIFEST = """
services:
  heavy:
    build: ./code
    x-rouse: {runtime: python3.11, handler: app.handler, timeout: 30s, fresh: always, snapshot: init}
"""


def write(folder, version):
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code/app.py").write_text(f"VERSION = {version}\n{APP}")


def call(server, sleep=0.2):
    error, answer, tail = server.invoke("heavy", {"sleep": sleep})
    assert error is None, (answer, tail)
    return answer


def zygotes(data):
    """Processes that functions of this server are forked from."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                arguments = (folder / "cmdline").read_bytes()
                status = (folder / "status").read_text()
            except OSError:
                continue
            mine = b"snapshot.py" in arguments and "CapEff:\t0000000000240000" in status
            if mine and launched_by(status, data):
                found.append(int(folder.name))
    return found


def launched_by(status, data):
    parent = next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1]
    try:
        return os.fsencode(data) in Path(f"/proc/{parent}/cmdline").read_bytes()
    except OSError:
        return False


def test_each_revision_is_initialised_once(own_server, tmp_path):
    server = own_server
    write(tmp_path, 1)
    server.deploy(tmp_path, MANIFEST)
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: call(server), range(5)))
    assert len({answer["by"] for answer in answers}) == 1
    assert len({answer["random"] for answer in answers}) == 5
    # Each call has an instance of its own, and each instance has come back once.
    assert {(a["before"], a["after"], a["version"]) for a in answers} == {(1, 1, 1)}
    assert server.last_run("heavy")["start_kind"] in ("stem", "fork")
    log = server.rouse("logs", "heavy").stdout
    assert log.count("initialising") == 1, log
    # A fork that is just made ahead looks like one until it has given up what the zygote holds.
    wait_for("one zygote alone", lambda: len(zygotes(server.data)) == 1)

    write(tmp_path, 2)
    server.deploy(tmp_path, MANIFEST)
    wait_for("the new revision", lambda: call(server, 0)["version"] == 2)
    assert call(server)["by"] != answers[0]["by"]
    wait_for("the old revision's end", lambda: len(zygotes(server.data)) == 1)

    server.rouse("rm", "function/heavy", "--yes")
    wait_for("the function's end", lambda: not zygotes(server.data))


def test_an_initialisation_that_fails_is_each_calls_error(server, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code/app.py").write_text("raise ValueError('no model')\n")
    server.deploy(tmp_path, MANIFEST)
    for _ in range(2):
        error, answer, tail = server.invoke("heavy", {})
        assert error and answer["errorType"] == "ValueError", (answer, tail)
        assert "no model" in answer["errorMessage"]


def test_what_cannot_be_forked_is_refused_at_its_line(server, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code/index.js").write_text("exports.handler = async () => 1;")
    manifest = MANIFEST.replace("python3.11, handler: app", "nodejs20.x, handler: index")
    (tmp_path / "compose.yaml").write_text(manifest)
    refused = server.rouse("deploy", cwd=tmp_path, check=False)
    assert refused.returncode != 0
    assert "compose.yaml:5:" in refused.stderr and "Node.js has threads" in refused.stderr
