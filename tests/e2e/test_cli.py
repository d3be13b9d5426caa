"""The command line, as people and scripts use it."""

import json
import os
import stat
import subprocess
import time

import pytest
from conftest import PYTHON_RUNTIME, ROUSE, wait_for

COMMANDS = ["serve", "deploy", "invoke", "logs", "ls", "ps", "events", "image", "env", "rm", "doctor"]


@pytest.fixture(scope="module", autouse=True)
def function(server):
    code = "def handler(e, c):\n    print('line', e)\n    if e == 'bad':\n        raise ValueError('bad')\n    return {'got': e}\n"
    server.create("tells", PYTHON_RUNTIME, {"app.py": code})


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command):
    told = subprocess.run([ROUSE, command, "--help"], capture_output=True, text=True, check=True).stdout
    assert len(told) > 200
    assert "rouse " + command in told


def test_env_is_for_the_shell_and_works_for_the_aws_command_line(server):
    told = server.rouse("env", "--data", server.data).stdout
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION",
                 "ROUSE_URL", "ROUSE_TOKEN"):
        assert f"export {name}=" in told
    clean = {"PATH": os.environ["PATH"], "HOME": str(server.data)}
    script = f'eval "$({ROUSE} env --data {server.data})" && {ROUSE} ls && printf %s "$AWS_ENDPOINT_URL"'
    done = subprocess.run(["sh", "-c", script], env=clean, capture_output=True, text=True, check=True)
    assert "tells" in done.stdout and done.stdout.endswith(server.url)


def test_credentials_are_random_and_for_the_owner_alone(server):
    for name in ("credentials.json", "state.db"):
        mode = stat.S_IMODE(os.stat(server.data / name).st_mode)
        assert mode & 0o077 == 0, (name, oct(mode))
    root = server.root
    assert len(root["secret_access_key"]) >= 40 and len(root["token"]) >= 40
    log = server.log.read_text()
    assert root["secret_access_key"] not in log and root["token"] not in log


def test_invoke(server):
    assert json.loads(server.rouse("invoke", "tells", "-p", '{"a":1}').stdout) == {"got": {"a": 1}}
    done = server.rouse("invoke", "tells", "-p", '"bad"', check=False)
    assert done.returncode != 0 and "ValueError" in done.stderr
    done = server.rouse("invoke", "nobody", check=False)
    assert done.returncode != 0 and "nobody" in done.stderr
    told = server.rouse("invoke", "tells", "-p", "7", "--log")
    assert "line 7" in told.stderr


def test_an_event_is_shown_and_replayed(server):
    server.rouse("invoke", "tells", "-p", '"once"', "--event")
    events = lambda: server.control("events?target=function:tells&limit=10")["events"]
    [event] = wait_for("the event", lambda: [e for e in events() if e["state"] == "succeeded"])
    told = server.rouse("events").stdout
    assert event["id"] in told or event["id"][:8] in told
    assert "once" in server.rouse("events", "show", event["id"]).stdout
    server.rouse("events", "replay", event["id"])
    wait_for("the replay", lambda: len([e for e in events() if e["state"] == "succeeded"]) == 2)
    done = server.rouse("events", "show", "00000000-0000-7000-8000-000000000000", check=False)
    assert done.returncode != 0 and "00000000-0000-7000" in done.stderr


def test_logs_are_followed_live_with_their_request(server):
    follow = subprocess.Popen(
        [ROUSE, "logs", "tells", "-f"], env=server.environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        time.sleep(1)
        server.rouse("invoke", "tells", "-p", '"live"')
        seen = ""
        os.set_blocking(follow.stdout.fileno(), False)

        def shown():
            nonlocal seen
            seen += follow.stdout.read() or ""
            return "line live" in seen and "REPORT" in seen

        wait_for("the live line", shown, timeout=20)
    finally:
        follow.terminate()
        follow.wait()
    run = server.last_run("tells")
    told = server.rouse("logs", "tells", "--request", run["request_id"]).stdout
    assert "line live" in told and "line 7" not in told


def test_hostile_output_does_not_reach_the_terminal(server):
    code = "def handler(e, c):\n    print('\\x1b]0;owned\\x07\\x1b[2J')\n    return 1\n"
    server.create("hostile", PYTHON_RUNTIME, {"app.py": code})
    server.invoke("hostile")
    told = server.rouse("logs", "hostile").stdout
    assert "owned" in told and "\x1b" not in told and "\x07" not in told


def test_ls_and_ps_for_people_and_scripts(server):
    server.rouse("invoke", "tells", "-p", "1")
    assert "tells" in server.rouse("ls").stdout
    assert "tells" in json.dumps(server.rouse_json("ls"))
    assert "tells" in server.rouse("ps").stdout
    assert "tells" in json.dumps(server.rouse_json("ps"))


def test_doctor(server):
    done = server.rouse("doctor")
    for word in ("cgroup", "seccomp", "user namespace", "kernel"):
        assert word in done.stdout.lower(), done.stdout
    findings = server.rouse_json("doctor")
    assert findings


def test_rm(server):
    server.create("short-lived", PYTHON_RUNTIME, {"app.py": "def handler(e, c):\n    return 1\n"})
    assert server.rouse("rm", "function/short-lived", check=False).returncode != 0
    server.rouse("rm", "function/short-lived", "--yes")
    assert "short-lived" not in server.rouse("ls").stdout
    done = server.rouse("rm", "function/short-lived", "--yes", check=False)
    assert done.returncode != 0 and "short-lived" in done.stderr


def test_a_newcomer_is_told_what_is_wrong_with_the_token(server):
    done = server.rouse("ls", check=False, env={"ROUSE_TOKEN": "wrong"})
    assert done.returncode != 0 and "token" in done.stderr.lower()


def test_ctrl_c_drains(own_server):
    code = "import time\ndef handler(e, c):\n    time.sleep(2)\n    return 'finished'\n"
    own_server.create("slow", PYTHON_RUNTIME, {"app.py": code}, Timeout=20)
    call = subprocess.Popen(
        [ROUSE, "invoke", "slow"], env=own_server.environment(), stdout=subprocess.PIPE, text=True
    )
    wait_for("the call", lambda: [i for i in own_server.control("instances") if i["state"] == "busy"])
    own_server.process.send_signal(subprocess.signal.SIGINT)
    assert "finished" in call.communicate(timeout=30)[0]
    assert own_server.process.wait(30) == 0
