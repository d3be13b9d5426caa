"""A start: request in to answer out, through the whole platform, beside peers with the same program."""

import time
from contextlib import ExitStack

import process
import programs
from measure import Goal, Result, number, repeat, summary
from peers import Bare, Bwrap, Docker, Runc
from rouse import Rouse, function

# Milliseconds of rest before each call, once the pools are full again, and how long that is waited for.
PAUSE, PATIENCE = 50, 2000
PEERS = (Bare, Bwrap, Runc, Docker)
ROUNDS = 4
# (median, 99th percentile or None, how many times faster than Docker) for each program.
GOALS = {"static": (1.5, 4.0, 100), "python": (2.5, None, 100), "node": (3.5, None, 50)}


class Pools:
    """What the server keeps prepared, told by its processes."""

    def __init__(self, rouse):
        self.rouse = rouse
        self.full = 0

    def wait(self):
        """Waits until there are as many again as there were; a pool that has become smaller is full so."""
        deadline = time.monotonic() + PATIENCE / 1000
        while (there := len(process.inside(self.rouse.process.pid))) < self.full and time.monotonic() < deadline:
            time.sleep(0.01)
        self.full = there


def starts(rouse, connection, name, runs, before=lambda: None):
    """Times calls that each find no instance. Gives (milliseconds, kind of start, timing) for each.
    `before` is done before each call, outside its time."""
    ids, pools = [], Pools(rouse)
    rouse.wait_until_gone(connection)
    time.sleep(0.5)
    pools.wait()

    def call():
        rouse.wait_until_gone(connection, {name})
        pools.wait()
        before()
        time.sleep(PAUSE / 1000)
        begin = time.perf_counter()
        headers = rouse.invoke(connection, name)
        took = (time.perf_counter() - begin) * 1000
        if headers["x-rouse-cold"] != "true":
            raise RuntimeError(f"a call of {name} was warm: these are not cold starts")
        ids.append(headers["x-rouse-request-id"])
        return took

    took, found, unmeasured = [], {}, 3
    while len(took) < runs:
        some = min(runs - len(took), 500)
        ids.clear()
        took += repeat(f"rouse, {name}", some, call, unmeasured)
        kept = ids[unmeasured:]
        records = rouse.runs(connection, name, kept)
        found |= {len(found) + n: records[one] for n, one in enumerate(kept)}
        unmeasured = 0
    return [(took[n], found[n].get("start_kind") or "unknown", found[n]["timing"]) for n in range(runs)]


def by_kind(calls):
    """Milliseconds of the calls, by how the instance was started."""
    kinds = {}
    for took, kind, _ in calls:
        kinds.setdefault(kind, []).append(took)
    return kinds


def hits(program, calls):
    """Those that the pool served. A server that does not tell kinds has no pool: all of them."""
    kinds = by_kind(calls)
    return kinds.get(program.hit, kinds.get("unknown", []))


def show_kinds(result, label, found):
    """A table of the calls of each program, hits and misses apart; its figures go below the label."""
    rows = []
    for program in programs.ALL:
        for kind, values in sorted(by_kind(found.get(program.name, [])).items()):
            one = summary(values)
            what = "-" if kind == "unknown" else "hit" if kind == program.hit else "miss"
            rows.append([program.title, kind, what, one["runs"],
                         number(one["p50"]), number(one["p99"]), number(one["least"])])
            result.figures[f"{label}, {program.name}, {kind}"] = one
    result.table(f"{label}, by how the instance was started, ms",
                 ["program", "start", "", "calls", "p50", "p99", "least"], rows)


def in_rounds(runs, rounds):
    """Milliseconds of rouse's calls and of the peers' starts. All of them take turns, a few rounds each, so that
    what else the machine does meets all of them."""
    deployed = {p.name: function(p, concurrency={"keep_alive": "0s"}) for p in programs.ALL}
    mine = {p.name: [] for p in programs.ALL}
    peers = {make.name: {p.name: [] for p in programs.ALL} for make in PEERS}
    with ExitStack() as stack:
        running = []
        for make in PEERS:
            running.append(make(programs.ALL))
            stack.callback(running[-1].stop)
        rouse = stack.enter_context(Rouse(programs.ALL, deployed))
        for done in range(rounds):
            some = (runs * (done + 1)) // rounds - (runs * done) // rounds
            for program in programs.ALL:
                # While the peers have their turn, the server closes a connection that is idle for too long.
                connection = rouse.connect()
                mine[program.name] += starts(rouse, connection, program.name, some)
                connection.close()
                for peer in running:
                    label = f"{peer.name}, {program.name}"
                    peers[peer.name][program.name] += repeat(label, some, lambda: peer.start(program))
    return mine, {name: {p: summary(values) for p, values in one.items()} for name, one in peers.items()}


def compare(result, mine, peers):
    rows = []
    for name, figures in {"rouse": mine, **peers}.items():
        row = [name]
        for program in programs.ALL:
            one, own = figures[program.name], mine[program.name]["p50"]
            ratio = "" if name == "rouse" or not own else f" ({number(one['p50'] / own)}×)"
            row.append(f"{number(one['p50'])} / {number(one['p99'])}{ratio}")
            result.figures[f"{'hits' if name == 'rouse' else name}, {program.name}"] = one
        rows.append(row)
    result.table("rouse's hits beside its peers: p50 / p99 in ms (p50 in multiples of rouse's)",
                 ["", *(program.title for program in programs.ALL)], rows)


def measure(settings):
    runs = settings.runs
    result = Result(f"Cold starts: {runs} calls of each, each of which finds no instance")
    found, peers = in_rounds(runs, settings.of(ROUNDS, 1))
    mine = {program.name: summary(hits(program, found[program.name])) for program in programs.ALL}
    show_kinds(result, "rouse", found)
    compare(result, mine, peers)
    for program in programs.ALL:
        calls = sorted(found[program.name], key=lambda call: call[0])
        timing = ", ".join(f"{what} {took}" for what, took in calls[len(calls) // 2][2].items())
        result.notes.append(f"{program.title}: where a median call's time went, µs: {timing}.")
    for name, (median, tail, times) in GOALS.items():
        title = {p.name: p.title for p in programs.ALL}[name]
        own = mine[name]
        result.goals.append(Goal(f"{title}, p50", median, own["p50"], "ms"))
        if tail:
            result.goals.append(Goal(f"{title}, p99", tail, own["p99"], "ms"))
        docker = peers[Docker.name][name]["p50"]
        ratio = docker / own["p50"] if own["p50"] else None
        result.goals.append(Goal(f"{title}, times faster than Docker", times, ratio, "×", least=True))
    result.notes += [
        "rouse: an HTTP request through the whole platform, until the function's answer is read.",
        "Peers: from asking for the container to the program's first byte; no request, no answer.",
        f"Before each call the pools are full again, and {PAUSE} ms pass. A hit is a call that a pool "
        "served (stem for Python and Node, armed sandbox for a program); goals are about hits.",
        "The programs' files are in the page cache.",
    ]
    return result
