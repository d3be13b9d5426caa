"""What one instance leaves, another function, version or instance never sees, however slots are reused."""

import re
import secrets
import shutil

import e2e
import pytest
from cases import words

# At least so many, and until slots were used again so often; at most so many.
ROUNDS, REUSED, MOST = 40, 3, 160
TRIED = {
    "another function": "files, IPC, sockets, memory, environment, processes of another function before",
    "another version": "the same of the version before",
    "another instance": "the same of another function that runs at the same time",
}
# Place → its runtime. In Python the code runs in a fork of what the platform made ahead.
KINDS = {"folder": {"runtime": "provided"}, "python": {"runtime": "python3.11", "handler": "app.handler"}}
HANDLER = """
import json, subprocess
KEPT = []
def handler(event, context):
    KEPT.append(event)
    done = subprocess.run(["./bootstrap", *event.split()], capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])
"""


@pytest.fixture
def pair(attacked, program, tmp_path):
    """Two functions whose instances live for one call, or for long."""
    (tmp_path / "code").mkdir()
    shutil.copy(program, tmp_path / "code/bootstrap")
    (tmp_path / "code/app.py").write_text(HANDLER)

    def deployed(kind, keep_alive, **environments):
        services = {
            name: {"build": "./code", "environment": environment,
                   "x-rouse": {**KINDS[kind], "memory": "96M", "timeout": "20s",
                               "concurrency": {"max": 2, "keep_alive": keep_alive}}}
            for name, environment in environments.items()
        }
        attacked.deploy_manifest(tmp_path, {"services": services})

    yield deployed
    for function in attacked.control("functions"):
        name = function.get("name") or function["spec"]["name"]
        if name in ("first", "second"):
            attacked.client("lambda").delete_function(FunctionName=name)


def slot(detail):
    """Which user ids an instance had: no two have the same at one time."""
    return re.search(r"users (\d+)", detail)[1]


def namespaces(detail):
    return set(re.findall(r"(?:net|ipc):\[\d+\]", detail))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("who", TRIED)
def test_leftovers(attacked, judge, pair, who, kind):
    found, details, planted_in, before = set(), "", set(), set()
    reused, shared = 0, set()
    keep = "10m" if who == "another instance" else "1ms"
    secret = secrets.token_hex(16)
    for turn in range(1 if who == "another instance" else MOST):
        if who == "another version":
            pair(kind, keep, first={"PLANTED": secret})
        elif turn == 0:
            pair(kind, keep, first={"PLANTED": secret}, second={})
        planted, detail = attacked.attack("first", f"plant {secret}")
        assert planted == "planted", detail
        planted_in.add(slot(detail))
        before |= namespaces(detail)
        finder = "second"
        if who == "another version":
            pair(kind, keep, first={"TURN": str(turn)})
            finder = "first"
        if who != "another instance":
            e2e.wait_for("the instance to go", lambda: not attacked.shows("first"))
        # Backwards, so that what looks for it does not find its own.
        # Up to three times, since slots may go round in a way that keeps the two apart.
        for _ in range(1 + turn % 3 if reused < REUSED else 1):
            answer, details = attacked.attack(finder, f"find {secret[::-1]}")
            found |= words(answer)
            reused += slot(details) in planted_in
            shared |= before & namespaces(details)
            if found != {"none"} or secret in details:
                break
        if found != {"none"} or secret in details or (turn + 1 >= ROUNDS and reused >= REUSED):
            break
    answer = "|".join(sorted(found))
    told = f"{turn + 1} rounds, in {reused} a slot of the other; {len(shared)} namespaces by number; {details}"
    judge(f"8-leftovers-of-{who.replace(' ', '-')}", kind, answer, told,
          found == {"none"} and secret not in details, TRIED[who], 8)
    if who == "another instance":
        assert reused == 0 and not shared, told
    else:
        assert reused >= REUSED, told


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_found_by_the_same_instance(attacked, pair, kind):
    """Else that nothing is found would say nothing."""
    secret = secrets.token_hex(16)
    pair(kind, "10m", first={"PLANTED": secret})
    assert attacked.attack("first", f"plant {secret}")[0] == "planted"
    answer, detail = attacked.attack("first", f"find {secret[::-1]}")
    for where in ("the secret in files", "in memory", "in open files", "in what processes tell", "in shared memory"):
        assert f"{where}: secret" in detail, detail
    for where in ("files", "IPC", "sockets", "environment", "processes"):
        assert f"; {where}: found" in f"; {detail}", detail
