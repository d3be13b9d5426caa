"""rouse itself: a release server in a folder of its own, with the functions to measure."""

import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from wire import Connection

REPO = Path(__file__).resolve().parents[1]
ROUSE = REPO / "target/release/rouse"

PYTHON = "def handler(event, context):\n    return 'ok'\n"
NODE = "exports.handler = async () => 'ok';\n"

MANIFEST = """
name: bench
services:
  static:
    build: ./static
    x-rouse: {runtime: provided, timeout: 20s, concurrency: {keep_alive: 0s}}
  python:
    build: ./python
    x-rouse: {runtime: python3.11, handler: app.handler, timeout: 20s, concurrency: {keep_alive: 0s}}
  node:
    build: ./node
    x-rouse: {runtime: nodejs20.x, handler: app.handler, timeout: 20s, concurrency: {keep_alive: 0s}}
  warm-lambda:
    build: ./static
    x-rouse: {runtime: provided, timeout: 20s, concurrency: {keep_alive: 600s}}
  warm-http:
    build: ./static
    command: [/var/task/bootstrap]
    x-rouse: {runtime: provided, contract: http, timeout: 20s, concurrency: {keep_alive: 600s, max: 4}}
"""


class Rouse:
    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder = Path(tempfile.mkdtemp(prefix="rouse-bench-"))
        self.data = self.folder / "data"
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(
            [ROUSE, "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )
        self.wait_until_it_answers()
        self.token = json.loads((self.data / "credentials.json").read_text())["token"]
        self.deploy()

    def wait_until_it_answers(self):
        for _ in range(600):
            if self.process.poll() is not None:
                raise SystemExit((self.folder / "log").read_text())
            try:
                Connection(("127.0.0.1", self.port)).call("GET", "/_rouse/health")
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("rouse does not answer: " + (self.folder / "log").read_text())

    def deploy(self):
        for name in ("static", "python", "node"):
            (self.folder / name).mkdir()
        shutil.copy(REPO / ".cache/bench/handler", self.folder / "static/bootstrap")
        (self.folder / "python/app.py").write_text(PYTHON)
        (self.folder / "node/app.js").write_text(NODE)
        (self.folder / "compose.yaml").write_text(MANIFEST)
        subprocess.run(
            [ROUSE, "deploy", "--data", self.data], cwd=self.folder, check=True, stdout=subprocess.DEVNULL
        )

    def connect(self):
        return Connection(("127.0.0.1", self.port), {"Authorization": f"Bearer {self.token}"})

    def instances(self, connection, name):
        found = connection.json("GET", "/_rouse/v1/instances")
        return [one for one in found if one["owner"]["name"] == name]

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        self.log.close()
        shutil.rmtree(self.folder)


def environment():
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp"}


def commands():
    """The same programs for peers that start a command: what it runs until its first output."""
    return {
        "static": ["/handler"],
        "python": ["/usr/bin/python3.11", "-c", "import json\n" + PYTHON + "print(handler({}, None))"],
        "node": ["/usr/bin/node", "-e", NODE + "exports.handler().then((answer) => console.log(answer));"],
    }
