"""A recorded workload: which function is called when, for how long, and how much memory it has."""

import csv
import io
import lzma
import random
import statistics
from dataclasses import dataclass
from pathlib import Path

SAMPLE = Path(__file__).parent / "trace/500"
# Points of the recorded distribution of execution times.
SHARES = (0, 0.01, 0.25, 0.5, 0.75, 0.99, 1)
COLUMNS = [f"percentile_Average_{int(share * 100)}" for share in SHARES]
SEED = 2019


@dataclass(frozen=True)
class Call:
    """At `at` seconds of the trace, `function` (a number) works `seconds`."""

    at: float
    function: int
    seconds: float


@dataclass
class Workload:
    """Calls in order of time, and the megabytes of each function."""

    calls: list
    memory: list
    minutes: int
    left_out: int
    left_out_calls: int


def table(prefix, kind):
    """Rows of one file of the trace, as dictionaries."""
    for path in (Path(f"{prefix}_{kind}.csv"), Path(f"{prefix}_{kind}.csv.xz")):
        if path.exists():
            raw = path.read_bytes()
            text = (lzma.decompress(raw) if path.suffix == ".xz" else raw).decode()
            return list(csv.DictReader(io.StringIO(text)))
    raise SystemExit(f"bench: {prefix}_{kind}.csv is not there, nor with .xz: --trace names FOLDER/PREFIX")


def prefix_in(given):
    """FOLDER/PREFIX as given, or the one set that a folder has."""
    given = Path(given)
    if not given.is_dir():
        return given
    found = sorted(given.glob("*_inv.csv*"))
    if not found:
        raise SystemExit(f"bench: {given} has no file *_inv.csv or *_inv.csv.xz")
    if len(found) > 1:
        raise SystemExit(f"bench: {given} has several sets, name one: {given / found[0].name.split('_inv')[0]}")
    return given / found[0].name.split("_inv.csv")[0]


def duration(points, share):
    """Seconds at this share of the recorded distribution, straight between its points."""
    for n in range(1, len(SHARES)):
        if share <= SHARES[n]:
            part = (share - SHARES[n - 1]) / (SHARES[n] - SHARES[n - 1])
            return (points[n - 1] + part * (points[n] - points[n - 1])) / 1000
    return points[-1] / 1000


def read(prefix, minutes, most):
    """The first minutes of a trace, without the functions that are called more than `most` times a second.

    Within its minute a call comes at any moment, and its duration is drawn from its function's distribution:
    the trace has no more than that. The draw is the same each time.
    """
    draw = random.Random(SEED)
    invocations, runs = table(prefix, "inv"), {row["HashFunction"]: row for row in table(prefix, "run")}
    sizes = {row["HashFunction"]: float(row["AverageAllocatedMb"]) for row in table(prefix, "mem")}
    usual = statistics.median(sizes.values())
    columns = [name for name in invocations[0] if name.isdigit()][:minutes]
    apps = {}
    for row in invocations:
        apps[row["HashApp"]] = apps.get(row["HashApp"], 0) + 1
    calls, memory, left_out, left_out_calls = [], [], 0, 0
    for row in invocations:
        counts = [int(row[column]) for column in columns]
        if sum(counts) == 0 or row["HashFunction"] not in runs:
            continue
        if sum(counts) > most * 60 * len(columns):
            left_out, left_out_calls = left_out + 1, left_out_calls + sum(counts)
            continue
        points = [float(runs[row["HashFunction"]][column]) for column in COLUMNS]
        for minute, count in enumerate(counts):
            for _ in range(count):
                calls.append(Call((minute + draw.random()) * 60, len(memory), duration(points, draw.random())))
        # The trace gives memory by application.
        memory.append(sizes.get(row["HashFunction"], usual) / apps[row["HashApp"]])
    calls.sort(key=lambda call: call.at)
    return Workload(calls, memory, len(columns), left_out, left_out_calls)
