"""What a function can do wrong: a clear recorded outcome each, the platform and neighbours unharmed."""

import json
import os
import time
from pathlib import Path

import pytest
from conftest import NODE_RUNTIME, PYTHON_RUNTIME, wait_for

MIB = 1024 * 1024


@pytest.fixture(scope="module", autouse=True)
def neighbour(server):
    server.create("neighbour", PYTHON_RUNTIME, {"app.py": "def handler(e, c):\n    return 'well'\n"})
    assert server.invoke("neighbour")[1] == "well"


@pytest.fixture(autouse=True)
def neighbour_stays_well(server):
    yield
    assert server.invoke("neighbour")[1] == "well"
    assert server.healthy()


def python(server, name, code, **settings):
    server.create(name, PYTHON_RUNTIME, {"app.py": code}, **settings)


def ending(server, name):
    """The recorded end of the newest run."""
    return server.last_run(name)["ending"]


def test_throws(server):
    python(server, "throws", "def handler(e, c):\n    raise ValueError('no such photo')\n")
    error, payload, tail = server.invoke("throws")
    assert error == "Unhandled"
    assert payload["errorType"] == "ValueError"
    assert payload["errorMessage"] == "no such photo"
    assert "app.py" in "".join(payload["stackTrace"])
    assert "ValueError" in tail
    assert ending(server, "throws") == "failed"


def test_throws_in_node(server):
    code = "exports.handler = async () => { throw new TypeError('not a photo'); };"
    server.create("throws-node", NODE_RUNTIME, {"app.js": code})
    error, payload, _ = server.invoke("throws-node")
    assert (error, payload["errorType"]) == ("Unhandled", "TypeError")
    assert payload["errorMessage"] == "not a photo"
    assert ending(server, "throws-node") == "failed"


def test_does_not_load(server):
    python(server, "unloadable", "import a_module_that_is_not_there\n")
    error, payload, _ = server.invoke("unloadable")
    assert error == "Unhandled"
    assert "a_module_that_is_not_there" in payload["errorMessage"]
    assert ending(server, "unloadable") == "init_failed"


