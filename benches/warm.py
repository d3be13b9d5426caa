"""A call to a running instance, beside nginx in front of the same handler."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from measure import machine, progress, repeat, summary, table, timed, write
from rouse import REPO, Rouse
from wire import Connection

HANDLER = REPO / ".cache/bench/handler"
SECONDS = 5

NGINX = """
daemon off; worker_processes 2; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  upstream handler {{ server 127.0.0.1:{port}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{front};
    location / {{ proxy_pass http://handler; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
}}
"""


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Nginx:
    """The handler as a plain process, and nginx in front of it."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="rouse-nginx-"))
        self.port, self.front = free_port(), free_port()
        self.handler = subprocess.Popen([HANDLER], env={**os.environ, "PORT": str(self.port)})
        config = self.folder / "nginx.conf"
        config.write_text(NGINX.format(folder=self.folder, port=self.port, front=self.front))
        self.nginx = subprocess.Popen(["nginx", "-c", config, "-p", self.folder])
        for _ in range(200):
            try:
                Connection(("127.0.0.1", self.front)).call("GET", "/")
                return
            except (OSError, RuntimeError):
                time.sleep(0.05)
        raise SystemExit("nginx does not answer: " + (self.folder / "error.log").read_text())

    def stop(self):
        for process in (self.nginx, self.handler):
            process.terminate()
            process.wait(20)
        shutil.rmtree(self.folder)


def load(url, connections, headers=()):
    """Requests a second by wrk, which answers nothing but 2xx allowed."""
    command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{SECONDS}s"]
    for header in headers:
        command += ["-H", header]
    told = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        raise RuntimeError(told)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1])


def measure(runs, output):
    print(f"warm calls, {runs} each, on {machine()}")
    rouse, nginx = Rouse(), Nginx()
    try:
        connection = rouse.connect()
        direct = Connection(("127.0.0.1", nginx.port))
        proxied = Connection(("127.0.0.1", nginx.front))
        calls = {
            "handler alone": lambda: direct.call("GET", "/"),
            "nginx proxy_pass": lambda: proxied.call("GET", "/"),
            "rouse, http contract": lambda: connection.call("GET", "/fn/warm-http/"),
            "rouse, lambda contract": lambda: connection.call(
                "POST", "/_rouse/v1/functions/warm-lambda/invocations?type=wait", b"{}"),
        }
        found = {name: summary(repeat(name, runs, lambda: timed(call))) for name, call in calls.items()}
        token = f"Authorization: Bearer {rouse.token}"
        urls = {
            "handler alone": (f"http://127.0.0.1:{nginx.port}/", ()),
            "nginx proxy_pass": (f"http://127.0.0.1:{nginx.front}/", ()),
            "rouse, http contract": (f"http://127.0.0.1:{rouse.port}/fn/warm-http/", (token,)),
        }
        for name, (url, headers) in urls.items():
            for connections in (1, 4):
                found[name][f"c{connections}"] = load(url, connections, headers)
                progress(name, connections, 4)
    finally:
        nginx.stop()
        rouse.stop()
    base, peer = found["handler alone"]["p50"], found["nginx proxy_pass"]
    rows = []
    for name, one in found.items():
        added = one["p50"] - base
        ratio = f"{added / (peer['p50'] - base):.1f}×" if name != "handler alone" else "-"
        rates = [f"{one[c]:,.0f}" if c in one else "-" for c in ("c1", "c4")]
        rows.append([name, f"{one['p50']:.3f}", f"{one['p99']:.3f}", f"{added:.3f}", ratio, *rates])
    table(["ms", "p50", "p99", "added", "added/nginx's", "1 client/s", "4 clients/s"], rows)
    write(output, found)
