"""Secrets and configs: given to instances as files and variables, followed when they are set, never shown."""

import json
import os
import stat
import subprocess

import pytest
from botocore.exceptions import ClientError
from conftest import Server, wait_for

TELL = """
import os
def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        return f"{type(error).__name__}"
def handler(event, context):
    path = "/run/secrets/" + "first"
    try:
        open(path, "w"); writable = True
    except OSError:
        writable = False
    mode = os.stat(path)
    return {"first": read(path), "second": read("/run/secrets/renamed"), "app": read("/app"),
            "placed": read("/etc/shop/app.conf"), "variable": os.environ.get("TOKEN"), "writable": writable,
            "mode": oct(mode.st_mode & 0o777), "own": mode.st_uid == os.getuid(), "pid": os.getpid(),
            "at_start": AT_START, "mount": [line.split()[2] for line in open("/proc/self/mounts")
                                            if line.split()[1] == path]}
AT_START = read("/run/secrets/first")
"""

WEB = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"first": open("/run/secrets/first").read(), "token": os.environ["TOKEN"]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"""

MANIFEST = """
name: secrets
services:
  tell:
    build: ./code
    secrets: [first, {source: second, target: renamed, mode: 0400}]
    configs: [app, {source: app, target: /etc/shop/app.conf}]
    x-rouse: {runtime: python3.11, handler: app.handler, timeout: 30s, secret_environment: {TOKEN: second}}
  once:
    build: ./code
    secrets: [{source: first, mode: 0400}]
    x-rouse: {runtime: python3.11, handler: app.handler, timeout: 30s, snapshot: init}
  web:
    build: ./code
    command: [python3.11, web.py]
    x-rouse-base: python3.11
    expose: ["8080"]
    secrets: [first]
    x-rouse-secret-environment: {TOKEN: second}
secrets:
  first: {external: true}
  second: {environment: SECOND}
configs:
  app: {content: "colour = blue"}
