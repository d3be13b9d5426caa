"""A call to a running instance, beside nginx in front of the same handler."""

import contextlib
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

import process
import programs
from load import invocations, offer
from measure import Goal, Result, number, progress, summary, timed
from rouse import Rouse, free_port, function
from wire import Connection

CLIENTS = (4, 16, 64)
INSTANCES = 4
# Calls at a time of an instance that takes several, so that all clients find room, as they do behind nginx.
SHARED = 16
SHARING = f"rouse, http, {SHARED} calls an instance"
# Calls of one kind in a row, before the next kind has its turn: what the machine does meanwhile meets all.
TURN = 20

NGINX = """
daemon off; worker_processes auto; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000;
  upstream handler {{ server unix:{folder}/handler.sock; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{front};
    location / {{ proxy_pass http://handler; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
}}
"""


class Nginx:
    """The handler as a plain process on a Unix socket (and on a port), and nginx in front of it."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="rouse-nginx-"))
        os.chmod(self.folder, 0o755)
        self.front, self.port = free_port(), free_port()
        self.path = str(self.folder / "handler.sock")
        handler = programs.binary("musl")
        self.log = open(self.folder / "log", "wb")
        self.processes = []
        try:
            self.run([handler], env={"LISTEN": self.path})
            self.run([handler], env={"PORT": str(self.port)})
            self.wait_for(lambda: os.chmod(self.path, 0o666))
            config = self.folder / "nginx.conf"
            config.write_text(NGINX.format(folder=self.folder, front=self.front))
            self.run(["nginx", "-c", config, "-p", self.folder])
            self.wait_for(lambda: Connection(("127.0.0.1", self.front)).call("GET", "/"))
        except BaseException:
            self.stop()
            raise

    def run(self, command, **more):
        self.processes.append(process.start(command, self.log, **more))

    def wait_for(self, attempt):
        for _ in range(200):
            try:
                return attempt()
            except (OSError, RuntimeError):
                time.sleep(0.05)
        raise RuntimeError("nginx does not answer: " + (self.folder / "log").read_text(errors="replace"))

    def stop(self):
        for one in reversed(self.processes):
            process.stop(one, 20)
        self.log.close()
        process.remove(self.folder)


def plain_load(url, clients, seconds, *headers):
    """Requests a second by wrk, all of which must be answered well. It runs no script, which would cost more
    the faster the answers come."""
    command = ["wrk", "-t", "1", "-c", str(clients), "-d", f"{seconds}s"]
    for header in headers:
        command += ["-H", header]
    told = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        raise RuntimeError(told)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1])


def in_turns(calls, runs):
    """Times each kind of call so often, a few at a time."""
    values = {name: [] for name in calls}
    for name, call in calls.items():
        for _ in range(20):
            call()
    for done in range(0, runs, TURN):
        for name, call in calls.items():
            values[name] += [timed(call) for _ in range(min(TURN, runs - done))]
        progress("warm calls", min(done + TURN, runs), runs)
    return {name: summary(found) for name, found in values.items()}


def throughput(rouse, nginx, seconds):
    """Requests a second of each, for each number of clients."""
    token = f"Authorization: Bearer {rouse.token}"
    ways = {
        "handler alone": lambda clients: plain_load(f"http://127.0.0.1:{nginx.port}/", clients, seconds),
        "nginx proxy_pass": lambda clients: plain_load(f"http://127.0.0.1:{nginx.front}/", clients, seconds),
        "rouse, http": lambda clients: plain_load(
            f"http://127.0.0.1:{rouse.port}/fn/many-http/", clients, seconds, token),
        SHARING: lambda clients: plain_load(
            f"http://127.0.0.1:{rouse.port}/fn/shared-http/", clients, seconds, token),
        "rouse, lambda": lambda clients: offer(
            rouse.port, rouse.token, invocations(["many-lambda"]), clients, seconds)["rate"],
    }
    rates = {name: {} for name in ways}
    for clients in CLIENTS:
        for name, load in ways.items():
            rates[name][clients] = load(clients)
        progress("throughput", clients, CLIENTS[-1])
    return rates


def functions():
    http = {"contract": "http", "command": ["/var/task/bootstrap"]}
    keep = {"keep_alive": "600s", "queue": 1000}
    many = {**keep, "min": INSTANCES, "max": INSTANCES}
    return {
        "one-lambda": function(programs.STATIC, concurrency={**keep, "max": 1}),
        "one-http": function(programs.STATIC, **http, concurrency={**keep, "max": 1}),
        "many-lambda": function(programs.STATIC, concurrency=many),
        "many-http": function(programs.STATIC, **http, concurrency=many),
        "shared-http": function(programs.STATIC, **http, concurrency={**many, "per_instance": SHARED}),
    }


def one_client(rouse, nginx, runs):
    """Times calls of each kind, one after the other."""
    connection = rouse.connect()
    direct, proxied = Connection(nginx.path), Connection(("127.0.0.1", nginx.front))
    return in_turns({
        "handler alone": lambda: direct.call("GET", "/"),
        "nginx proxy_pass": lambda: proxied.call("GET", "/"),
        "rouse, http": lambda: connection.call("GET", "/fn/one-http/"),
        "rouse, lambda": lambda: rouse.invoke(connection, "one-lambda"),
    }, runs)


@contextlib.contextmanager
def both():
    """The server and nginx, each with its handlers."""
    nginx = Nginx()
    try:
        with Rouse((programs.STATIC,), functions()) as rouse:
            yield rouse, nginx
    finally:
        nginx.stop()


@contextlib.contextmanager
def one_processor():
    """What is started within, and this process, share one processor."""
    all_of_them = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(all_of_them)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_of_them)


def measure(settings):
    runs, seconds = settings.runs * 10, settings.of(5, 1)
    result = Result(f"Warm calls: {runs} of each, in turns; then {seconds} s of load with {INSTANCES} instances")
    with one_processor(), both() as (rouse, nginx):
        pinned = one_client(rouse, nginx, runs)
    with both() as (rouse, nginx):
        free = one_client(rouse, nginx, runs)
        rates = throughput(rouse, nginx, seconds)
    report(result, pinned, free, rates)
    return result


def added(found):
    """What rouse adds to the handler's own median, in multiples of what nginx adds."""
    base = found["handler alone"]["p50"]
    return (found["rouse, http"]["p50"] - base) / (found["nginx proxy_pass"]["p50"] - base)


