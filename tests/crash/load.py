"""Clients that ask without a pause until their server dies, each source by its own real client."""

import threading
import time

# What a source asks for in turn.
TURNS = {
    "put": [
        lambda world: world.put(), lambda world: world.put("bad"), lambda world: world.put(way="queue"),
        lambda world: world.overwrite(), lambda world: world.delete(), lambda world: world.upload([40]),
        lambda world: world.replay("put"),
    ],
    "sqs": [
        lambda world: world.sqs(), lambda world: world.sqs("bad"), lambda world: world.sqs(count=3),
    ],
    "schedule": [
        lambda world: world.schedule(), lambda world: world.schedule("bad"),
        lambda world: world.schedule(way="queue"), lambda world: world.replay("schedule"),
    ],
    "bus": [
        lambda world: world.bus(), lambda world: world.bus("bad"), lambda world: world.bus(way="queue"),
        lambda world: world.named(), lambda world: world.replay("bus"),
    ],
    "invoke": [
        lambda world: world.invoke(), lambda world: world.invoke("bad"), lambda world: world.replay("invoke"),
    ],
}
PAD = 100_000
# Enough to fill the write-ahead log with it, so that it is copied into the database.
BULKY = {
    "put": [lambda world: world.put(metadata={"pad": "." * 1900})],
    "sqs": [lambda world: world.sqs(pad=PAD)],
    "schedule": [lambda world: world.schedule(pad=PAD)],
    "bus": [lambda world: world.bus(pad=PAD)],
    "invoke": [lambda world: world.invoke(pad=PAD)],
}


class Client(threading.Thread):
    """Asks in turn until it is stopped; an answer that does not come is not in the ledger."""

    def __init__(self, world, turns, first, pause=0.0):
        super().__init__(daemon=True)
        self.world, self.turns, self.turn, self.pause = world, turns, first, pause
        self.over, self.errors = threading.Event(), []

    def run(self):
        while not self.over.is_set():
            ask = self.turns[self.turn % len(self.turns)]
            self.turn += 1
            try:
                ask(self.world)
            except Exception as error:  # the server is dead or dying
                self.errors.append(error)
                self.over.wait(0.02)
            self.over.wait(self.pause)


class Load:
    """Some clients at once, for as long as the block lasts."""

    def __init__(self, world, turns, clients=2, pause=0.0):
        self.clients = [Client(world, turns, first, pause) for first in range(clients)]

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.over.set()
        for client in self.clients:
            client.join()

    def errors(self):
        return [error for client in self.clients for error in client.errors]


def ended_within(process, seconds):
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    return process.returncode
