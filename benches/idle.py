"""What waits costs: memory of idle instances, memory and processor time of a server at rest."""

import statistics
import time

import process
import programs
from measure import Goal, Result, number, progress
from rouse import Rouse, function

INSTANCES = 10
GOALS = {"static": 1.0, "python": 8.0, "python-hello": 8.0}


def idle_instances(rouse, connection, program):
    """MB of each idle instance: one of each of several functions, after one call."""
    names = [f"{program.name}-{n}" for n in range(INSTANCES)]
    ids = {name: rouse.invoke(connection, name)["x-rouse-request-id"] for name in names}
    kinds = {rouse.runs(connection, name, [one])[one].get("start_kind") or "unknown" for name, one in ids.items()}
    time.sleep(1)
    found = rouse.instances(connection, set(names))
    if len(found) != INSTANCES or any(one["state"] != "idle" for one in found):
        raise RuntimeError(f"{program.name}: {INSTANCES} idle instances were expected, these are there: {found}")
    sizes = [process.proportional(process.companions(one["pid"])) for one in found]
    progress(f"idle, {program.name}", 1, 1)
    return sizes, "/".join(sorted(kinds))


def rest(rouse, seconds):
    """Memory in MB and processor in percent of server and launcher, and of what they keep prepared."""
    root = rouse.process.pid
    server, prepared = process.platform(root), process.inside(root) + process.zygotes(root)
    pinning = process.pinning(root)
    before = process.processor_seconds(server), process.processor_seconds(prepared)
    begin = time.monotonic()
    for done in range(seconds):
        time.sleep(1)
        progress("at rest", done + 1, seconds)
    took = time.monotonic() - begin
    return {
        "server": process.proportional(server), "prepared": process.proportional(prepared),
        "prepared processes": len(prepared), "pinned": sum(process.locked(pid) for pid in pinning) / 1e6,
        "server cpu": (process.processor_seconds(server) - before[0]) / took * 100,
        "prepared cpu": (process.processor_seconds(prepared) - before[1]) / took * 100,
    }


def measure(settings):
    seconds = settings.of(60, 5)
    result = Result(f"Idle: {INSTANCES} instances of each, and a server at rest for {seconds} s")
    deployed = {f"{p.name}-{n}": function(p, concurrency={"keep_alive": "20s", "max": 1})
                for p in programs.ALL for n in range(INSTANCES)}
    rows = []
    with Rouse(programs.ALL, deployed) as rouse:
        connection = rouse.connect()
        for program in programs.ALL:
            sizes, kinds = idle_instances(rouse, connection, program)
            middle = statistics.median(sizes)
            rows.append([program.title, kinds, number(middle), number(max(sizes))])
            result.figures[program.name] = {"median": middle, "most": max(sizes), "starts": kinds}
            if program.name in GOALS:
                result.goals.append(Goal(f"idle instance, {program.title}", GOALS[program.name], middle, "MB"))
        rouse.wait_until_gone(connection)
        time.sleep(settings.of(10, 2))
        found = rest(rouse, seconds)
    result.figures["at rest"] = found
    result.table("proportional set size of an idle instance, MB", ["program", "start", "median", "most"], rows)
    result.table("at rest, after instances of all kinds came and went", ["", "memory, MB", "processor"], [
        ["server and launcher", number(found["server"]), f"{found['server cpu']:.3f} %"],
        [f"prepared: {found['prepared processes']} processes", number(found["prepared"]),
         f"{found['prepared cpu']:.3f} %"],
        ["files of Python and Node.js, kept in the page cache", number(found["pinned"]), ""],
    ])
    result.goals.append(Goal("server and launcher at rest, memory", 40, found["server"], "MB"))
    result.goals.append(Goal("server and launcher at rest, processor", 0.1, found["server cpu"], "%"))
    result.notes += [
        "Proportional set size: pages that several processes share count by their share (smaps_rollup), over all "
        "processes of the instance.",
        "Files that are kept in the page cache (--pin) are counted whole and apart; they are those that interpreters "
        "share. Who keeps them is one more to share a page in the proportional sizes.",
        "Prepared: sandboxes and interpreters that wait for a call, and the zygotes that interpreters are forked "
        "from, apart from server and launcher.",
    ]
    return result
