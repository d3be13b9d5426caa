"""A client that makes calls at given moments, on as many kept connections as are open at a time."""

import heapq
import select
import time
from dataclasses import dataclass

from wire import parse


@dataclass
class Answer:
    """One call: when it was due and sent and answered (seconds of this run), and what the server said."""

    due: float
    sent: float
    answered: float
    status: int
    ending: str
    cold: bool


class Client:
    """Drives one epoll; everything in one thread."""

    def __init__(self, connect):
        self.connect = connect
        self.poll = select.epoll()
        self.free, self.busy = [], {}
        self.answers = {}

    def open(self, connections):
        """Opens connections ahead, so that this costs no call."""
        for _ in range(connections):
            self.free.append(self.connect())

    def send(self, call, due, name, payload, begin):
        connection = self.free.pop() if self.free else self.connect()
        sent = time.monotonic() - begin
        connection.send("POST", f"/_rouse/v1/functions/{name}/invocations?type=wait", payload)
        self.busy[connection.socket.fileno()] = (connection, call, due, sent, bytearray())
        self.poll.register(connection.socket, select.EPOLLIN)

    def receive(self, fd, begin):
        connection, call, due, sent, data = self.busy[fd]
        data += connection.more()
        head, end, body = bytes(data).partition(b"\r\n\r\n")
        if not end:
            return
        status, headers = parse(head)
        if len(body) < int(headers.get("content-length", 0)):
            return
        self.answers[call] = Answer(due, sent, time.monotonic() - begin, status,
                                    headers.get("x-rouse-ending", ""), headers.get("x-rouse-cold") == "true")
        del self.busy[fd]
        self.poll.unregister(fd)
        self.free.append(connection)

    def run(self, calls, begin, told=lambda done: None):
        """Makes the calls: (due in seconds after `begin`, function's name, payload), in any order.
        Gives an answer for each, in the order of the calls."""
        waiting = [(due, n) for n, (due, _, _) in enumerate(calls)]
        heapq.heapify(waiting)
        while waiting or self.busy:
            now = time.monotonic() - begin
            while waiting and waiting[0][0] <= now:
                due, n = heapq.heappop(waiting)
                self.send(n, due, calls[n][1], calls[n][2], begin)
            pause = min(waiting[0][0] - (time.monotonic() - begin), 0.2) if waiting else 0.2
            for fd, _ in self.poll.poll(max(pause, 0)):
                self.receive(fd, begin)
            told(len(self.answers))
        return [self.answers[n] for n in range(len(calls))]

    def close(self):
        for connection, *_ in self.busy.values():
            connection.close()
        for connection in self.free:
            connection.close()
        self.poll.close()
