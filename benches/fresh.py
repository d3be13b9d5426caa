"""`fresh: always`: each call in a sandbox that nobody used before."""

import time

import programs
from cold import by_kind
from load import invocations, offer
from measure import Goal, Result, number, repeat, summary
from peers import Bare, Bwrap, a_second
from rouse import Rouse, function

PROGRAMS = (programs.STATIC, programs.GLIBC, programs.HEAVY_PYTHON, programs.HELLO_PYTHON)
# (median in ms, calls a second) for each program.
GOALS = {"static": (1.5, 800), "python": (3.0, 400), "python-hello": (3.0, 400)}
CLIENTS = 16


def one_by_one(rouse, connection, name, runs):
    """Calls one after the other; the records prove that no two met the same instance."""
    ids = []

    def call():
        begin = time.perf_counter()
        headers = rouse.invoke(connection, name)
        took = (time.perf_counter() - begin) * 1000
        ids.append(headers["x-rouse-request-id"])
        return took

    runs = min(runs, 900)
    took = repeat(f"fresh, {name}", runs, call)
    records = rouse.runs(connection, name, ids)
    instances = {run["instance"] for run in records.values()}
    if len(instances) != len(ids):
        raise RuntimeError(f"{len(ids)} calls of {name} met only {len(instances)} instances: these are not fresh")
    kinds = [records[one].get("start_kind") or "unknown" for one in ids[-runs:]]
    return [(one, kind, None) for one, kind in zip(took, kinds)]


def many(rouse, name, seconds):
    counted = offer(rouse.port, rouse.token, invocations([name]), CLIENTS, seconds)
    if counted["cold"] < counted["requests"]:
        raise RuntimeError(f"{name}: {counted['requests'] - counted['cold']} calls met a used instance")
    return counted


def beside(result, runs):
    """What peers that only start the program make in the same run."""
    rows = []
    for peer in (Bwrap(PROGRAMS), Bare(PROGRAMS)):
        row = [peer.name]
        for program in PROGRAMS:
            one = summary(repeat(f"{peer.name}, {program.name}", runs, lambda: peer.start(program)))
            rate = a_second(peer.command(program), CLIENTS, runs)
            result.figures[f"{peer.name}, {program.name}"] = {**one, "rate": rate}
            row.append(f"{number(one['p50'])} ({number(rate)})")
        rows.append(row)
    result.table("peers beside it, p50 in ms (starts a second)", ["", *(program.title for program in PROGRAMS)], rows)


def measure(settings):
    seconds = settings.of(10, 2)
    result = Result(f"fresh: always. {settings.runs} calls one after the other, then {CLIENTS} clients for {seconds} s")
    deployed = {p.name: function(p, fresh="always") for p in PROGRAMS}
    rows = []
    with Rouse(PROGRAMS, deployed) as rouse:
        connection = rouse.connect()
        for program in PROGRAMS:
            calls = one_by_one(rouse, connection, program.name, settings.runs)
            one = summary([took for took, _, _ in calls])
            many(rouse, program.name, 1)
            load = many(rouse, program.name, seconds)
            kinds = ", ".join(f"{len(values)} {kind}" for kind, values in sorted(by_kind(calls).items()))
            rows.append([program.title, number(one["p50"]), number(one["p99"]), kinds,
                         number(load["rate"]), number(load["p50"]), number(load["p99"])])
            result.figures[program.name] = {**one, "rate": load["rate"], "loaded p50": load["p50"],
                                            "loaded p99": load["p99"]}
            if program.name in GOALS:
                median, rate = GOALS[program.name]
                result.goals.append(Goal(f"{program.title}, fresh, p50", median, one["p50"], "ms"))
                result.goals.append(Goal(f"{program.title}, fresh", rate, load["rate"], "a second", least=True))
    result.table("one after the other, then together; ms", ["program", "p50", "p99", "starts", "calls a second",
                                                            "loaded p50", "loaded p99"], rows)
    beside(result, settings.runs)
    result.notes.append(f"Peers: to the program's first byte; then {settings.runs} complete starts by xargs, {CLIENTS} at a time. "
                        "No request, no answer, no record, no network.")
    result.notes.append("One after the other without a pause: the pool is filled while calls go on, so hits and "
                        "misses are mixed as a steady client meets them. Each call met another instance, which "
                        "the records of the calls prove.")
    return result
