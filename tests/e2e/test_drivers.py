"""The same functions with each driver, and what Docker Engine has of them."""

import json

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
