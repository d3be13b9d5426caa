"""HTTP on one kept connection, without a library's cost in what is measured."""

import json
import socket


class Connection:
    """One HTTP/1.1 connection over TCP or a Unix socket."""

    def __init__(self, address, headers=None):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(120)
        self.socket.connect(address)
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.headers = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())

    def send(self, method, path, body=b"", extra=""):
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\n{self.headers}{extra}Content-Length: {len(body)}\r\n\r\n"
        self.socket.sendall(head.encode() + body)

    def receive(self):
        """Gives status, headers (names in lower case) and body."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.more()
        head, _, body = data.partition(b"\r\n\r\n")
        status, headers = parse(head)
        if headers.get("transfer-encoding") == "chunked":
            return status, headers, self.chunks(body)
        length = 0 if status in (204, 304) else int(headers.get("content-length", 0))
        while len(body) < length:
            body += self.more()
        return status, headers, body

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed by the peer")
        return data

    def chunks(self, data):
        whole = b""
        while True:
            while b"\r\n" not in data:
                data += self.more()
            size, _, data = data.partition(b"\r\n")
            size = int(size.split(b";")[0], 16)
            while len(data) < size + 2:
                data += self.more()
            whole, data = whole + data[:size], data[size + 2 :]
            if size == 0:
                return whole

    def exchange(self, method, path, body=b"", extra=""):
        """Gives headers and body of an answer that is no error."""
        self.send(method, path, body, extra)
        status, headers, answer = self.receive()
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")
        return headers, answer

    def call(self, method, path, body=b"", extra=""):
        return self.exchange(method, path, body, extra)[1]

    def json(self, method, path, value=None):
        body = b"" if value is None else json.dumps(value).encode()
        answer = self.call(method, path, body, "Content-Type: application/json\r\n")
        return json.loads(answer) if answer else None

    def close(self):
        self.socket.close()


def parse(head):
    """Status and headers of an answer's head."""
    lines = head.decode("latin-1").split("\r\n")
    return int(lines[0].split()[1]), {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
