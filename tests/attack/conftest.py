"""The host with its canaries, the server that is attacked, and the functions that attack."""

import base64
import json
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest

import canaries
import cases
import e2e
import images
from report import Report

HERE = Path(__file__).parent
# A private Docker Engine.
docker = e2e.conftest.docker
# Before any thread is started.
canaries.own_mount_namespace()

MANIFEST = """
name: attack
services:
  folder:
    build: ./folder
    x-rouse: {runtime: provided, memory: 256M, timeout: 60s, pids: 128, files: 256, concurrency: {max: 4}}
  root:
    image: attack/root:1
    x-rouse: {memory: 256M, timeout: 60s, pids: 128, files: 256, concurrency: {max: 4}}
  user:
    image: attack/user:1
    x-rouse: {memory: 256M, timeout: 60s, pids: 128, files: 256, concurrency: {max: 4}}
  neighbour:
    build: ./folder
    x-rouse: {runtime: provided, memory: 64M, timeout: 10s, concurrency: {min: 1, max: 1}}
"""
ZYGOTE_MANIFEST = """
name: attack-zygote
services:
  zygote:
    build: ./zygote
    x-rouse:
      {runtime: python3.11, handler: app.handler, snapshot: init, memory: 256M, timeout: 60s, pids: 128,
       files: 256, concurrency: {max: 4}}
"""
# Its initialisation, which runs in the zygote, attacks with every command; a call attacks with its own.
ZYGOTE_HANDLER = """
import json, subprocess
def attack(command):
    done = subprocess.run(["./attack", *command.split()], capture_output=True, text=True)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return {"answer": f"exit status {done.returncode}", "detail": done.stdout + done.stderr}
with open("commands.json") as commands:
    THERE = {command: attack(command) for command in json.load(commands)}
def handler(event, context):
    return THERE[event["there"]] if "there" in event else attack(event["here"])
"""
FUNCTIONS = {"folder": "folder", "image as root": "root", "image as 1000": "user",
             cases.FORK: "zygote", cases.ZYGOTE: "zygote"}


def pytest_addoption(parser):
    parser.addoption("--start", choices=("root", "rootless"), default="root",
                     help="who starts the server: root, or an ordinary user")


@pytest.fixture(scope="session")
def rootless(pytestconfig):
    return pytestconfig.getoption("--start") == "rootless"


@pytest.fixture(scope="session")
def report(rootless):
    kept = Report("rouse-rootless" if rootless else "rouse")
    yield kept
    kept.save()


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """The attacks, compiled into one static program."""
    return e2e.compile_attacks(tmp_path_factory.mktemp("program") / "attack")


@pytest.fixture(scope="session")
def host():
    if not e2e.ROUSE.exists():
        pytest.exit(f"{e2e.ROUSE} is missing: run ./test, which builds it", 2)
    canary = canaries.Host(e2e.ROUSE)
    e2e.use(canary.binary)
    yield canary
    canary.remove()


class Attacks:
    """How attacks are run in the instances of a server."""

    def call(self, function, payload):
        """Calls; gives (ending, decoded payload or None, headers)."""
        status, headers, body = self.http(
            "POST", f"/_rouse/v1/functions/{function}/invocations?type=wait", json.dumps(payload).encode()
        )
        headers = {name.lower(): value for name, value in headers.items()}
        if status != 200:
            return f"status {status}", body.decode(errors="replace"), headers
        try:
            told = json.loads(body) if body else None
        except ValueError:
            told = body
        return headers.get("x-rouse-ending"), told, headers

    def attack(self, function, command, place=None):
        """Runs an attack: gives its answer and its detail. A call that failed answers how it ended."""
        payload = {cases.FORK: {"here": command}, cases.ZYGOTE: {"there": command}}.get(place, command)
        ending, told, headers = self.call(function, payload)
        if ending == "succeeded" and isinstance(told, dict) and "answer" in told:
            return told["answer"], told["detail"]
        tail = base64.b64decode(headers.get("x-rouse-log-tail", "")).decode(errors="replace")
        return ending, f"{str(told)[:500]} {tail[-500:]}"

    def deploy_manifest(self, folder, manifest, *options, check=True):
        """Deploys a manifest given as data; JSON is YAML."""
        (folder / "compose.yaml").write_text(json.dumps(manifest))
        return self.rouse("deploy", *options, cwd=folder, check=check)

    def shows(self, function):
        """Instances of a function."""
        return [i for i in self.control("instances") if i["owner"].get("name") == function]

    def import_image(self, archive, name, check=True):
        return self.rouse("image", "import", archive, "--name", name, check=check)


class Attacked(Attacks, e2e.Server):
    def remove(self):
        self.stop()


class AttackedRootless(Attacks, e2e.OrdinaryServer):
    pass


@pytest.fixture(scope="session")
def attacked(tmp_path_factory, host, program, rootless):
    server = AttackedRootless() if rootless else Attacked(tmp_path_factory.mktemp("attacked") / "data")
    server.start()
    deploy_attacks(server, tmp_path_factory.mktemp("functions"), program, MANIFEST)
    yield server
    server.remove()


def deploy_attacks(server, folder, program, manifest):
    """The program as the folder `folder`, and as the images `attack/root:1` and `attack/user:1`."""
    (folder / "folder").mkdir()
    shutil.copy(program, folder / "folder/bootstrap")
    for name, user in (("root", "0"), ("user", "1000:1000")):
        archive = images.image(folder / f"{name}.tar", [images.plain(program.read_bytes())], User=user)
        server.import_image(archive, f"attack/{name}:1")
    server.deploy(folder, manifest)


@pytest.fixture(scope="session")
def arguments(host, attacked):
    return named(host, attacked.data)


def named(host, data):
    """What the cases' arguments name."""
    addresses = host.addresses()
    return {
        "pid": host.pid, "file": host.file, "name": host.name, "key": host.key, "port": host.port,
        "address": addresses[0] if addresses else "192.0.2.2", "data": data,
    }


@pytest.fixture(scope="session")
def zygote(tmp_path_factory, attacked, arguments, program):
    """The function whose initialisation attacks. It is there once that is over."""
    folder = tmp_path_factory.mktemp("zygote")
    (folder / "zygote").mkdir()
    shutil.copy(program, folder / "zygote/attack")
    (folder / "zygote/app.py").write_text(ZYGOTE_HANDLER)
    commands = [case.command(**arguments) for case in cases.CASES]
    (folder / "zygote/commands.json").write_text(json.dumps(commands))
    attacked.deploy(folder, ZYGOTE_MANIFEST)
    assert attacked.attack("zygote", "privileges", cases.FORK)[0], "its initialisation is over"


def judging(host, report, server):
    """What records an attack, and fails if a canary is not whole, or it was not contained and nothing says why it
    may be so (`different`)."""

    def judged(case, place, answer, detail, held, tried="", group=0, different=None, **more):
        damage = host.damage()
        if host.secret in detail or host.secret in answer:
            damage.append("the secret was read")
        if not server.healthy():
            damage.append("the server")
        report.add(case, place, answer, held and not damage, damage, detail, tried, group, **more)
        host.touched.clear()
        assert not damage, (damage, answer, detail)
        assert held or different, (answer, detail)

    return judged


@pytest.fixture
def judge(host, report, attacked):
    return judging(host, report, attacked)
