"""The same functions with each driver, and what Docker Engine has of them."""

import json
import os
import stat
import subprocess

import pytest
from conftest import PYTHON_RUNTIME, Server, wait_for

# Tells what it was woken by, how the platform's own door answers it, and of itself.
COPY = """
import os, urllib.request
def handler(event, context):
    if event.get('fail'): raise ValueError('no photo')
    if event.get('leave'): os._exit(7)
    if event.get('fill'): return len(bytearray(1 << 30))
    print('working', os.environ['COLOUR'])
    for record in event.get('Records', []):
        door = urllib.request.urlopen(os.environ['AWS_ENDPOINT_URL'] + '/_rouse/health')
        print('woken by', record['s3']['object']['key'], 'door', door.status)
    return {'colour': os.environ['COLOUR'], 'pid': os.getpid()}
"""

SERVER = """
require('node:http').createServer((request, response) => {
  response.end(JSON.stringify({ path: request.url }));
}).listen(process.env.PORT);
"""

MANIFEST = """
x-rouse: {buckets: {incoming: {}}}
services:
  copy:
    build: ./copy
    environment: {COLOUR: green}
    x-rouse:
      runtime: python3.11
      handler: app.handler
      memory: 256M
      timeout: 30s
      triggers: [{bucket: incoming, events: ["s3:ObjectCreated:*"]}]
      DRIVER
  web:
    build: ./web
    command: [node, server.js]
    x-rouse: {runtime: nodejs20.x, contract: http, timeout: 30s, DRIVER}
"""


def folder_with(tmp_path, driver=""):
    for name, file, text in (("copy", "app.py", COPY), ("web", "server.js", SERVER)):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / file).write_text(text)
    manifest = MANIFEST.replace(", DRIVER}", f", driver: {driver}}}" if driver else "}")
    return manifest.replace("DRIVER", f"driver: {driver}" if driver else "")


def containers(docker, server):
    """Names of the server's containers, running or not."""
    mine = f"label=rouse.data={server.data.resolve()}/runtime/docker"
    return docker("ps", "--all", "--filter", mine, "--format", "{{.Names}}").split()


@pytest.fixture(scope="module", params=["sandbox", "docker"])
def driven(request, docker, tmp_path_factory):
    """A server with that driver for everything."""
    options = ["--driver", request.param, "--docker-host", docker.host]
    running = Server(tmp_path_factory.mktemp("driven") / "data", options).start()
    yield running
    running.stop()
    assert containers(docker, running) == []


def test_functions_work_with_either(driven, tmp_path):
    driven.deploy(tmp_path, folder_with(tmp_path))
    error, told, tail = driven.invoke("copy", {})
    assert (error, told["colour"]) == (None, "green")
    assert "working green" in tail
    status, _, body = driven.http("GET", "/fn/web/a?b=c")
    assert (status, json.loads(body)) == (200, {"path": "/a?b=c"})
    driven.client("s3").put_object(Bucket="incoming", Key="photo", Body=b"x")
    wait_for("the event", lambda: "woken by photo door 200" in driven.rouse("logs", "copy").stdout)


def test_failures_are_told_alike(driven, tmp_path):
    driven.deploy(tmp_path, folder_with(tmp_path))
    for event, kind in (
        ({"fail": 1}, "ValueError"),
        ({"leave": 1}, "Runtime.ExitError"),
        ({"fill": 1}, "Runtime.OutOfMemory"),
    ):
        error, told, _ = driven.invoke("copy", event)
        assert (error, told["errorType"]) == ("Unhandled", kind)
    assert driven.invoke("copy", {})[0] is None


TELL = """
import http.server, json, os
def tell():
    with open("/run/secrets/key") as file:
        return {"key": file.read(), "mode": oct(os.stat(file.name).st_mode & 0o777), "app": open("/etc/app.conf").read()}
def handler(event, context):
    return tell()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(tell()).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"""

SECRETS = """
name: files
services:
  tell:
    build: ./tell
    secrets: [{source: key, mode: 0400}]
    configs: [{source: app, target: /etc/app.conf}]
    x-rouse: {runtime: python3.11, handler: app.handler, timeout: 30s}
  web:
    build: ./tell
    command: [python3.11, app.py]
    x-rouse-base: python3.11
    expose: ["8080"]
    secrets: [{source: key, mode: 0400}]
    configs: [{source: app, target: /etc/app.conf}]
    volumes: ["records:/data"]
volumes: {records: }
secrets: {key: {external: true}}
configs: {app: {content: blue}}
"""
OLD, NEW = "uv7Zk2-old-value", "qX94r-new-value"


def test_secrets_are_files_and_followed(driven, docker, tmp_path):
    (tmp_path / "tell").mkdir()
    (tmp_path / "tell/app.py").write_text(TELL)
    driven.rouse("secret", "set", "key", input=OLD)
    driven.deploy(tmp_path, SECRETS)

    def web():
        status, _, body = driven.http("GET", "/svc/web/")
        return json.loads(body) if status == 200 else None

    told = {"key": OLD, "mode": "0o400", "app": "blue"}
    assert driven.invoke("tell", {})[:2] == (None, told)
    wait_for("the service", lambda: web() == told)
    names = containers(docker, driven)
    shown = docker("inspect", *names) if names else ""
    driven.rouse("secret", "set", "key", input=NEW)
    told = {**told, "key": NEW}
    assert driven.invoke("tell", {})[:2] == (None, told)
    wait_for("the service's new value", lambda: web() == told)
    names = containers(docker, driven)
    shown += docker("inspect", *names) if names else ""
    for folder in (driven.data, docker.folder):
        for value in (OLD, NEW):
            found = subprocess.run(["grep", "-rlaF", value, folder], capture_output=True, text=True)
            assert found.stdout == "" and value not in shown, found.stdout
    assert not os.listdir(driven.data / "memory"), "only the server sees what is in memory"
    volume = os.stat(driven.data / "volumes/records")
    assert stat.S_IMODE(volume.st_mode) == 0o700 and volume.st_uid != 0