def table(result, title, found):
    base, peer = found["handler alone"]["p50"], found["nginx proxy_pass"]["p50"]
    rows = []
    for name, one in found.items():
        more = one["p50"] - base
        times = "-" if name == "handler alone" else f"{more / (peer - base):.2f}×"
        rows.append([name, number(one["p50"]), number(one["p99"]), number(more), times])
    result.table(title, ["", "p50", "p99", "added to the handler's own", "added / nginx's"], rows)


def report(result, pinned, free, rates):
    table(result, "one client, one instance, all on one processor, ms", pinned)
    table(result, "the same on all processors, ms", free)
    for name, one in pinned.items():
        result.figures[name] = {**one, "on all processors": free[name]}
    rows = [[name, *(f"{number(one[c])} ({one[c] / rates['nginx proxy_pass'][c]:.2f})" for c in CLIENTS)]
            for name, one in rates.items()]
    for name, one in rates.items():
        told = {f"rate with {clients} clients": rate for clients, rate in one.items()}
        result.figures[name] = {**result.figures.get(name, {}), **told}
    result.table(f"calls a second, {INSTANCES} instances (share of nginx's)",
                 ["", *(f"{clients} clients" for clients in CLIENTS)], rows)
    goal = "added p50, http function, in multiples of nginx's"
    result.goals.append(Goal(f"{goal}, on one processor", 1.5, added(pinned), "×"))
    result.goals.append(Goal(f"{goal}, on all processors", 1.5, added(free), "×"))
    for name, what in (("rouse, http", "an http function"), (SHARING, f"one of {SHARED} calls an instance")):
        for clients in CLIENTS:
            share = rates[name][clients] / rates["nginx proxy_pass"][clients]
            result.goals.append(Goal(f"throughput of {what}, {clients} clients, share of nginx's", 0.7, share,
                                     "", least=True))
    result.notes += [
        "On all processors the median is mostly what it takes to wake another one, and how often that is needed is the "
        "scheduler's choice: the ratio differs from run to run, up to three-fold. On one processor it is the work alone.",
        "The handler is the same static program: on a Unix socket, behind nginx on that Unix socket, and as a "
        "function. nginx and rouse are asked over TCP, rouse with its bearer token; the handler alone over the "
        "Unix socket (one client) or a port of its own (load).",
        f"nginx may open as many connections to its upstream as it likes, each with a process; rouse has {INSTANCES} "
        f"instances that answer one call at a time each, or {SHARED} where it is said. The load on the Lambda function is POSTs that wrk makes "
        "by a script, which costs it some rate.",
    ]
