"""The manifest as a Compose file: several files, profiles, files of variables, what a deployment would change, the order
of starts, and that another implementation of Compose reads the same files."""

import json
import os
import re
import subprocess

import pytest
import yaml
from conftest import REPO, ROUSE

BASE = """
name: composed
x-common: &common
  build: ./code
  x-rouse-base: python3.11
  environment: &variables
    LEVEL: ${LEVEL:-info}
    API_TOKEN: ${API_TOKEN:-hunter2-old}
services:
  job:
    <<: *common
    command: [python3.11, job.py]
    restart: "no"
    volumes: ["shared:/data"]
  worker:
    <<: *common
    command: [python3.11, worker.py]
    environment: {<<: *variables, NAMED: of the base}
    env_file:
      - base.env
      - {path: absent.env, required: false}
    volumes: ["shared:/data"]
    ports: ["8080"]
    depends_on:
      job: {condition: service_completed_successfully}
    healthcheck: {test: ["CMD", "curl", "-f", "http://localhost:8080/health"], interval: 300ms, start_period: 20s}
    labels: {team: shop}
  debugger:
    <<: *common
    command: [python3.11, worker.py]
    profiles: [debug]
    expose: ["8081"]
  echo:
    build: ./code
    x-rouse:
      runtime: python3.11
      handler: fn.handler
      triggers: [{schedule: rate(1 day), name: composed-daily}]
volumes: {shared: {}}
"""

OVER = """
services:
  worker:
    environment: [NAMED=of the second file, MORE=yes]
    deploy: {replicas: 2}
"""

JOB = """
import os, time
time.sleep(1)
open("/data/prepared", "w").write("by the job")
"""

