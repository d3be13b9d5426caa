"""A start: request in to first answer out."""

import time

from measure import machine, progress, repeat, summary, table, write
from peers import Bwrap, Docker, Runc
from rouse import Rouse

RUNTIMES = ("static", "python", "node")


def cold_call(rouse, connection, name):
    """Milliseconds of one call that finds no instance, and the platform's own account of it."""
    while rouse.instances(connection, name):
        time.sleep(0.002)
    begin = time.perf_counter()
    connection.call("POST", f"/_rouse/v1/functions/{name}/invocations?type=wait", b"{}")
    return (time.perf_counter() - begin) * 1000


def of_rouse(runs):
    rouse = Rouse()
    figures = {}
    try:
        connection = rouse.connect()
        for runtime in RUNTIMES:
            values = repeat(f"rouse, {runtime}", runs, lambda: cold_call(rouse, connection, runtime))
            recorded = connection.json("GET", f"/_rouse/v1/runs?target=function:{runtime}&limit={runs}")
            if not all(run["cold"] for run in recorded):
                raise RuntimeError(f"a call of {runtime} was warm: these are not cold starts")
            figures[("rouse", runtime)] = values
            middle = sorted(recorded, key=lambda run: run["timing"]["queued"])[len(recorded) // 2]["timing"]
            print(f"   {runtime}: where a median call's time went, µs: {middle}")
    finally:
        rouse.stop()
    return figures


def of_peer(peer, runs):
    try:
        return {(peer.name, runtime): repeat(f"{peer.name}, {runtime}", runs, lambda: peer.start(runtime))
                for runtime in RUNTIMES}
    finally:
        peer.stop()


def measure(runs, output):
    print(f"cold starts, {runs} each, on {machine()}")
    figures = of_rouse(runs)
    for make in (Bwrap, Runc, Docker):
        figures.update(of_peer(make(), runs))
    progress("done", 1, 1)
    rows = []
    for name in dict.fromkeys(name for name, _ in figures):
        row = [name]
        for runtime in RUNTIMES:
            found = summary(figures[(name, runtime)])
            ratio = found["p50"] / summary(figures[("rouse", runtime)])["p50"]
            row += [f"{found['p50']:.2f}", f"{found['p99']:.2f}", f"{ratio:.1f}×"]
        rows.append(row)
    head = ["ms"] + [f"{runtime} {what}" for runtime in RUNTIMES for what in ("p50", "p99", "/rouse")]
    table(head, rows)
    print("rouse: an HTTP request through the whole platform, answered by the function.")
    print("Peers: from asking for the container to the program's first byte; no request, no answer.")
    write(output, {f"{name}, {runtime}": summary(values) for (name, runtime), values in figures.items()})