CHOICE = """
name: choice
services:
  one:
    build: ./tell
    command: [python3.11, -m, http.server, "8080"]
    x-rouse-base: python3.11
    x-rouse-driver: docker
    expose: ["8080"]
  two:
    build: ./tell
    command: [python3.11, -m, http.server, "8081"]
    x-rouse-base: python3.11
    expose: ["8081"]
  three:
    build: ./tell
    x-rouse: {runtime: python3.11, handler: app.handler, timeout: 30s, driver: docker}
"""


def test_a_service_chooses_and_it_is_seen(docker, tmp_path):
    server = Server(tmp_path / "data", ["--docker-host", docker.host]).start()
    try:
        (tmp_path / "tell").mkdir()
        (tmp_path / "tell/app.py").write_text("def handler(event, context): return 3\n")
        server.deploy(tmp_path, CHOICE)
        assert server.invoke("three", {})[:2] == (None, 3)
        chosen = {"one": "docker", "two": "sandbox", "three": "docker"}
        for name in ("one", "two"):
            wait_for(name, lambda name=name: server.http("GET", f"/svc/{name}/")[0] == 200)
        assert {one["owner"]["name"]: one["driver"] for one in server.rouse_json("ps")} == chosen
        for command in (("ps",), ("ls",)):
            shown = server.rouse(*command).stdout.splitlines()
            for name, driver in chosen.items():
                assert any(name in line and driver in line for line in shown), (command, shown)
        assert server.rouse_json("ls")["drivers"] == {"default": "sandbox", "docker_host": docker.host}
        assert "docker" in server.rouse("versions", "three").stdout
        assert server.rouse_json("versions", "three")["drivers"]["default"] == "sandbox"
        assert len(containers(docker, server)) == 2
        [engine] = [one for one in server.rouse_json("doctor") if one["what"].startswith("Docker")]
        assert engine["standing"] == "ok" and docker.host in engine["detail"] and "API 1." in engine["detail"]
        done = server.rouse("doctor", "--json", "--docker-host", "unix:///no/such.sock")
        [engine] = [one for one in json.loads(done.stdout) if one["what"].startswith("Docker")]
        assert engine["standing"] == "degraded" and "apt-get install docker.io" in engine["detail"]
        changed = CHOICE.replace("    x-rouse-driver: docker\n", "")
        server.deploy(tmp_path, changed)
        wait_for("the sandbox", lambda: len(containers(docker, server)) == 1)
        wait_for("one", lambda: server.http("GET", "/svc/one/")[0] == 200)
    finally:
        server.stop()
    assert containers(docker, server) == []


def test_a_function_chooses_and_is_paused_while_idle(docker, tmp_path):
    server = Server(tmp_path / "data", ["--docker-host", docker.host]).start()
    try:
        chosen = folder_with(tmp_path, "docker").replace("memory: 256M", "concurrency: {freeze_after: 0s}")
        server.deploy(tmp_path, chosen)
        server.create("plain", PYTHON_RUNTIME, {"app.py": "def handler(e, c): return 'plain'\n"}, Timeout=30)
        assert server.invoke("plain")[1] == "plain"
        assert containers(docker, server) == []
        first = server.invoke("copy", {})[1]["pid"]
        [name] = containers(docker, server)
        paused = ["--format", "{{.State.Paused}}"]
        wait_for("the pause", lambda: docker("inspect", *paused, name).strip() == "true")
        assert server.invoke("copy", {})[1]["pid"] == first
        assert containers(docker, server) == [name]
    finally:
        server.stop()
    assert containers(docker, server) == []


def test_a_killed_server_leaves_orphans_and_the_next_one_removes_them(docker, tmp_path):
    server = Server(tmp_path / "data", ["--driver", "docker", "--docker-host", docker.host]).start()
    try:
        server.deploy(tmp_path, folder_with(tmp_path))
        assert server.invoke("copy", {})[0] is None
        before = containers(docker, server)
        assert before
        server.kill()
        assert set(before) <= set(containers(docker, server))
        server.start()
        assert not set(before) & set(containers(docker, server))
        assert server.invoke("copy", {})[0] is None
    finally:
        server.stop()
    assert containers(docker, server) == []


def test_what_docker_cannot_do_is_refused_at_deploy(own_server, tmp_path):
    (tmp_path / "compose.yaml").write_text(folder_with(tmp_path, "docker"))
    done = own_server.rouse("deploy", cwd=tmp_path, check=False)
    # Nobody is there: the server has the usual address, and there is no engine of the machine's.
    assert done.returncode != 0 and "Docker Engine" in done.stderr
    once = folder_with(tmp_path, "docker").replace("memory: 256M", "snapshot: init")
    (tmp_path / "compose.yaml").write_text(once)
    done = own_server.rouse("deploy", cwd=tmp_path, check=False)
    assert done.returncode != 0 and "cannot fork a container" in done.stderr
