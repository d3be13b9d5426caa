"""Networks of the manifest: who shares one reaches the other by name, who does not reaches it by nothing."""

import json
import urllib.parse

import pytest
import yaml
from conftest import wait_for
from test_compose import other_compose

CODE = """
import http.client, http.server, json, os, socket, urllib.parse

def ask(host, port, path="/", headers={}):
    try:
        connection = http.client.HTTPConnection(host, port, timeout=15)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return "%d %s" % (answer.status, answer.read().decode())
    except socket.gaierror as error:
        return "unresolved"
    except OSError as error:
        return type(error).__name__

def resolve(name):
    try:
        return socket.gethostbyname(name)
    except OSError:
        return None

def do(asked):
    what = asked["what"]
    if what == "ask":
        return ask(asked["host"], int(asked["port"]), asked.get("path", "/"), json.loads(asked.get("headers", "{}")))
    if what == "resolve":
        return resolve(asked["host"])
    if what == "hosts":
        return open("/etc/hosts").read()
    if what == "reach":  # every address at which a service could listen here
        found = []
        for last in range(256):
            with socket.socket() as probe:
                probe.settimeout(5)
                if probe.connect_ex(("127.0.1.%d" % last, int(asked["port"]))) == 0:
                    found.append(last)
        return found

def handler(event, context):
    return do(event) if event else "called"

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        body = json.dumps(do(query)) if query else os.environ["NAME"]
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"""

MANIFEST = """
networks: {front: , back: {internal: true}}
x-service: &service
  build: ./code
  x-rouse-base: python3.11
  command: python3.11 app.py
x-function: &function {runtime: python3.11, handler: app.handler, timeout: 30s, egress: none}
services:
  page: {<<: *service, networks: [front], ports: [8080], environment: [NAME=page]}
  api: {<<: *service, networks: [front, back], ports: [8080], environment: [NAME=api]}
  store:
    <<: *service
    networks: {back: {aliases: [db]}}
    ports: [9090]
    environment: [NAME=store]
  other: {<<: *service, ports: [8080], environment: [NAME=other]}
  edge: {build: ./code, networks: [front], x-rouse: *function}
  inner:
    build: ./code
    networks: [back]
    x-rouse: {runtime: python3.11, handler: app.handler, timeout: 30s}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    (folder / "code").mkdir()
    (folder / "code/app.py").write_text(CODE)
    (folder / "compose.yaml").write_text(MANIFEST)
    return folder


@pytest.fixture(scope="module")
def deployed(server, folder):
    server.rouse("deploy", cwd=folder)
    return server


def from_service(server, name, **asked):
    status, _, body = server.http("GET", f"/svc/{name}/?{urllib.parse.urlencode(asked)}")
    assert status == 200, body
    return json.loads(body)


def from_function(server, name, **asked):
    error, answer, tail = server.invoke(name, asked)
    assert error is None, (answer, tail)
    return answer


def test_who_shares_a_network_reaches_the_other(deployed):
    assert from_service(deployed, "page", what="ask", host="api", port=8080) == "200 api"
    assert from_service(deployed, "api", what="ask", host="store", port=9090) == "200 store"
    assert from_function(deployed, "edge", what="ask", host="page", port=8080) == "200 page"
    assert from_function(deployed, "inner", what="ask", host="store", port=9090) == "200 store"


def test_another_name_holds_on_its_network_only(deployed):
    assert from_service(deployed, "api", what="ask", host="db", port=9090) == "200 store"
    assert from_service(deployed, "page", what="ask", host="db", port=9090) == "unresolved"


def test_who_shares_none_finds_no_name_and_no_address(deployed):
    for name, host, port in [("page", "store", 9090), ("page", "other", 8080), ("other", "api", 8080),
                             ("store", "page", 8080)]:
        assert from_service(deployed, name, what="ask", host=host, port=port) == "unresolved", (name, host)
    assert from_function(deployed, "edge", what="ask", host="store", port=9090) == "unresolved"
    assert from_function(deployed, "inner", what="ask", host="page", port=8080) == "unresolved"
    hosts = from_service(deployed, "page", what="hosts")
    assert "api" in hosts and "store" not in hosts and "other" not in hosts
    # Where they listen themselves each of their addresses answers, so the other's port is asked for.
    assert from_service(deployed, "page", what="reach", port=9090) == []
    assert len(from_service(deployed, "api", what="reach", port=9090)) == 1
    assert len(from_service(deployed, "store", what="reach", port=8080)) == 1


def test_the_platforms_routes_lead_to_the_same_networks_only(deployed):
    token = json.dumps({"authorization": f"Bearer {deployed.root['token']}"})
    route = {"what": "ask", "host": "127.0.0.1", "port": 4566, "headers": token}
    assert from_service(deployed, "page", **route, path="/svc/api/") == "200 api"
    for path in ("/svc/store/", "/fn/inner"):
        assert from_service(deployed, "page", **route, path=path).startswith("403 "), path
    assert from_function(deployed, "inner", **route, path="/svc/store/") == "200 store"
    assert from_function(deployed, "inner", **route, path="/fn/edge").startswith("403 ")
    own = json.dumps({"authorization": f"Bearer {deployed.root['token']}", "host": "store.svc.localhost:4566"})
    assert from_service(deployed, "page", **{**route, "headers": own}).startswith("403 ")


def test_an_internal_network_leads_nowhere_outside(deployed):
    services = deployed.control("services")
    egress = {spec["name"]: spec["egress"] for spec in (one["service"]["spec"] for one in services)}
    assert egress["store"] == "none" and egress["api"] is None
    assert from_function(deployed, "inner", what="resolve", host="example.com") is None


def test_a_service_that_leaves_a_network_is_not_reached_over_old_listeners(deployed, folder):
    """`page` keeps running, and with it the listener that it has for `api`."""
    assert from_service(deployed, "page", what="ask", host="api", port=8080) == "200 api"
    moved = MANIFEST.replace("networks: [front, back], ports", "networks: [back], ports")
    (folder / "moved.yaml").write_text(moved)
    deployed.rouse("deploy", "-f", "moved.yaml", cwd=folder)
    answer = from_service(deployed, "page", what="ask", host="api", port=8080)
    assert not answer.startswith("200"), answer
    wait_for("the functions to know", lambda: from_function(
        deployed, "inner", what="ask", host="api", port=8080) == "200 api")
    assert from_function(deployed, "edge", what="ask", host="api", port=8080) == "unresolved"


def test_what_runs_stays_as_it_was_said(deployed, folder):
    done = deployed.rouse("deploy", "-f", "moved.yaml", "--dry-run", "--json", cwd=folder)
    changes = {change["change"] for change in json.loads(done.stdout)["changes"]}
    assert changes == {"unchanged"}, done.stdout


def test_another_implementation_reads_the_same_networks(folder):
    theirs = yaml.safe_load(other_compose(folder, "-f", "compose.yaml"))
    assert theirs["networks"]["back"]["internal"] is True
    assert theirs["services"]["store"]["networks"] == {"back": {"aliases": ["db"]}}
