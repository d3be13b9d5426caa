"""Kills a server at every crash point, by the events of each source that reaches it, and holds what the
next start makes of it against what the clients were answered.

ROUSE_TEST_CRASH_ROUNDS (1): how often each; ROUSE_TEST_CRASH_SEED; ROUSE_TEST_CRASH_WORLDS (4): servers
at a time; ROUSE_TEST_CRASH_PAUSE (30): milliseconds for which the thread at the point stalls first.
"""

import itertools
import os
import random
import signal
import sqlite3
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e import REPO
from ledger import Ledger
from load import BULKY, TURNS, Load, ended_within
from world import SOURCES, World

STATE = REPO / "crates/state/src"
POINTS = [line.split("\t") for line in (STATE / "crash/points.tsv").read_text().splitlines()]
PAIRS = [(name, source) for name, sources, _ in POINTS for source in sources.split(",")]
ROUNDS = int(os.environ.get("ROUSE_TEST_CRASH_ROUNDS", "1"))
SEED = int(os.environ.get("ROUSE_TEST_CRASH_SEED", "0")) or random.randrange(2**32)
WORLDS = int(os.environ.get("ROUSE_TEST_CRASH_WORLDS", "4"))
PAUSE = int(os.environ.get("ROUSE_TEST_CRASH_PAUSE", "30"))
# How long a server may take to reach the point, on a slow machine.
PATIENCE = 60

# Points that only a start passes.
AT_START = ("migration", "recovery", "sweep")
# What reaches a point soonest, where that is not a source's usual turn.
MOST_DIRECT = {
    "parts-joined": [lambda world: world.upload([5 << 20, 9])],
    "object-linked": [lambda world: world.upload([40])],
    "upload-completed": [lambda world: world.upload([40])],
    "object-row-deleted": [lambda world: world.delete()],
    "object-removed": [lambda world: world.delete()],
    "file-unneeded": [lambda world: world.overwrite()],
    "name-remembered": [lambda world: world.named()],
}


def downgrade(folder):
    """Makes the database one of the schema before the last, with all that this one has room for. What is
    in partitions comes from the first one, which is far from full here."""
    steps = sorted((STATE / "migrations").glob("*.sql"), key=lambda path: int(path.stem))[:-1]
    path = folder / "state.db"
    old = sqlite3.connect(folder / "old.db", isolation_level=None)
    old.execute("PRAGMA journal_mode = WAL")
    for step in steps:
        old.executescript(step.read_text())
    # This also brings in what is still in the log that the kill left.
    old.execute("ATTACH ? AS new", [str(path)])
    number = old.execute("PRAGMA new.application_id").fetchone()[0]
    names = lambda place: {
        row[0] for row in old.execute(f"SELECT name FROM {place}.sqlite_schema WHERE type = 'table'")
        if not row[0].startswith("sqlite_")
    }
    old.execute("BEGIN")
    columns = lambda place, table: [row[1] for row in old.execute(f"PRAGMA {place}.table_info('{table}')")]
    present = names("new")
    for table in names("main"):
        source = table if table in present else f"{table}_0"
        assert source in present, f"the schema before had {table}: where are its rows now?"
        kept = columns("new", source)
        shared = ", ".join(column for column in columns("main", table) if column in kept)
        old.execute(f"DELETE FROM main.{table}")
        old.execute(f"INSERT INTO main.{table} ({shared}) SELECT {shared} FROM new.{source}")
    old.execute("COMMIT")
    old.execute(f"PRAGMA main.application_id = {number}")
    old.execute(f"PRAGMA main.user_version = {len(steps)}")
    old.execute("DETACH new")
    old.close()
    for end in ("", "-wal", "-shm"):
        (folder / f"state.db{end}").unlink(missing_ok=True)
    (folder / "old.db").rename(path)


