"""The way out of an instance: by urllib, over a name server of the test's own."""

import socket
import socketserver
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import PYTHON_RUNTIME, Server

FETCH = """
import urllib.request

def handler(event, context):
    try:
        with urllib.request.urlopen(event["url"], timeout=20) as answer:
            return answer.read().decode()
    except OSError as error:
        return f"{type(error).__name__}: {error}"
"""

MANIFEST = """
services:
  named:
    build: ./fetch
    x-rouse:
      runtime: python3.11
      handler: app.handler
      timeout: 30s
      egress: ["api.example.test:{port}", "{own}:{port}"]
  other:
    build: ./fetch
    x-rouse: {{runtime: python3.11, handler: app.handler, timeout: 30s, egress: ["*.example.test"]}}
  closed:
    build: ./fetch
    x-rouse: {{runtime: python3.11, handler: app.handler, timeout: 30s, egress: none}}
  fetcher:
    build: ./service
    x-rouse-base: python3.11
    x-rouse-egress: ["{own}:{port}"]
    command: python3.11 server.py
    expose: ["8000"]
"""

SERVICE = """
import http.server, urllib.request

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            text = urllib.request.urlopen("http://OWN:PORT/service", timeout=20).read()
        except OSError as error:
            text = str(error).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text)

http.server.HTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
"""


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{self.headers['Host']} {self.path}".encode())

    def log_message(self, *arguments):
        pass


class NameServer(socketserver.BaseRequestHandler):
    """Every name below example.test leads to the test's own server."""

    def handle(self):
        query, sock = self.request
        end = query.index(b"\0", 12) + 5
        known = b"\x07example\x04test\0" in query[12:end].lower()
        flags = 0x8180 if known else 0x8183
        answer = query[:2] + struct.pack("!5H", flags, 1, int(known), 0, 0) + query[12:end]
        if known:
            answer += b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 60, 4)
            answer += socket.inet_aton(self.server.address)
        sock.sendto(answer, self.client_address)


@pytest.fixture(scope="module")
def own():
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            pytest.fail("this machine has no route to anywhere: it needs one network address")
        return probe.getsockname()[0]


def serving(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


@pytest.fixture(scope="module")
def page(own):
    server = ThreadingHTTPServer((own, 0), Page)
    yield serving(server)
    server.shutdown()


@pytest.fixture(scope="module")
def house(own, page, tmp_path_factory):
    names = socketserver.ThreadingUDPServer(("127.0.0.1", 0), NameServer)
    names.address = own
    options = ["--dns", f"127.0.0.1:{serving(names)}"]
    folder = tmp_path_factory.mktemp("egress")
    running = Server(folder / "data", options).start()
    for name, text in [("fetch/app.py", FETCH), ("service/server.py", SERVICE)]:
        (folder / name).parent.mkdir()
        (folder / name).write_text(text.replace("OWN", own).replace("PORT", str(page)))
    running.deploy(folder, MANIFEST.format(own=own, port=page))
    yield running
    running.stop()
    names.shutdown()


def test_a_list_opens_its_names(house, own, page):
    url = f"http://api.example.test:{page}/photo"
    error, text, _ = house.invoke("named", {"url": url})
    assert (error, text) == (None, f"api.example.test:{page} /photo")
    error, text, tail = house.invoke("named", {"url": f"http://www.example.org:{page}/"})
    assert "Name or service not known" in text
    assert "egress: the name www.example.org is not looked up" in tail


def test_a_name_does_not_open_the_host_itself(house, own, page):
    _, text, tail = house.invoke("other", {"url": f"http://api.example.test:{page}/"})
    assert "reset" in text.lower()
    assert f"egress to {own}:{page} refused: " in tail


def test_metadata_and_the_control_port_are_closed(house, own):
    for host in ["169.254.169.254:80", f"{own}:{house.port}"]:
        _, text, tail = house.invoke("other", {"url": f"http://{host}/"})
        assert "reset" in text.lower()
        assert f"egress to {host} refused: " in tail


def test_none_is_nowhere_but_the_platform(house, own, page):
    _, text, _ = house.invoke("closed", {"url": f"http://{own}:{page}/"})
    assert "Network is unreachable" in text
    _, text, _ = house.invoke("closed", {"url": "http://127.0.0.1:4566/_rouse/health"})
    assert "unreachable" not in text and "refused" not in text


def test_a_service_has_a_way_out_too(house, own, page):
    status, _, body = house.http("GET", "/svc/fetcher/")
    assert (status, body.decode()) == (200, f"{own}:{page} /service")


def test_the_default_is_public_and_can_be_none(tmp_path, own, page):
    running = Server(tmp_path / "data", ["--egress", "none"]).start()
    try:
        running.create("plain", PYTHON_RUNTIME, {"app.py": FETCH}, Timeout=30)
        _, text, _ = running.invoke("plain", {"url": f"http://{own}:{page}/"})
        assert "Network is unreachable" in text
        running.stop()
        running.options = []
        running.start()
        _, text, tail = running.invoke("plain", {"url": f"http://{own}:{page}/"})
        assert "reset" in text.lower() and "refused: " in tail
    finally:
        running.stop()


def test_a_list_with_a_mistake_is_named(house, tmp_path):
    (tmp_path / "fetch").mkdir()
    (tmp_path / "fetch/app.py").write_text(FETCH)
    manifest = (
        "services:\n  f:\n    build: ./fetch\n"
        "    x-rouse:\n      runtime: python3.11\n      handler: app.handler\n"
        "      egress:\n        - example.com\n        - 10.0.0.1/8\n"
    )
    (tmp_path / "compose.yaml").write_text(manifest)
    done = house.rouse("deploy", cwd=tmp_path, check=False)
    assert done.returncode != 0
    assert "compose.yaml:9" in done.stderr and "10.0.0.1/8" in done.stderr
