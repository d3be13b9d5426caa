"""Durable events: accepted, worked on, and waiting by the million; beside a raw log and PostgreSQL."""

import re
import time

import durable
import process
import programs
from load import offer
from measure import Goal, Result, number, progress
from rouse import Rouse, function

CLIENTS = (1, 64, 512)
# Bytes of a record of the raw log in its own process, and of a row's body.
RECORD = 512


def path(name):
    return [f"/_rouse/v1/functions/{name}/invocations?type=event"]


def metric(connection, name, function_name):
    """A figure of the server's own metrics about one function."""
    _, text = connection.exchange("GET", "/_rouse/v1/metrics")
    found = re.search(rf'^{name}{{target="function:{function_name}"}} (\S+)$', text.decode(), re.M)
    return int(float(found[1])) if found else 0


def waiting(connection, name):
    return metric(connection, "rouse_events_waiting", name)


def accepts(rouse, log, postgres, seconds):
    """Durable accepts a second of each, in turns, for each number of clients."""
    ways = {
        "raw log, in process": lambda clients: durable.raw_log(clients, seconds, RECORD),
        "raw log, over HTTP": lambda clients: log.rate(clients, seconds),
        "rouse, asynchronous Invoke": lambda clients: offer(
            rouse.port, rouse.token, path("waits"), clients, seconds)["rate"],
        "PostgreSQL, single rows": lambda clients: postgres.rate(clients, seconds, RECORD),
    }
    rates = {name: {} for name in ways}
    for clients in CLIENTS:
        for name, way in ways.items():
            rates[name][clients] = way(clients)
        progress("durable accepts", clients, CLIENTS[-1])
    return rates


def end_to_end(rouse, connection, seconds):
    """Events a second from the first accept to the last end, through a function that does nothing."""
    before = metric(connection, "rouse_events_succeeded_total", "ends")
    begin = time.monotonic()
    offer(rouse.port, rouse.token, path("ends"), 64, seconds)
    accepted = metric(connection, "rouse_events_accepted_total", "ends") - before
    while True:
        ended = metric(connection, "rouse_events_succeeded_total", "ends") - before
        if ended >= accepted:
            return accepted, accepted / (time.monotonic() - begin)
        if metric(connection, "rouse_events_dead_total", "ends"):
            raise RuntimeError("events became dead letters")
        if time.monotonic() - begin > 600:
            raise RuntimeError(f"{accepted - ended} of {accepted} events have not ended")
        progress("events", ended, accepted)
        time.sleep(0.1)


def fill(rouse, connection, wanted):
    """Lets so many events wait."""
    while (there := waiting(connection, "waits")) < wanted:
        offer(rouse.port, rouse.token, path("waits"), 64, 5 if wanted - there > 100_000 else 1)
        progress("waiting events", min(there, wanted), wanted)


def memory(rouse):
    return process.proportional(process.platform(rouse.process.pid))


def flatness(rouse, connection, levels, seconds):
    """Accepts a second by 64 clients, and memory, with so many events waiting."""
    found = {}
    for level in levels:
        fill(rouse, connection, level)
        rate = offer(rouse.port, rouse.token, path("waits"), 64, seconds)["rate"]
        found[level] = {"rate": rate, "memory": memory(rouse)}
    return found


def functions():
    # Nothing is reserved for the first: what it is sent waits.
    return {
        "waits": function(programs.STATIC, concurrency={"reserved": 0}),
        "ends": function(programs.STATIC, concurrency={"keep_alive": "600s", "max": 64}),
    }


def measure(settings):
    seconds = settings.of(5, 1)
    levels = settings.of((1_000, 10_000, 100_000, 1_000_000), (1_000, 5_000))
    result = Result(f"Durable events: {seconds} s of accepts each, in turns; then up to {levels[-1]:,} waiting")
    durable.build()
    log = durable.HttpLog()
    try:
        postgres = durable.Postgres(CLIENTS[-1])
        try:
            with Rouse((programs.STATIC,), functions()) as rouse:
                rates = accepts(rouse, log, postgres, seconds)
            version = postgres.version()
        finally:
            postgres.stop()
    finally:
        log.stop()
    with Rouse((programs.STATIC,), functions()) as rouse:
        connection = rouse.connect()
        rest = memory(rouse)
        levelled = flatness(rouse, connection, levels, settings.of(3, 1))
    with Rouse((programs.STATIC,), functions()) as rouse:
        through = end_to_end(rouse, rouse.connect(), seconds)
    report(result, rates, levelled, rest, through, version)
    return result


def report(result, rates, levelled, rest, through, version):
    base = rates["raw log, over HTTP"]
    rows = [[name, *(f"{number(one[c])} ({one[c] / base[c]:.2f})" for c in CLIENTS)] for name, one in rates.items()]
    result.table("durable accepts a second (share of the raw log's over HTTP)",
                 ["", *(f"{clients} clients" for clients in CLIENTS)], rows)
    rows = [[f"{level:,}", number(one["rate"]), number(one["memory"]), number(one["memory"] - rest)]
            for level, one in levelled.items()]
    result.table("64 clients, while so many events wait",
                 ["waiting", "accepts a second", "memory of server and launcher, MB", "more than at rest"], rows)
    count, rate = through
    result.table("accepted, attempted and settled", ["", ""],
                 [["events", f"{count:,}"], ["events a second, end to end", number(rate)]])
    ours = rates["rouse, asynchronous Invoke"]
    result.goals.append(Goal("accepts, 64 clients, share of the raw log's over HTTP", 0.6, ours[64] / base[64], "",
                             least=True))
    result.goals.append(Goal("accepts, 64 clients, share of the raw log's in its own process", 0.6,
                             ours[64] / rates["raw log, in process"][64], "", least=True))
    first, last = list(levelled)[0], list(levelled)[-1]
    result.goals.append(Goal(f"accepts with {last:,} waiting, share of those with {first:,}", 0.8,
                             levelled[last]["rate"] / levelled[first]["rate"], "", least=True))
    result.figures = {"rates": rates, "waiting": levelled, "memory at rest": rest,
                      "end to end": {"events": count, "rate": rate}}
    result.notes += [
        "An accept is answered when it is on disk, in all of them: one fsync for all that wait at a time. The raw "
        "log has write and fdatasync, and nothing else: no index, no state, no way to find a record. Over HTTP it "
        "is one thread of C that is asked by the same wrk with the same requests as rouse; in its own process "
        "nothing is asked at all.",
        f"PostgreSQL {version} on a Unix socket, with its defaults, by pgbench: one row of {RECORD} bytes in each "
        "transaction, prepared, a primary key and one partial index.",
        "Client and server share the machine. wrk makes the requests by a script, on one thread.",
    ]
