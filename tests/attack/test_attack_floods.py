"""Using up what all share: capped or killed, recorded, and a neighbour and the control plane go on.

The neighbour's p99 against its own just before is measured, printed and reported, best of three; by
itself it fails nothing, but the table says where it is over twice. Failed calls of the neighbour fail, and a
control plane that takes a second or more; an attempt with neither is kept before one with, whatever its p99."""

import os

import e2e
import pytest
from cases import words
from neighbour import during, processes_of

MIB = 1 << 20
PLACE = "folder"
# name → what is tried, the command, the answers that count as contained.
FLOODS = {
    "fork-bomb": ("fork 2 000 processes", "fork-bomb", "capped"),
    "spin": ("16 processes that compute", "spin 2", "ran"),
    "heap": ("1 GiB of heap", "heap", "out_of_memory capped"),
    "memfd": ("1 GiB of memfd", "memfd", "out_of_memory capped"),
    "tmpfs": ("1 GiB in `/tmp`", "tmpfs", "out_of_memory capped"),
    "shm": ("1 GiB in `/dev/shm`", "shm", "out_of_memory capped"),
    "inodes": ("150 000 files in `/tmp`", "inodes", "out_of_memory capped"),
    "open-files": ("70 000 open files", "open-files", "capped"),
    "kernel-buffers": ("200 pairs of full pipes and sockets", "kernel-buffers", "out_of_memory capped"),
    "log-line": ("1 GiB of log without a line's end", "log-line 1024", "taken timed_out"),
    "endless-response": ("a response of 4 GiB", "endless-response", "response_too_large"),
    "headers": ("10 000 headers in a response", "headers", "400 413 431 closed"),
}
ATTEMPTS = 3
# Milliseconds.
SLOW = 1000


@pytest.fixture
def flood(attacked, program, tmp_path):
    """A function of its own for each flood, removed afterwards."""
    (tmp_path / "code").mkdir()
    code = tmp_path / "code/bootstrap"
    os.link(program, code)
    settings = {"runtime": "provided", "memory": "128M", "timeout": "10s", "pids": 128, "files": 256,
                "concurrency": {"max": 1}}

    def deployed(**more):
        attacked.deploy_manifest(tmp_path, {"services": {
            "flood": {"build": "./code", "x-rouse": {**settings, **more}}}})
        return "flood"

    yield deployed
    attacked.client("lambda").delete_function(FunctionName="flood")


def attempt(server, command):
    """Watches up to three times; keeps the attempt that went on as it should, and of those the one that the
    neighbour felt least."""
    kept = []
    for _ in range(ATTEMPTS):
        alone, watch, answers = during(server, lambda: server.attack("flood", command))
        ratio = watch.p99 / alone.p99
        kept.append((not went_on(alone, watch), ratio, alone, watch, answers))
        if went_on(alone, watch) and ratio <= 2:
            break
    return min(kept, key=lambda one: one[:2])[1:]


def went_on(alone, watch):
    """No call of the neighbour failed, and the control plane answered within a second."""
    return not alone.failed and not watch.failed and max(watch.control) < SLOW


def verdict(judge, name, tried, contained, best, place=PLACE):
    ratio, alone, watch, answers = best
    got = {word for answer, _ in answers for word in words(answer)}
    slowest = max(watch.control)
    measured = (f"neighbour's p99 {watch.p99:.1f} ms, {ratio:.1f} times {alone.p99:.1f} ms before; "
                f"{len(watch.times)} calls, {len(watch.failed)} failed; control plane {slowest:.0f} ms at most")
    print(f"{name}: {measured}")
    held = got <= set(contained.split()) and went_on(alone, watch)
    judge(f"6-{name}", place, "|".join(sorted(got)), f"{measured}; {answers[-1][1][:300]}", held, tried, 6,
          ratio=round(ratio, 2), control=round(slowest))


@pytest.mark.parametrize("name", FLOODS)
def test_flood(attacked, judge, flood, name):
    tried, command, contained = FLOODS[name]
    flood()
    best = attempt(attacked, command)
    run = attacked.last_run("flood")
    logs = sum(p.stat().st_size for p in (attacked.data / "logs").rglob("*flood*/*"))
    assert logs < 40 * MIB
    ended = {"succeeded"} | set(contained.split())
    assert run["ending"] in ended, run
    verdict(judge, name, tried, contained, best)


def test_a_call_that_is_deaf_to_signals(attacked, judge, flood):
    flood(timeout="500ms")
    best = attempt(attacked, "deaf 600")
    assert attacked.last_run("flood")["ending"] == "timed_out"
    e2e.wait_for("the deaf instance to be gone", lambda: not processes_of("flood"))
    verdict(judge, "deaf", "a call that ignores SIGTERM and sleeps", "timed_out", best)


def test_a_daemon_that_outlives_its_call(attacked, judge, flood):
    flood(concurrency={"max": 1, "keep_alive": "1s"})
    best = attempt(attacked, "daemon 600")
    assert len(processes_of("flood")) >= 2
    e2e.wait_for("the daemon to go with its instance", lambda: not processes_of("flood"))
    verdict(judge, "daemon", "children with a session of their own that compute after their call",
            "started EAGAIN", best)