def test_exits(server):
    python(server, "exits", "import os\ndef handler(e, c):\n    os._exit(3)\n")
    error, payload, _ = server.invoke("exits")
    assert (error, payload["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert "exit status 3" in payload["errorMessage"]
    assert ending(server, "exits") == "crashed"


def test_crashes_by_signal(server):
    python(server, "aborts", "import os\ndef handler(e, c):\n    os.abort()\n")
    error, payload, _ = server.invoke("aborts")
    assert (error, payload["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert ending(server, "aborts") == "crashed"


def test_hangs_past_its_timeout(server):
    python(server, "hangs", "import time\ndef handler(e, c):\n    time.sleep(600)\n", Timeout=1)
    error, payload, _ = server.invoke("hangs")
    assert (error, payload["errorType"]) == ("Unhandled", "Sandbox.Timedout")
    assert "timed out after 1.00 seconds" in payload["errorMessage"]
    assert ending(server, "hangs") == "timed_out"
    wait_for(
        "the hung instance to be gone",
        lambda: not [i for i in server.control("instances") if i["owner"].get("name") == "hangs"],
    )


def test_floods_its_log(server):
    code = "def handler(e, c):\n    for n in range(400_000):\n        print('x' * 200)\n    return 'dry'\n"
    python(server, "floods", code, Timeout=60)
    error, payload, tail = server.invoke("floods")
    assert (error, payload) == (None, "dry")
    assert len(tail) <= 4096
    kept = sum(p.stat().st_size for p in (server.data / "logs").rglob("*floods*/*"))
    assert kept < 40 * MIB
    lines = server.rouse("logs", "floods", "--tail", "1000").stdout
    assert "dropped" in lines


def test_one_endless_line(server):
    code = "import sys\ndef handler(e, c):\n    sys.stdout.write('y' * 50_000_000)\n    return 'dry'\n"
    python(server, "endless-line", code, Timeout=60)
    error, payload, _ = server.invoke("endless-line")
    assert (error, payload) == (None, "dry")
    longest = max(map(len, server.rouse("logs", "endless-line", "--tail", "100").stdout.splitlines()))
    assert longest < 20_000


def test_answers_6_mib_and_one_byte(server):
    # Two quotes stand around the text in JSON.
    code = "def handler(e, c):\n    return 'x' * (e - 2)\n"
    python(server, "answers", code, Timeout=30)
    error, payload, _ = server.invoke("answers", 6 * MIB)
    assert error is None and len(payload) == 6 * MIB - 2
    error, payload, _ = server.invoke("answers", 6 * MIB + 1)
    assert (error, payload["errorType"]) == ("Unhandled", "Function.ResponseSizeTooLarge")
    assert ending(server, "answers") == "response_too_large"


def test_returns_what_is_not_json(server):
    python(server, "not-json", "def handler(e, c):\n    return {1, 2}\n")
    error, payload, _ = server.invoke("not-json")
    assert (error, payload["errorType"]) == ("Unhandled", "Runtime.MarshalError")
    assert ending(server, "not-json") == "failed"


def test_forks_children_that_stay(server):
    code = """
import os, time
def handler(e, c):
    for _ in range(5):
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
            os._exit(0)
    return 'answered'
"""
    python(server, "forks", code)
    assert server.invoke("forks")[:2] == (None, "answered")
    assert ending(server, "forks") == "succeeded"
    pids = pids_of(server, "forks")
    assert len(pids) >= 6
    server.client("lambda").delete_function(FunctionName="forks")
    wait_for("its children to be gone", lambda: not alive(pids))


def alive(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def pids_of(server, name):
    """The processes that share the pid namespace of a function's one instance."""
    [instance] = [one for one in server.control("instances") if one["owner"]["name"] == name]
    namespace = os.readlink(f"/proc/{instance['pid']}/ns/pid")
    found = []
    for link in Path("/proc").glob("[0-9]*/ns/pid"):
        try:
            if os.readlink(link) == namespace:
                found.append(link.parts[2])
        except OSError:
            continue
    return found


def test_forks_without_end(server):
    code = """
import os, time
def handler(e, c):
    made = 0
    try:
        while True:
            if os.fork() == 0:
                time.sleep(600)
            made += 1
    except BlockingIOError:
        return made
"""
    python(server, "fork-bomb", code, Timeout=60, MemorySize=1024)
    error, payload, _ = server.invoke("fork-bomb")
    assert error is None and 10 < payload < 1024
    server.client("lambda").delete_function(FunctionName="fork-bomb")


def test_fills_its_memory(server):
    code = "def handler(e, c):\n    kept = []\n    while True:\n        kept.append(bytearray(1024 * 1024))\n"
    python(server, "fills-memory", code, MemorySize=128, Timeout=60)
    error, payload, _ = server.invoke("fills-memory")
    assert (error, payload["errorType"]) == ("Unhandled", "Runtime.OutOfMemory")
    assert "128" in payload["errorMessage"]
    assert ending(server, "fills-memory") == "out_of_memory"


def test_fills_its_disk(server, tmp_path):
    code = """
def handler(e, c):
    with open('/tmp/full', 'wb') as out:
        while True:
            out.write(b'x' * 1048576)
"""
    (tmp_path / "fills-disk").mkdir()
    (tmp_path / "fills-disk/app.py").write_text(code)
    server.deploy(
        tmp_path,
        "services:\n  fills-disk:\n    build: ./fills-disk\n"
        "    x-rouse: {runtime: python3.11, handler: app.handler, memory: 256M, tmp: 16M, timeout: 30s}\n",
    )
    error, payload, _ = server.invoke("fills-disk")
    assert (error, payload["errorType"]) == ("Unhandled", "OSError")
    assert "No space left" in payload["errorMessage"]
    assert ending(server, "fills-disk") == "failed"


@pytest.mark.parametrize("path", ["/etc/passwd", "/usr/bin/x", "/var/task/app.py", "/x"])
def test_writes_outside_of_tmp(server, path):
    name = "writes" + path.replace("/", "-").replace(".", "-")
    python(server, name, f"def handler(e, c):\n    open({path!r}, 'w')\n")
    error, payload, _ = server.invoke(name)
    assert error == "Unhandled"
    assert "Read-only file system" in payload["errorMessage"] or "denied" in payload["errorMessage"]


def test_ignores_being_asked_to_end(server):
    code = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ndef handler(e, c):\n    return 1\n"
    python(server, "stubborn", code)
    assert server.invoke("stubborn")[1] == 1
    pids = pids_of(server, "stubborn")
    assert pids
    server.client("lambda").delete_function(FunctionName="stubborn")
    wait_for("the stubborn instance to be gone", lambda: not alive(pids))


def test_an_event_of_a_function_that_fails_is_retried_and_then_a_dead_letter(server, tmp_path):
    (tmp_path / "fails").mkdir()
    (tmp_path / "fails/app.py").write_text("def handler(e, c):\n    raise RuntimeError('again')\n")
    server.deploy(
        tmp_path,
        "services:\n  fails:\n    build: ./fails\n    x-rouse:\n      runtime: python3.11\n"
        "      handler: app.handler\n      retry: {attempts: 3, base_delay: 50ms, max_delay: 200ms}\n",
    )
    answer = server.client("lambda").invoke(
        FunctionName="fails", InvocationType="Event", Payload=json.dumps({"n": 1})
    )
    assert answer["StatusCode"] == 202
    [event] = server.control("events?target=function:fails&limit=10")["events"]
    dead = wait_for(
        "the dead letter",
        lambda: (e := server.control(f"events/{event['id']}"))["state"] == "dead" and e,
    )
    assert dead["attempts"] == 3
    assert [run["attempt"] for run in dead["runs"]] == [1, 2, 3]
    assert "RuntimeError: again" in dead["last_error"]
    # Mended and replayed, it succeeds, and names what it repeats.
    (tmp_path / "fails/app.py").write_text("def handler(e, c):\n    return e['n']\n")
    server.rouse("deploy", cwd=tmp_path)
    new = server.rouse("events", "replay", event["id"]).stdout.strip().split()[-1]
    done = wait_for(
        "the replay", lambda: (e := server.control(f"events/{new}"))["state"] == "succeeded" and e
    )
    assert done["replay_of"] == event["id"]
    assert server.control(f"events/{event['id']}")["state"] == "dead"


def test_time_is_bounded_during_init_too(server):
    python(server, "slow-init", "import time\ntime.sleep(600)\ndef handler(e, c):\n    return 1\n")
    began = time.monotonic()
    error, payload, _ = server.invoke("slow-init")
    assert error == "Unhandled"
    assert time.monotonic() - began < 60
    assert ending(server, "slow-init") in ("init_failed", "timed_out")
