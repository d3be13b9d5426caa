"""Many functions, each cold, asked at the same moment."""

import select
import statistics
import time

import programs
from measure import Goal, Result, number, progress, summary
from rouse import Rouse, function
from wire import parse


def ask_all(rouse, names):
    """Asks each function once, all at once. Gives milliseconds until each was answered, and the ids."""
    connections = [rouse.connect() for _ in names]
    poll, waiting = select.epoll(), {}
    for connection, name in zip(connections, names):
        waiting[connection.socket.fileno()] = (connection, name, bytearray())
        poll.register(connection.socket, select.EPOLLIN)
    begin = time.perf_counter()
    for connection, name in zip(connections, names):
        connection.send("POST", f"/_rouse/v1/functions/{name}/invocations?type=wait", b"{}")
    took, ids, cold = [], [], 0
    while waiting:
        ready = poll.poll(120)
        if not ready:
            raise RuntimeError(f"{len(waiting)} of {len(names)} calls were not answered in 120 s")
        for fd, _ in ready:
            connection, name, data = waiting[fd]
            data += connection.more()
            head, end, _ = bytes(data).partition(b"\r\n\r\n")
            if not end:
                continue
            status, headers = parse(head)
            if status != 200 or headers["x-rouse-ending"] != "succeeded":
                raise RuntimeError(f"{name}: {bytes(data)[:400]!r}")
            took.append((time.perf_counter() - begin) * 1000)
            ids.append((name, headers["x-rouse-request-id"]))
            cold += headers["x-rouse-cold"] == "true"
            poll.unregister(fd)
            del waiting[fd]
    for connection in connections:
        connection.close()
    if cold != len(names):
        raise RuntimeError(f"{len(names) - cold} of {len(names)} calls found an instance: these are not cold")
    return took, ids


def kinds_of(rouse, connection, ids):
    kinds = {}
    for name, request in ids:
        kind = rouse.runs(connection, name, [request])[request].get("start_kind") or "unknown"
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def measure(settings):
    count, rounds = settings.of(500, 50), settings.of(5, 2)
    result = Result(f"A burst: {count} functions asked at once, each cold, {rounds} rounds")
    names = [f"burst-{n}" for n in range(count)]
    rows, last = [], []
    for program in (programs.STATIC, programs.HELLO_PYTHON):
        deployed = {name: function(program, concurrency={"keep_alive": "0s"}) for name in names}
        with Rouse((program,), deployed) as rouse:
            connection = rouse.connect()
            every = []
            for done in range(rounds):
                took, ids = ask_all(rouse, names)
                every.append(took)
                progress(f"burst, {program.name}", done + 1, rounds)
                rouse.wait_until_gone(connection)
                time.sleep(1)
            kinds = kinds_of(rouse, connection, ids)
        last = [max(took) for took in every]
        one = summary([each for took in every for each in took])
        rows.append([program.title, number(statistics.median(last)), number(max(last)), number(one["p50"]),
                     ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))])
        result.figures[program.name] = {"all answered": statistics.median(last), "slowest round": max(last), **one}
        title = f"{count} functions, {program.title}, all answered"
        result.goals.append(Goal(title, 2000, statistics.median(last), "ms"))
    result.table("ms", ["program", "all answered", "slowest round", "p50 of a call", "starts of the last round"], rows)
    result.notes.append("One connection for each function, opened before; time runs from the first byte sent.")
    return result