WORKER = """
import http.server, json, os
prepared = os.path.exists("/data/prepared") if os.path.isdir("/data") else None
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"prepared": prepared, "environment": dict(os.environ)}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("composed")
    (folder / "code").mkdir()
    (folder / "code/job.py").write_text(JOB)
    (folder / "code/worker.py").write_text(WORKER)
    (folder / "code/fn.py").write_text("def handler(event, context):\n    return event\n")
    (folder / "base.env").write_text("FROM_FILE='as it is $LEVEL'\nNAMED=of the file\nBOTH=${LEVEL:-info}!\n")
    (folder / "compose.yaml").write_text(BASE)
    (folder / "compose.override.yaml").write_text(OVER)
    return folder


def deploy(server, folder, *options, **variables):
    return server.rouse("deploy", *options, cwd=folder, env=variables)


def differences(server, folder, *options, **variables):
    done = deploy(server, folder, "--dry-run", "--json", *options, **variables)
    return {(c["what"], c["name"]): c for c in json.loads(done.stdout)["changes"]}


@pytest.fixture(scope="module")
def deployed(server, folder):
    before = deploy(server, folder, "--dry-run")
    assert "+ service worker: added" in before.stdout and "nothing was done" in before.stdout
    assert "worker" not in server.rouse("ls").stdout, "a dry run made something"
    deploy(server, folder)
    return server


def ask(server, name, path="/"):
    status, _, body = server.http("GET", f"/svc/{name}{path}")
    assert status == 200, body
    return json.loads(body)


def test_two_files_variables_and_the_order_of_starts(deployed):
    seen = ask(deployed, "worker")
    assert seen["prepared"] is True, "it started before the job had ended"
    variables = seen["environment"]
    assert variables["NAMED"] == "of the second file" and variables["MORE"] == "yes"
    assert variables["FROM_FILE"] == "as it is $LEVEL" and variables["BOTH"] == "info!"
    assert variables["LEVEL"] == "info"
    shown = deployed.rouse("ls").stdout
    assert re.search(r"job\s", shown) and "debugger" not in shown


def test_a_dry_run_tells_the_difference_and_no_secret(deployed, folder):
    same = differences(deployed, folder)
    assert {change["change"] for change in same.values()} == {"unchanged"}, same
    variables = {"LEVEL": "debug", "API_TOKEN": "hunter2-new"}
    found = differences(deployed, folder, "--profile", "debug", **variables)
    assert found["service", "debugger"]["change"] == "added"
    assert found["function", "echo"]["change"] == "unchanged"
    fields = {field["field"]: field for field in found["service", "worker"]["fields"]}
    assert fields["environment.LEVEL"] == {"field": "environment.LEVEL", "old": "info", "new": "debug"}
    assert fields["environment.API_TOKEN"]["new"] == "(not shown)"
    text = deploy(deployed, folder, "--dry-run", **variables)
    assert 'environment.LEVEL: "info" → "debug"' in text.stdout
    assert "hunter2" not in text.stdout + text.stderr
    without = folder / "without.yaml"
    without.write_text(BASE.replace("triggers: [{schedule: rate(1 day), name: composed-daily}]", "timeout: 5s"))
    found = differences(deployed, folder, "-f", without)
    assert found["schedule", "composed-daily"]["change"] == "removed"
    assert {f["field"] for f in found["function", "echo"]["fields"]} == {"limits.timeout"}
    after = differences(deployed, folder)
    assert {change["change"] for change in after.values()} == {"unchanged"}, "a dry run changed something"


def test_compose_file_and_profiles_from_the_environment(deployed, folder):
    found = differences(deployed, folder, COMPOSE_FILE="compose.yaml", COMPOSE_PROFILES="debug")
    assert found["service", "debugger"]["change"] == "added"
    replicas = {f["field"]: f for f in found["service", "worker"]["fields"]}["replicas"]
    assert (replicas["old"], replicas["new"]) == (2, 1)
    (folder / "other.env").write_text("LEVEL=trace\n")
    found = differences(deployed, folder, "--env-file", "other.env")
    fields = {f["field"]: f["new"] for f in found["service", "worker"]["fields"]}
    assert fields["environment.LEVEL"] == "trace" and fields["environment.BOTH"] == "trace!"


def test_what_is_not_supported_is_named_at_its_place(server, folder):
    bad = folder / "bad.yaml"
    bad.write_text("services:\n  worker:\n    pid: host\n")
    done = server.rouse("deploy", "-f", folder / "compose.yaml", "-f", bad, check=False)
    assert done.returncode == 2 and "bad.yaml:3:5" in done.stderr, done.stderr


def config(folder, *options, **variables):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("COMPOSE_", "ROUSE_"))}
    done = subprocess.run([ROUSE, "manifest", *options], cwd=folder, env={**clean, **variables},
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def other_compose(folder, *options, **variables):
    """Docker Compose 1.29, in Debian: it reads the Compose specification as of 2021."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("COMPOSE_")}
    done = subprocess.run(["docker-compose", *options, "config"], cwd=folder, env={**clean, **variables},
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def texts_of(value):
    """Without what 1.29 loses when it merges: keys that begin with x-, and whether a port is a number."""
    if isinstance(value, dict):
        return {key: texts_of(one) for key, one in value.items() if not key.startswith("x-")}
    return [texts_of(one) for one in value] if isinstance(value, list) else str(value)


PLAIN = """
services:
  a:
    build: ./code
    command: run it
    x-rouse-base: python3.11
    environment: [A=1, "B=${NONE:-two}", 'C=$$x']
    ports: ["8080:80"]
    labels: {a: b}
    depends_on: [b]
    deploy: {replicas: 2, resources: {limits: {memory: 256M, cpus: '0.5'}}}
  b: {build: ./code, command: [x], x-rouse-base: python3.11, profiles: [more]}
volumes: {v: {}}
"""
AMENDS = """
services:
  a:
    command: [other]
    environment: {B: three, D: 4}
    depends_on: {c: {condition: service_healthy}}
    volumes: ["v:/v"]
    expose: [81]
  c: {build: ./code, command: [x], x-rouse-base: python3.11, expose: [80]}
"""


def test_another_implementation_merges_and_replaces_alike(folder):
    (folder / "plain.yaml").write_text(PLAIN)
    (folder / "amends.yaml").write_text(AMENDS)
    options = ["-f", "plain.yaml", "-f", "amends.yaml"]
    ours = json.loads(config(folder, *options, "--profile", "more", "--json"))["services"]
    theirs = yaml.safe_load(other_compose(folder, *options, "--profile", "more"))["services"]
    assert set(ours) == set(theirs) == {"a", "b", "c"}
    a, b = ours["a"], theirs["a"]
    assert a["command"] == b["command"] == ["other"]
    texts = [{name: str(value) for name, value in one["environment"].items()} for one in (a, b)]
    assert texts[0] == texts[1] | {"C": "$x"}
    assert a["depends_on"] == b["depends_on"]
    assert a["labels"] == b["labels"] and str(a["deploy"]["replicas"]) == str(b["deploy"]["replicas"])
    assert [str(port) for port in a["expose"]] == [str(port) for port in b["expose"]]
    assert len(b["volumes"]) == len(a["volumes"]) == 1 and len(b["ports"]) == len(a["ports"]) == 1
    # What rouse prints is a Compose file of the same meaning.
    (folder / "printed.yaml").write_text(config(folder, *options, "--profile", "more"))
    again = yaml.safe_load(other_compose(folder, "-f", "printed.yaml", "--profile", "more"))["services"]
    assert texts_of(again) == texts_of(theirs)


def test_the_shop_and_the_whole_example_are_compose_files(folder, tmp_path):
    shop = REPO / "examples/shop"
    assert "thumbnail" in other_compose(shop, "-f", "compose.yaml")
    config(shop, "--quiet")
    document = (REPO / "docs/manifest.md").read_text()
    example = re.search(r"## A whole example\n.*?```yaml\n(.*?)```", document, re.S).group(1)
    (tmp_path / "compose.yaml").write_text(example)
    for name in re.findall(r"build: (\./\w+)", example):
        (tmp_path / name).mkdir(exist_ok=True)
    for name in re.findall(r"env_file: \[?(?:path: )?([\w.]+)", example):
        (tmp_path / name).touch()
    # Both are younger than that version.
    (tmp_path / "older.yaml").write_text(example.replace("name: shop\n", "").replace(", pids: 64", ""))
    assert "thumbnail" in other_compose(tmp_path, "-f", "older.yaml")
    assert json.loads(config(tmp_path, "--json"))["name"] == "shop"


def test_config_shows_no_secret(folder):
    text = config(folder, "-f", "compose.yaml", API_TOKEN="hunter2", LEVEL="warn")
    assert "hunter2" not in text and "warn" in text


def test_included_files_have_their_own_folders(server, tmp_path):
    (tmp_path / "part/code").mkdir(parents=True)
    (tmp_path / "part/code/fn.py").write_text("import os\ndef handler(e, c):\n    return os.environ['FROM']\n")
    (tmp_path / "part/part.env").write_text("FROM=the file beside it\n")
    function = "{build: ./code, env_file: part.env, x-rouse: {runtime: python3.11, handler: fn.handler}}"
    (tmp_path / "part/compose.yaml").write_text(f"name: other\nservices:\n  included: {function}\n")
    (tmp_path / "compose.yaml").write_text("include: [part/compose.yaml]\n")
    deploy(server, tmp_path)
    assert server.invoke("included")[1] == "the file beside it"
    # What is printed is one file, whose paths are of its own folder.
    (tmp_path / "printed.yaml").write_text(config(tmp_path))
    assert "include:" not in (tmp_path / "printed.yaml").read_text()
    assert "included" in other_compose(tmp_path, "-f", "printed.yaml")
    (tmp_path / "compose.yaml").write_text(
        "include: [part/compose.yaml]\nservices:\n  included: {image: x}\n")
    done = server.rouse("deploy", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "part/compose.yaml:3:3" in done.stderr, done.stderr
