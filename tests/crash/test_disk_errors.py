"""The disk fails: the Nth write, sync or change of a name is refused, once or from then on. What was
answered 2xx meanwhile is there when the disk is well again, and a failed sync of the database has ended
the process, since nothing that is read after it can be believed.

ROUSE_TEST_DISK_ERRORS (8): at how many N of each sort of failure.
"""

import errno
import itertools
import os
import signal
import socket
import time

import disk
import pytest
from ledger import Ledger
from load import TURNS, Load, ended_within
from world import SOURCES, World

COUNT = int(os.environ.get("ROUSE_TEST_DISK_ERRORS", "8"))
SORTS = [
    ("write", "EIO", "once"), ("write", "EIO", "on"), ("write", "ENOSPC", "on"),
    ("sync", "EIO", "once"), ("sync", "EIO", "on"), ("sync", "ENOSPC", "once"),
    ("name", "ENOSPC", "on"), ("name", "EIO", "once"),
]
PATIENCE = 60
EVERY = [ask for source in SOURCES for ask in TURNS[source]]


class Failing(World):
    """A world whose server's disk can be made to fail."""

    numbers = itertools.count()

    def __init__(self, folder, witness):
        self.fault, self.fired = folder / "fault", folder / "fault.fired"
        super().__init__(folder, witness, variables={
            "LD_PRELOAD": str(disk.compiled(folder / "disk.so")),
            "ROUSE_DISK_FOLDER": str((folder / "data").resolve()),
            "ROUSE_DISK_FAULT": str(self.fault),
        })

    def fail(self, what, nth, number, mode):
        temporary = self.fault.with_suffix(".new")
        # The last word makes it another order than the one before.
        temporary.write_text(f"{what} {nth} {getattr(errno, number)} {mode} {next(self.numbers)}")
        temporary.rename(self.fault)

    def heal(self):
        """Gives the name of the file that a call failed for."""
        name = self.fired.read_text() if self.fired.exists() else None
        self.fault.unlink(missing_ok=True)
        self.fired.unlink(missing_ok=True)
        return name


@pytest.fixture(scope="module")
def world(tmp_path_factory, witness):
    made = Failing(tmp_path_factory.mktemp("errors"), witness)
    made.server.start()
    made.set_up()
    for source in SOURCES:
        TURNS[source][0](made)
    made.audit(0)
    yield made
    made.server.kill()


def until(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        time.sleep(0.01)


@pytest.mark.parametrize("sort", SORTS, ids=lambda sort: "-".join(sort))
def test_an_error_of_the_disk_makes_no_false_answer(world, sort):
    what, number, mode = sort
    answers = 0
    for nth in range(1, COUNT + 1):
        process = world.server.process
        world.ledger, since = Ledger(), int(time.time() * 1000)
        with Load(world, EVERY, clients=3):
            time.sleep(0.05 * nth)
            world.fail(what, nth, number, mode)
            until("the failure", world.fired.exists)
            # An answer that is false now would be given now.
            ended_within(process, 0.3)
        # One that is about to end has done so before it is asked again.
        ended_within(process, 0.3)
        name = world.heal()
        if what == "sync" and name.startswith("state.db"):
            assert ended_within(process, PATIENCE) == -signal.SIGABRT, (name, process.returncode)
        if process.poll() is not None:
            assert process.returncode == -signal.SIGABRT, f"ended with {process.returncode} by {name}"
            world.server.start()
        answers += world.audit(since)
        world.objects()
    assert answers


def test_an_error_while_it_starts_loses_nothing(world):
    for what, nth in itertools.product(("write", "sync", "name"), range(1, COUNT + 1)):
        world.ledger, since = Ledger(), int(time.time() * 1000)
        with Load(world, EVERY, clients=2):
            time.sleep(0.1)
            world.server.kill()
        world.fail(what, nth, "EIO", "on")
        world.server.spawn()
        # It ends, or it does without what failed.
        until("the end of the start", lambda: world.server.process.poll() is not None or listens(world))
        world.server.kill()
        world.heal()
        world.server.start()
        world.audit(since)
        world.objects()


def listens(world):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", world.server.port)) == 0
