"""From one instance at the processes of another function's, which holds a secret and counts: it is told by the
numbers that the host has for them, and none of them may be there for the attacker."""

import os
import re
import secrets
import shutil
import signal
from pathlib import Path

import pytest
from cases import CASES, FORK, contained, words
from conftest import FUNCTIONS
from neighbour import processes_of

PLACES = ("folder", "image as root", "image as 1000", FORK)
# Attacks of the C program → what they try here.
AIMED = {
    "ptrace": "trace processes", "process_vm": "read and write the memory of processes",
    "pidfd_getfd": "pidfd_getfd and kcmp of processes", "kill-all": "kill(-1) at processes",
    "kill-host": "five ways to kill processes", "process-settings": "limits, priority, affinity of processes",
}
CASE = {case.name: case for case in CASES}
NAME = f"held-{os.getpid()}"


def number_inside(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^NSpid:.*\s(\d+)$", text, re.M)[1])


class Held:
    """An instance that runs as long as the tests of this file."""

    def __init__(self, server):
        self.server = server
        self.hold()
        # Pid 1, and the one that counts.
        self.pids = sorted(processes_of(NAME), key=number_inside)

    def hold(self):
        self.secret = f"held-{secrets.token_hex(16)}"
        assert self.server.attack(NAME, f"hold {self.secret}")[0] == "holding"

    def state(self):
        """What it says of itself, and whether its processes are still the same."""
        answer, detail = self.server.attack(NAME, f"still-held {self.secret}")
        same = set(processes_of(NAME)) == set(self.pids)
        return answer if same else f"{answer}|other processes", detail


@pytest.fixture(scope="module")
def held(attacked, program, tmp_path_factory):
    folder = tmp_path_factory.mktemp(NAME)
    (folder / "code").mkdir()
    shutil.copy(program, folder / "code/bootstrap")
    attacked.deploy_manifest(folder, {"services": {NAME: {"build": "./code", "x-rouse": {
        "runtime": "provided", "memory": "64M", "timeout": "10s",
        "concurrency": {"min": 1, "max": 1, "keep_alive": "10m"}}}}})
    here = Held(attacked)
    assert len(here.pids) == 2, here.pids
    yield here
    attacked.client("lambda").delete_function(FunctionName=NAME)


def attack(attacked, held, place, command, request):
    if place == FORK:
        request.getfixturevalue("zygote")
    answer, detail = attacked.attack(FUNCTIONS[place], command, place)
    state, told = held.state()
    detail = f"{detail}; the other instance: {state}, {told}"
    return answer, detail, state == "whole" and held.secret not in detail


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", AIMED)
def test_at_another_instance(attacked, judge, held, name, place, request):
    case = CASE[name]
    answers, details, whole = [], [], True
    for pid in held.pids:
        answer, detail, unharmed = attack(attacked, held, place, case.command(pid=pid), request)
        answers.append(answer)
        details.append(detail)
        whole = whole and unharmed
    answer = "|".join(sorted(set("|".join(answers).split("|"))))
    judge(f"4-across-{name}", place, answer if whole else f"{answer}|harmed", "; ".join(details),
          whole and contained(case, answer), f"{AIMED[name]} of another function's instance", 4)


@pytest.mark.parametrize("place", PLACES)
def test_another_instance_is_not_there(attacked, judge, held, place, request):
    command = " ".join(["neighbours", *map(str, held.pids)])
    answer, detail, whole = attack(attacked, held, place, command, request)
    judge("4-across-sight", place, answer, detail, whole and words(answer) == {"ESRCH", "ENOENT"},
          "processes of another function's instance by the host's numbers", 4)


@pytest.mark.parametrize("what", ["signalled", "stopped", "changed"])
def test_the_other_instance_tells(held, what):
    """Else that it is whole would say nothing. The last test here: it is not whole any more."""
    if what == "signalled":
        os.kill(held.pids[-1], signal.SIGURG)
    elif what == "stopped":
        os.kill(held.pids[-1], signal.SIGSTOP)
    else:
        held.secret += "x"
    assert what in words(held.state()[0])
    if what == "stopped":
        os.kill(held.pids[-1], signal.SIGCONT)
