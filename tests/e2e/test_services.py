"""Resident services: replicas, health, restarts, volumes, names, the HTTP route."""

import json
import os
import signal

import pytest
from conftest import PYTHON_RUNTIME, wait_for

SERVER = """
import http.server, json, os, socket, urllib.request

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/health":
            return self.answer(500 if os.path.exists("/tmp/ill") else 200, {})
        if self.path == "/ill":
            open("/tmp/ill", "w").close()
            return self.answer(200, {})
        if self.path == "/exit":
            os._exit(7)
        if self.path == "/count":
            with open("/data/count", "a+") as kept:
                kept.write("x")
                kept.flush()
                os.fsync(kept.fileno())
                kept.seek(0)
                return self.answer(200, {"count": len(kept.read())})
        if self.path.startswith("/ask/"):
            with urllib.request.urlopen("http://" + self.path[5:], timeout=10) as other:
                return self.answer(200, json.load(other))
        self.answer(200, {"host": socket.gethostname(), "path": self.path, "pid": os.getpid(),
                          "greeting": os.environ.get("GREETING"), "headers": dict(self.headers)})

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"""

MANIFEST = """
name: services
services:
  counter:
    build: ./web
    x-rouse-base: python3.11
    command: [python3.11, web.py]
    environment: [GREETING=hello]
    expose: ["8080"]
    volumes: ["kept:/data"]
    x-rouse-health: {path: /health}
    healthcheck: {interval: 300ms, timeout: 1s, retries: 2, start_period: 5s}
  pair:
    build: ./web
    x-rouse-base: python3.11
    command: [python3.11, web.py]
    expose: ["9090"]
    deploy: {replicas: 2}
  asks:
    build: ./asks
    x-rouse: {runtime: python3.11, handler: app.handler, timeout: 20s}
volumes:
  kept: {}
"""

