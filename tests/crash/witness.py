"""Where functions tell which tokens they were called with: outside of the server, in the test's process."""

import re
import socket
import socketserver
import threading
from collections import Counter

TOKEN = re.compile(r"tok[0-9a-f]{16}")

HANDLER = """
import json, re, socket
def handler(event, context):
    tokens = sorted(set(re.findall(r"tok[0-9a-f]{{16}}", json.dumps(event))))
    with socket.create_connection(("{address}", {port}), 5) as witness:
        witness.sendall((" ".join(tokens) + "\\n").encode())
        assert witness.recv(3) == b"ok\\n"
    if {fails}:
        raise RuntimeError("made to fail")
"""


def own_address():
    """An address of this machine that is not loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]


class Witness:
    def __init__(self):
        self.seen, self.lock = Counter(), threading.Lock()
        witness = self

        class Connection(socketserver.StreamRequestHandler):
            def handle(self):
                tokens = self.rfile.readline().decode().split()
                with witness.lock:
                    witness.seen.update(tokens)
                self.wfile.write(b"ok\n")

        self.address = own_address()
        self.server = socketserver.ThreadingTCPServer((self.address, 0), Connection)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def handler(self, fails):
        return HANDLER.format(address=self.address, port=self.port, fails=fails)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