"""

OLD, NEW, SECOND = "uv7Zk2-old-value", "qX94r-new-value", "w3Pd-in-the-environment"


def put(server, name, value):
    return server.rouse("secret", "set", name, input=value)


def said(server, name):
    error, answer, tail = server.invoke(name)
    assert error is None, (answer, tail)
    return answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "code").mkdir()
    (folder / "code/app.py").write_text(TELL)
    (folder / "code/web.py").write_text(WEB)
    (folder / "compose.yaml").write_text(MANIFEST)
    return folder


@pytest.fixture(scope="module")
def deployed(server, folder):
    missing = server.rouse("deploy", cwd=folder, check=False, env={"SECOND": SECOND})
    assert missing.returncode != 0 and 'no secret "first"' in missing.stderr, missing.stderr
    assert "compose.yaml:21:3" in missing.stderr, missing.stderr
    put(server, "first", OLD)
    for form in ((), ("--json",)):
        planned = server.rouse("deploy", "--dry-run", *form, cwd=folder, env={"SECOND": SECOND}).stdout
        assert SECOND not in planned and "tell" in planned
    told = server.rouse("deploy", cwd=folder, env={"SECOND": SECOND})
    assert SECOND not in told.stdout + told.stderr
    return server


def test_functions_and_services_are_given_them_and_follow_without_a_deployment(deployed):
    server = deployed
    put(server, "first", OLD)
    answer = said(server, "tell")
    assert answer["first"] == answer["at_start"] == OLD
    assert (answer["second"], answer["variable"]) == (SECOND, SECOND)
    assert answer["app"] == answer["placed"] == "colour = blue"
    assert (answer["writable"], answer["mode"], answer["mount"]) == (False, "0o444", ["tmpfs"])
    once = said(server, "once")
    assert (once["first"], once["at_start"], once["own"]) == (OLD, OLD, True)

    def web():
        status, _, body = server.http("GET", "/svc/web/")
        return json.loads(body) if status == 200 else None

    assert web() == {"first": OLD, "token": SECOND}
    assert "has this value already" in put(server, "first", OLD).stderr
    same = said(server, "tell")
    assert same["first"] == OLD

    put(server, "first", NEW)
    answer, once = said(server, "tell"), said(server, "once")
    assert answer["first"] == answer["at_start"] == NEW
    assert once["first"] == once["at_start"] == NEW
    wait_for("the service's new value", lambda: (web() or {}).get("first") == NEW)


def test_a_value_is_nowhere_but_in_memory(deployed):
    server = deployed
    put(server, "first", NEW)
    said(server, "tell")
    told = [
        server.rouse(*command, check=False)
        for command in (
            ["secret", "ls"], ["secret", "ls", "--json"], ["ls"], ["ps"], ["events"], ["logs", "tell"],
            ["versions", "tell"], ["secret", "show", "first"], ["secret", "set", "--help"],
        )
    ]
    shown = "".join(done.stdout + done.stderr for done in told)
    client = server.client("lambda")
    shown += str(client.get_function_configuration(FunctionName="tell"))
    shown += str(client.get_function(FunctionName="tell"))
    for path in ("functions", "services", "secrets", "configs", "instances", "runs", "metrics"):
        shown += server.http("GET", f"/_rouse/v1/{path}")[2].decode()
    shown += server.log.read_text()
    for value in (NEW, OLD, SECOND):
        assert value not in shown
        found = subprocess.run(["grep", "-rlaF", value, server.data], capture_output=True, text=True)
        assert found.stdout == "", found.stdout
    assert server.http("GET", "/_rouse/v1/secrets/first")[0] == 405
    assert "first" in shown and "readable" in shown
    key = server.data / "secrets.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not os.listdir(server.data / "memory"), "only the server sees what is in memory"


def test_configs_can_be_read_back_and_secrets_in_use_stay(deployed):
    server = deployed
    assert server.rouse("config", "show", "app").stdout == "colour = blue"
    used = server.rouse("secret", "rm", "first", check=False)
    assert used.returncode != 0 and 'uses the secret "first"' in used.stderr
    put(server, "unused", "x")
    server.rouse("secret", "rm", "unused")
    assert "unused" not in server.rouse("secret", "ls").stdout
    binary = server.http("PUT", "/_rouse/v1/secrets/second", b"\xff\xfe")
    assert binary[0] == 400 and b"mount it as a file" in binary[2]
    large = server.http("PUT", "/_rouse/v1/secrets/large", b"x" * (500 * 1024 + 1))
    assert large[0] == 413
    assert server.http("PUT", "/_rouse/v1/secrets/-bad", b"x")[0] == 400
    assert server.http("PUT", "/_rouse/v1/secrets/first", b"x", token=False)[0] in (401, 403)


def test_another_key_is_told_and_an_earlier_one_is_replaced(tmp_path, folder):
    server = Server(tmp_path / "data", ["--secrets-key", str(tmp_path / "elsewhere.key")]).start()
    try:
        put(server, "first", OLD)
        server.rouse("deploy", cwd=folder, env={"SECOND": SECOND})
        assert said(server, "tell")["first"] == OLD
        assert not (server.data / "secrets.key").exists()
        server.stop()
        key = tmp_path / "elsewhere.key"
        right = key.read_text()
        key.write_text("ab" * 32 + "\n")
        server.start()
        assert "sealed by another key" in server.rouse("secret", "ls").stdout
        with pytest.raises(ClientError, match="--secrets-key"):
            server.invoke("tell")
        server.stop()
        key.write_text("ab" * 32 + "\n" + right)
        server.start()
        assert said(server, "tell")["first"] == OLD
        server.stop()
        # All of it is sealed by the first key now: the earlier one can go.
        key.write_text("ab" * 32 + "\n")
        server.start()
        assert said(server, "tell")["first"] == OLD
    finally:
        server.stop()
