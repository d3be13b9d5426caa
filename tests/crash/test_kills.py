"""kill -9 at random moments, while every source is asked and what was asked before is still worked on.

ROUSE_TEST_CRASH_KILLS (100): how many; ROUSE_TEST_CRASH_SEED.
"""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

from ledger import Ledger
from load import TURNS, Load
from world import SOURCES, World

KILLS = int(os.environ.get("ROUSE_TEST_CRASH_KILLS", "100"))
SEED = int(os.environ.get("ROUSE_TEST_CRASH_SEED", "0")) or random.randrange(2**32)
WORLDS = 2
# Kills between two audits: each start but the last of them finds what several servers left.
BETWEEN = 5
EVERY = [ask for source in SOURCES for ask in TURNS[source]]


def kills(folder, witness, seed, count):
    """Gives how many answers were held against what was found."""
    folder.mkdir()
    moments, world, answers = random.Random(seed), World(folder, witness), 0
    world.server.start()
    world.set_up()
    for source in SOURCES:
        TURNS[source][0](world)
    world.audit(0)
    while count > 0:
        world.ledger, since = Ledger(), int(time.time() * 1000)
        for _ in range(min(count, BETWEEN)):
            with Load(world, EVERY, clients=3):
                time.sleep(moments.uniform(0.0, 0.7))
                world.server.kill()
            # Some are killed before they have started.
            world.server.spawn()
            if moments.random() < 0.2:
                time.sleep(moments.uniform(0.0, 0.4))
                world.server.kill()
                count -= 1
                world.server.spawn()
            world.server.ready()
            count -= 1
        answers += world.audit(since)
        world.objects()
    world.server.kill()
    return answers


def test_what_was_answered_outlives_kills_at_any_moment(tmp_path, witness):
    print(f"seed {SEED}")
    with ThreadPoolExecutor(WORLDS) as pool:
        runs = [
            pool.submit(kills, tmp_path / f"world-{number}", witness, SEED + number, -(-KILLS // WORLDS))
            for number in range(WORLDS)
        ]
    answers = [run.result() for run in runs]
    print(f"{KILLS} kills, {sum(answers)} answers of 2xx held against the store")
    assert all(answers)
