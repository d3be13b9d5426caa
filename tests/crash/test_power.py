"""The power goes: what was not synced is really gone, and what was answered 2xx is not.

A server works while every change below its data folder is written down. Then, for moments of that time,
its folder is put together from what was durable then, and more or less of what was not; a server is
started on it, and what it makes of it is held against what was answered until that moment.

ROUSE_TEST_POWER_POINTS (50): moments; ROUSE_TEST_POWER_WAYS (2): in how many ways the power goes at each,
nothing of what was not durable and, in turn, some of it; ROUSE_TEST_POWER_SEED.
"""

import os
import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import disk
import pytest
from ledger import Ledger
from load import BULKY, TURNS, Load
from world import SOURCES, World

POINTS = int(os.environ.get("ROUSE_TEST_POWER_POINTS", "50"))
SEED = int(os.environ.get("ROUSE_TEST_POWER_SEED", "0")) or random.randrange(2**32)
SOME = ("names", "torn", "prefix")
WAYS = int(os.environ.get("ROUSE_TEST_POWER_WAYS", "2"))
AT_A_TIME = 2


class Recorded:
    """A server's work with its log, and the ledger with the log's position at each answer."""

    def __init__(self, folder, witness):
        self.folder, self.witness, self.base = folder, witness, folder / "base"
        self.log = folder / "log"
        variables = {
            "LD_PRELOAD": str(disk.compiled(folder / "disk.so")),
            "ROUSE_DISK_FOLDER": str((folder / "data").resolve()),
            "ROUSE_DISK_LOG": str(self.log),
        }
        self.world = world = World(folder, witness)
        world.server.start()
        world.set_up()
        for source in SOURCES:
            TURNS[source][0](world)
        world.audit(0)
        world.server.stop()
        shutil.copytree(world.server.data, self.base, symlinks=True)
        os.sync()
        world.server.variables.update(variables)
        world.ledger = self.ledger = Ledger()
        self.since = int(time.time() * 1000)
        world.server.start()
        self.ledger.position = lambda: self.log.stat().st_size
        self.work()
        world.server.kill()
        self.records = list(disk.records(self.log))

    def work(self):
        every = [ask for source in SOURCES for ask in TURNS[source]]
        with Load(self.world, every, clients=3, pause=0.01):
            time.sleep(2)
        # Enough for the log to be copied into the database, and to begin again.
        bulky = [ask for source in SOURCES for ask in BULKY[source]]
        deadline = time.monotonic() + 60
        while not self.copied():
            assert time.monotonic() < deadline, "the write-ahead log was never copied"
            with Load(self.world, bulky, clients=2):
                time.sleep(0.5)
        with Load(self.world, every, clients=3, pause=0.01):
            time.sleep(1)

    def copied(self):
        return any(op == "W" and name == "state.db" for _, op, _, _, name, _ in disk.records(self.log))

    def moments(self, count):
        """Positions at which the power goes: just after answers, just before and after syncs, and any."""
        chance = random.Random(SEED)
        answers = sorted(set(self.ledger.positions.values()))
        ends = [record[0] for record in self.records if record[0] >= answers[0]]
        syncs = [record[0] for record in self.records if record[1] == "S" and record[0] >= answers[0]]
        before = [ends[max(0, ends.index(end) - 1)] for end in chance.sample(syncs, min(len(syncs), count))]
        chosen = []
        for place in (answers, syncs, before, ends, answers):
            chosen += chance.sample(place, min(len(place), -(-count // 5)))
        return sorted(chosen[:count])

    def until(self, position):
        """The ledger as it was then: what was asked later may have begun, and is not answered."""
        then = Ledger()
        then.asked, then.meant = self.ledger.asked, {**self.world.ledger.meant, **self.ledger.meant}
        for key, at in self.ledger.positions.items():
            if at <= position:
                then.answered[key] = 1
        return then


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, witness):
    print(f"seed {SEED}")
    return Recorded(tmp_path_factory.mktemp("power"), witness)


def test_the_log_tells_all_that_was_done(recorded, tmp_path):
    """What a server does past the log would make the other tests worthless."""
    whole = disk.Disk(recorded.base)
    for _, *record in recorded.records:
        whole.do(*record)
    assert whole.touched, "nothing was logged"
    told, real = tmp_path / "told", recorded.world.server.data
    whole.write_out(told, "everything")
    contents = lambda folder: {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.relative_to(folder).parts[0] not in disk.ANEW and not path.is_symlink()
    }
    one, other = contents(told), contents(real)
    assert one.keys() == other.keys(), one.keys() ^ other.keys()
    assert [name for name in one if one[name] != other[name]] == []
    synced = {name for _, op, _, _, name, _ in recorded.records if op == "S"}
    assert {"state.db", "state.db-wal"} <= synced


def ways(number):
    """What stays of what was not durable at the moment of this number."""
    turned = SOME[number % len(SOME):] + SOME[:number % len(SOME)]
    return ("nothing", *turned)[:WAYS]


def judge(recorded, folder, position):
    """Starts a server on what was left, and holds it against the ledger of that moment."""
    world = World(folder, recorded.witness)
    ledger = recorded.until(position)
    world.ledger = ledger
    world.server.start()
    try:
        world.audit(recorded.since, ledger)
        world.objects(ledger)
    finally:
        world.server.kill()
    return sum(ledger.answered.values())


def test_what_was_answered_outlives_the_power(recorded, tmp_path):
    moments, lost, judged = recorded.moments(POINTS), [], []
    assert len(moments) >= min(POINTS, 50), len(moments)
    at, running = disk.Disk(recorded.base), []

    def run(folder, position, how, seed):
        try:
            judged.append(judge(recorded, folder, position))
            shutil.rmtree(folder)
        except BaseException as error:
            lost.append(f"position {position}, {how}, seed {seed}, {folder}: {error}")

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        done = 0
        for number, position in enumerate(moments):
            while done < len(recorded.records) and recorded.records[done][0] <= position:
                at.do(*recorded.records[done][1:])
                done += 1
            for how in ways(number):
                folder, seed = tmp_path / f"{number}-{how}", SEED + number
                folder.mkdir()
                at.write_out(folder / "data", how, seed)
                running.append(pool.submit(run, folder, position, how, seed))
            while sum(not one.done() for one in running) > 4 * AT_A_TIME:
                time.sleep(0.05)
    print(f"{len(moments)} losses of power in {WAYS} ways each, {sum(judged)} answers held against the store")
    assert not lost, "\n\n".join(lost)[:8000]
