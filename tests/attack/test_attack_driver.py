"""The attacks of the C program from inside of containers that the driver `docker` makes: hardened, but
without user ids of their own."""

import e2e
import pytest
from cases import CASES, DRIVEN, contained, words
from conftest import FUNCTIONS, Attacked, deploy_attacks, judging, named
from report import Report
from test_attack_floods import FLOODS

MANIFEST = """
name: driven
services:
  folder:
    build: ./folder
    x-rouse: {runtime: provided, memory: 256M, timeout: 60s, pids: 128, files: 256, concurrency: {max: 1}}
  flood:
    build: ./folder
    x-rouse: {runtime: provided, memory: 128M, timeout: 20s, pids: 128, files: 256, concurrency: {max: 1}}
  root:
    image: attack/root:1
    x-rouse: {memory: 256M, timeout: 60s, pids: 128, files: 256, concurrency: {max: 1}}
  user:
    image: attack/user:1
    x-rouse: {memory: 256M, timeout: 60s, pids: 128, files: 256, concurrency: {max: 1}}
"""
ZYGOTE = """
name: driven-zygote
services:
  zygote:
    build: ./folder
    x-rouse: {runtime: python3.11, handler: app.handler, snapshot: init}
"""
# What a container tells that a sandbox does not, and why.
DIFFERENT = {"2-host-paths": "mountinfo names the folders that Docker mounts from"}
# Those whose bound is Docker's to keep.
CAPPED = ("fork-bomb", "heap", "memfd", "tmpfs", "shm", "inodes", "open-files", "kernel-buffers")


@pytest.fixture(scope="module")
def driven_report(docker):
    kept = Report("driver")
    kept.version = docker("version", "--format", "{{.Server.Version}}").strip()
    yield kept
    kept.save()


@pytest.fixture(scope="module")
def driven(tmp_path_factory, host, program, docker):
    options = ["--driver", "docker", "--docker-host", docker.host]
    server = Attacked(tmp_path_factory.mktemp("driven") / "data", options).start()
    deploy_attacks(server, tmp_path_factory.mktemp("containers"), program, MANIFEST)
    yield server
    server.stop()


@pytest.fixture
def judge_driven(host, driven_report, driven, docker):
    # The engine's own mounts are no damage; all others are.
    host.engine = docker.folder
    return judging(host, driven_report, driven)


def parameters():
    for case in CASES:
        for place in DRIVEN:
            if place in case.places:
                yield pytest.param(case, place, id=f"{case.id}-{place.replace(' ', '-')}")


@pytest.mark.parametrize("case,place", list(parameters()))
def test_contained(driven, host, judge_driven, case, place):
    answer, detail = driven.attack(FUNCTIONS[place], case.command(**named(host, driven.data)), place)
    held, different = contained(case, answer), DIFFERENT.get(case.id)
    judge_driven(case.id, place, answer, detail, held, case.tried, case.group, different=different)


@pytest.mark.parametrize("name", CAPPED)
def test_flood(driven, judge_driven, name):
    tried, command, stated = FLOODS[name]
    answer, detail = driven.attack("flood", command)
    held = words(answer) <= set(stated.split())
    judge_driven(f"6-{name}", "folder", answer, detail, held, tried, 6)
    # The next call has a container that works.
    e2e.wait_for("the next call", lambda: driven.attack("flood", "status")[0] == "as stated", timeout=60)


def test_a_zygote_is_refused(driven, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/app.py").write_text("def handler(event, context): return 1\n")
    (tmp_path / "compose.yaml").write_text(ZYGOTE)
    done = driven.rouse("deploy", cwd=tmp_path, check=False)
    assert done.returncode != 0 and "cannot fork a container" in done.stderr