ASKS = """
import json, urllib.request
def handler(e, c):
    with urllib.request.urlopen(e["url"], timeout=10) as answer:
        return json.load(answer)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("services")
    for name, code in (("web/web.py", SERVER), ("asks/app.py", ASKS)):
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).write_text(code)
    return made


@pytest.fixture(scope="module")
def deployed(server, folder):
    server.deploy(folder, MANIFEST)
    return server


def get(server, path):
    status, _, body = server.http("GET", path)
    return status, json.loads(body)


def replicas(server, name):
    [found] = [s for s in server.control("services") if s["service"]["spec"]["name"] == name]
    return found["replicas"]


def test_the_route_reaches_the_service(deployed):
    status, answer = get(deployed, "/svc/counter/some/where?a=b")
    assert status == 200
    assert answer["path"] == "/some/where?a=b"
    assert answer["greeting"] == "hello"
    assert answer["pid"] == 1
    assert "authorization" not in {name.lower() for name in answer["headers"]}


def test_nobody_gets_in_without_the_token(deployed):
    for path in ("/svc/counter/", "/fn/asks/", "/_rouse/v1/functions", "/_rouse/v1/logs?key=function:asks"):
        status, _, _ = deployed.http("GET", path, token=False)
        assert status in (401, 403), path
        headers = {"Authorization": "Bearer " + "x" * 49}
        assert deployed.http("GET", path, headers=headers, token=False)[0] in (401, 403)
    assert deployed.http("GET", "/_rouse/health", token=False)[0] == 200


def test_replicas_take_turns(deployed):
    wait_for("both replicas", lambda: all(r["state"] == "healthy" for r in replicas(deployed, "pair")))
    assert len(replicas(deployed, "pair")) == 2
    hosts = {get(deployed, "/svc/pair/")[1]["host"] for _ in range(8)}
    assert len(hosts) == 2


def test_a_function_reaches_a_service_by_its_name(deployed):
    assert deployed.invoke("asks", {"url": "http://counter:8080/by-name"})[1]["path"] == "/by-name"


def test_a_service_reaches_another_by_its_name(deployed):
    status, answer = get(deployed, "/svc/counter/ask/pair:9090/other")
    assert (status, answer["path"]) == (200, "/other")


def test_a_service_that_exits_is_started_again_and_keeps_its_volume(deployed):
    assert get(deployed, "/svc/counter/count")[1]["count"] == 1
    before = replicas(deployed, "counter")[0]["restarts"]
    deployed.http("GET", "/svc/counter/exit")
    wait_for("the restart", lambda: replicas(deployed, "counter")[0]["restarts"] > before)
    wait_for("its health", lambda: replicas(deployed, "counter")[0]["state"] == "healthy")
    assert "7" in (replicas(deployed, "counter")[0]["last_exit"] or "")
    assert get(deployed, "/svc/counter/count")[1]["count"] == 2


def test_a_service_that_is_killed_is_started_again(deployed):
    before = replicas(deployed, "counter")[0]["restarts"]
    [pid] = [i["pid"] for i in deployed.control("instances") if i["owner"]["name"] == "counter"]
    os.kill(pid, signal.SIGKILL)
    wait_for("the restart", lambda: replicas(deployed, "counter")[0]["restarts"] > before)
    wait_for("its health", lambda: replicas(deployed, "counter")[0]["state"] == "healthy")


def test_a_service_that_is_ill_is_started_again(deployed):
    before = replicas(deployed, "counter")[0]["restarts"]
    get(deployed, "/svc/counter/ill")
    wait_for("the restart", lambda: replicas(deployed, "counter")[0]["restarts"] > before)
    wait_for("its health", lambda: replicas(deployed, "counter")[0]["state"] == "healthy")


def test_a_service_that_always_ends_backs_off(deployed, tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web/web.py").write_text("raise SystemExit('out of paper')\n")
    (tmp_path / "compose.yaml").write_text(
        "services:\n  ends:\n    build: ./web\n    x-rouse-base: python3.11\n"
        "    command: [python3.11, web.py]\n    expose: ['8080']\n"
    )
    deployed.rouse("deploy", "--no-wait", cwd=tmp_path)
    wait_for("restarts", lambda: replicas(deployed, "ends")[0]["restarts"] >= 2)
    wait_for("backing off", lambda: replicas(deployed, "ends")[0]["state"] == "backing_off")
    assert "out of paper" in deployed.rouse("logs", "ends").stdout
    status, answer = get(deployed, "/svc/ends/")
    assert status in (502, 503) and "ends" in json.dumps(answer)
    deployed.rouse("rm", "service/ends", "--yes")


def test_a_function_has_a_route(deployed):
    code = "def handler(e, c):\n    return {'statusCode': 201, 'headers': {'x-seen': e['rawPath']}, 'body': e['body']}\n"
    deployed.create("routed", PYTHON_RUNTIME, {"app.py": code})
    status, headers, body = deployed.http("POST", "/fn/routed/a/b", body=b"hi", headers={"content-type": "text/plain"})
    assert (status, body) == (201, b"hi")
    assert {k.lower(): v for k, v in headers.items()}["x-seen"].endswith("/a/b")


def test_a_function_that_serves_http(deployed, folder, tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web/web.py").write_text(SERVER)
    deployed.deploy(
        tmp_path,
        "services:\n  plain:\n    build: ./web\n    command: [python3.11, web.py]\n"
        "    x-rouse: {runtime: python3.11, contract: http}\n",
    )
    status, answer = get(deployed, "/fn/plain/x/y?z=1")
    assert status == 200 and answer["path"].endswith("/x/y?z=1")


def test_a_removed_service_is_gone_and_its_volume_stays(deployed, folder):
    deployed.rouse("rm", "service/counter", "--yes")
    assert get(deployed, "/svc/counter/")[0] == 404
    wait_for(
        "its instance to be gone",
        lambda: "counter" not in {i["owner"]["name"] for i in deployed.control("instances")},
    )
    deployed.deploy(folder, MANIFEST)
    assert get(deployed, "/svc/counter/count")[1]["count"] >= 3
