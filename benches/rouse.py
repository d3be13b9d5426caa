"""rouse itself: a release server in a folder of its own, with the functions to measure."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import process
from programs import REPO
from wire import Connection

ROUSE = Path(os.environ.get("ROUSE_BIN", REPO / "target/release/rouse"))
# Runs that one listing gives at most.
LISTING = 1000


class Refused(Exception):
    """The server does not know what a part of the benchmark needs."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def function(program, **settings):
    """A function in a manifest, with the program's own settings and these."""
    service = {"build": f"./{program.name}"}
    if "command" in settings:
        service["command"] = settings.pop("command")
    return {**service, "x-rouse": {"timeout": "60s", **program.settings, **settings}}


class Rouse:
    """A server that runs until `stop`, or to the end of a `with` block; nothing is deployed if there are no functions."""

    def __init__(self, programs, functions, options=()):
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="rouse-bench-"))
        self.data = self.folder / "data"
        self.log = open(self.folder / "log", "wb")
        self.process = process.start(
            [ROUSE, "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}", *options], self.log
        )
        try:
            self.wait_until_it_answers()
            self.token = json.loads((self.data / "credentials.json").read_text())["token"]
            if functions:
                self.deploy(programs, functions)
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def said(self):
        return (self.folder / "log").read_text(errors="replace")[-2000:].strip()

    def wait_until_it_answers(self):
        for _ in range(600):
            if self.process.poll() is not None:
                raise Refused(f"rouse serve ended: {self.said()}")
            try:
                Connection(("127.0.0.1", self.port)).call("GET", "/_rouse/health")
                return
            except OSError:
                time.sleep(0.05)
        raise Refused(f"rouse does not answer: {self.said()}")

    def deploy(self, programs, functions):
        for program in programs:
            place = self.folder / program.name
            place.mkdir()
            for name, content in program.files.items():
                if isinstance(content, Path):
                    shutil.copy(content, place / name)
                else:
                    (place / name).write_text(content)
        (self.folder / "compose.yaml").write_text(json.dumps({"name": "bench", "services": functions}, indent=1))
        told = subprocess.run([ROUSE, "deploy", "--data", self.data], cwd=self.folder,
                              capture_output=True, text=True)
        if told.returncode != 0:
            raise Refused(f"rouse deploy: {told.stderr.strip()[-1000:]}")

    def connect(self):
        return Connection(("127.0.0.1", self.port), {"Authorization": f"Bearer {self.token}"})

    def invoke(self, connection, name, payload=b"{}"):
        """One call through the whole platform; gives the answer's headers."""
        headers, answer = connection.exchange("POST", f"/_rouse/v1/functions/{name}/invocations?type=wait", payload)
        if headers["x-rouse-ending"] != "succeeded":
            raise RuntimeError(f"{name} {headers['x-rouse-ending']}: {answer[:300]!r}")
        return headers

    def instances(self, connection, names=None):
        found = connection.json("GET", "/_rouse/v1/instances")
        return [one for one in found if names is None or one["owner"]["name"] in names]

    def wait_until_gone(self, connection, names=None, patience=60):
        """Waits until no instance of the functions is left."""
        deadline = time.monotonic() + patience
        while self.instances(connection, names):
            if time.monotonic() > deadline:
                raise RuntimeError(f"instances of {names or 'the functions'} stay")
            time.sleep(0.003)

    def wait_until_pinned(self, patience=60):
        """Waits until the runtimes' files are locked in memory, for as much as will be."""
        deadline, before = time.monotonic() + patience, 0
        while True:
            locked = sum(process.locked(pid) for pid in process.pinning(self.process.pid))
            if locked and locked == before:
                return
            if time.monotonic() > deadline:
                raise RuntimeError("the runtimes' files are not pinned in memory")
            before = locked
            time.sleep(2)

    def runs(self, connection, name, wanted):
        """The records of the calls with these request ids; they are written shortly after the call."""
        wanted = set(wanted)
        for _ in range(50):
            listed = connection.json("GET", f"/_rouse/v1/runs?target=function:{name}&limit={LISTING}")
            found = {run["request_id"]: run for run in listed if run["request_id"] in wanted}
            if len(found) >= min(len(wanted), LISTING):
                return found
            time.sleep(0.05)
        raise RuntimeError(f"{len(wanted) - len(found)} calls of {name} left no record")

    def stop(self):
        process.stop(self.process)
        self.log.close()
        process.remove(self.folder)


def version():
    return subprocess.run([ROUSE, "--version"], check=True, capture_output=True, text=True).stdout.strip()