class Killed:
    """A world whose server is killed again and again."""

    def __init__(self, folder, witness):
        self.world = World(folder, witness)

    def begin(self, sources):
        """Asks each of these sources once, so that nothing about it is new to the server."""
        world = self.world
        world.server.start()
        world.set_up()
        for source in sources:
            TURNS[source][0](world)
        # A bug that answers early is to be found by a kill, and not by a look that comes too soon.
        time.sleep(0.5)
        world.audit(0)

    def arm(self, point, nth):
        temporary = self.world.crash_file.with_suffix(".new")
        temporary.write_text(f"{point} {nth} {PAUSE}")
        temporary.rename(self.world.crash_file)

    def died(self, point):
        """That the server ended as it should, and at the point."""
        process = self.world.server.process
        code = ended_within(process, PATIENCE)
        assert code is not None, f"{point} was not reached within {PATIENCE} s"
        assert code == -signal.SIGKILL, f"ended with {code}, see {self.world.server.log}"
        assert not self.world.crash_file.exists(), "killed, but not at the point"

    def at_start(self, point, source):
        """Leaves work behind, kills the server, and kills the next one at a point of its start."""
        world = self.world
        with Load(world, TURNS[source]):
            time.sleep(0.15)
            world.server.kill()
        if point.startswith("migration"):
            downgrade(world.server.data)
        self.arm(point, 1)
        world.server.spawn()
        self.died(point)

    def at_work(self, point, source, nth):
        world = self.world
        turns = MOST_DIRECT.get(point, TURNS[source])
        if point.startswith("checkpoint"):
            turns, nth = BULKY[source], 1
        if point in ("move-begun", "message-copied"):
            for _ in range(3):
                world.sqs("bad")
            world.drain(0)
            self.arm(point, 1)
            try:
                world.redrive()
            except Exception:  # it may die before it answers
                pass
        else:
            with Load(world, turns):
                # There is work of every age when it happens.
                time.sleep(0.1 * nth)
                self.arm(point, nth)
                self.died(point)
                return
        self.died(point)

    def kill_at(self, point, source, nth):
        """Gives how many answers were held against what was found."""
        world = self.world
        if world.server.process.poll() is not None:
            world.server.start()
        # Only what is asked from now on is this run's.
        world.ledger, since = Ledger(), int(time.time() * 1000)
        if point.startswith(AT_START):
            self.at_start(point, source)
        else:
            self.at_work(point, source, nth)
        world.server.start()
        count = world.audit(since)
        world.objects()
        return count


class Campaign:
    """All kills, by several worlds at a time, before the first test is judged."""

    def __init__(self, folder, witness, pairs):
        moments = random.Random(SEED)
        print(f"seed {SEED}")
        runs = [(point, source, moments.randint(1, 3)) for point, source in pairs * ROUNDS]
        moments.shuffle(runs)
        self.runs, self.lock = iter(runs), threading.Lock()
        self.folder, self.witness = folder, witness
        self.sources = sorted({source for _, source in pairs})
        self.outcomes, self.answers, self.kills = {}, 0, 0
        self.numbers = itertools.count()
        with ThreadPoolExecutor(WORLDS) as pool:
            for world in [pool.submit(self.work) for _ in range(WORLDS)]:
                world.result()

    def fresh(self):
        folder = self.folder / f"world-{next(self.numbers)}"
        folder.mkdir()
        killed = Killed(folder, self.witness)
        killed.begin(self.sources)
        return killed

    def work(self):
        killed = self.fresh()
        try:
            while run := self.next():
                point, source, nth = run
                try:
                    count, error = killed.kill_at(point, source, nth), None
                except BaseException:
                    count, error = 0, f"{killed.world.folder}\n{traceback.format_exc()}"
                with self.lock:
                    self.kills += 1
                    self.answers += count
                    self.outcomes.setdefault((point, source), []).append(error)
                if error:  # what is wrong here must not be found again by the next kill
                    killed.world.server.process.kill()
                    killed = self.fresh()
        finally:
            killed.world.server.process.kill()
            killed.world.server.process.wait()

    def next(self):
        with self.lock:
            return next(self.runs, None)


@pytest.fixture(scope="session")
def campaign(request, tmp_path_factory, witness):
    chosen = [item.callspec.params["pair"] for item in request.session.items
              if getattr(item, "callspec", None) and "pair" in item.callspec.params]
    done = Campaign(tmp_path_factory.mktemp("points"), witness, chosen)
    print(f"{done.kills} kills at {len(POINTS)} points, {done.answers} answers of 2xx held against the store")
    return done


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "-by-".join(pair))
def test_nothing_is_lost_at(pair, campaign):
    errors = [error for error in campaign.outcomes[pair] if error]
    assert not errors, "\n\n".join(errors)


def test_there_are_enough_points_by_enough_sources():
    assert len(POINTS) >= 40
    for source in SOURCES:
        assert sum(source in sources.split(",") for _, sources, _ in POINTS) >= 20, source
