"""A neighbour's calls and the control plane's answers while something else happens."""

import http.client
import json
import threading
import time
from pathlib import Path

# Between the neighbour's calls.
GAP = 0.004


def processes_of(name):
    """Numbers of the processes whose environment says that they are the function, as the host has them."""
    wanted = f"AWS_LAMBDA_FUNCTION_NAME={name}\0".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in environ.read_bytes():
                found.append(int(environ.parent.name))
        except OSError:
            continue
    return found


class Watch:
    """Calls the neighbour for some seconds; `p99` in ms, and how many calls failed."""

    def __init__(self, server, seconds):
        self.server = server
        self.times, self.failed, self.control = [], [], []
        self.until = time.monotonic() + seconds

    def run(self):
        watcher = threading.Thread(target=self._control)
        watcher.start()
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        head = {"Authorization": f"Bearer {self.server.root['token']}"}
        while time.monotonic() < self.until:
            began = time.perf_counter()
            connection.request("POST", "/_rouse/v1/functions/neighbour/invocations?type=wait",
                               json.dumps("privileges"), head)
            answer = connection.getresponse()
            answer.read()
            self.times.append((time.perf_counter() - began) * 1000)
            if answer.status != 200 or answer.headers["x-rouse-ending"] != "succeeded":
                self.failed.append((answer.status, answer.headers["x-rouse-ending"]))
            time.sleep(GAP)
        connection.close()
        watcher.join()
        return self

    def _control(self):
        while time.monotonic() < self.until:
            began = time.perf_counter()
            self.server.control("functions")
            self.control.append((time.perf_counter() - began) * 1000)
            time.sleep(0.1)

    @property
    def p99(self):
        return sorted(self.times)[int(len(self.times) * 0.99)]


def during(server, attack, seconds=2.0):
    """Watches alone, then while `attack` runs over and over; gives both watches and its answers."""
    alone = Watch(server, seconds / 2).run()
    answers, stop = [], threading.Event()

    def work():
        while not stop.is_set():
            answers.append(attack())

    worker = threading.Thread(target=work)
    worker.start()
    watch = Watch(server, seconds).run()
    stop.set()
    worker.join()
    return alone, watch, answers
