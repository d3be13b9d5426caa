"""A thousand instances at once, and a hundred thousand one after the other: nothing may stay behind."""

import os
import time

import process
import programs
from load import invocations, offer
from measure import Goal, Result, number, progress
from rouse import Rouse, function

# Megabytes by which allocators and caches of server and launcher may grow without counting as a leak.
GROWTH = 8.0
CLIENTS = 8
FUNCTIONS = 16
# So often the memory is looked at between the first start and the last: a leak grows to the end. After this many looks
# allocators and caches should have their size.
LOOKS = 5
GROWN = 2
# Seconds. Pools that nothing misses for ten become smaller, step by step: what changes no more has its least size.
QUIET = 15


def count(root, groups):
    """Everything of which a start takes some, and an end must give it back."""
    everyone, ours = process.tree(root), process.outside(root)
    counts = {
        "processes": len(everyone),
        "open files of the server": process.descriptors([root]),
        "open files of launcher and helpers": process.descriptors([pid for pid in ours if pid != root]),
        "mounts": process.mounts(ours),
        "control group folders": process.control_groups(groups),
        "network namespaces": process.network_namespaces(everyone),
        "links of this machine": len(os.listdir("/sys/class/net")),
        "kernel's network namespaces": process.kernel_objects("net_namespace"),
    }
    memory = {"memory of server and launcher, MB": process.proportional(process.platform(root))}
    return {name: value for name, value in counts.items() if value is not None}, memory


def settle(root, groups, aim=None, patience=180):
    """Counts when they have not changed for a while; with an aim, waits until none is above it."""
    deadline = time.monotonic() + patience
    last, since = count(root, groups)[0], time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = count(root, groups)[0]
        if now != last:
            last, since = now, time.monotonic()
        quiet = time.monotonic() - since >= QUIET
        if quiet and (aim is None or all(now[name] <= aim[name] for name in aim)):
            break
    return count(root, groups)


def thousand(settings, result):
    """So many idle instances at a time, any of them answers, all go."""
    many, keep = settings.of(1000, 50), settings.of(60, 10)
    names = [f"idle-{n}" for n in range(many)]
    deployed = {name: function(programs.STATIC, concurrency={"keep_alive": f"{keep}s", "max": 1}) for name in names}
    with Rouse((programs.STATIC,), deployed) as rouse:
        connection = rouse.connect()
        begin = time.monotonic()
        for done, name in enumerate(names):
            rouse.invoke(connection, name)
            progress("instances", done + 1, many)
        took = time.monotonic() - begin
        there = len([one for one in rouse.instances(connection) if one["state"] == "idle"])
        memory = process.proportional(process.inside(rouse.process.pid))
        warm = sum(rouse.invoke(connection, name)["x-rouse-cold"] == "false" for name in names[::7])
        asked = len(names[::7])
        rouse.wait_until_gone(connection, patience=keep + 60)
    result.figures["idle instances"] = {"there": there, "warm": warm, "asked": asked, "seconds": took, "memory": memory}
    result.table("idle instances", ["", ""], [
        ["started and idle at the same time", f"{there} of {many} in {took:.1f} s"],
        ["called again: answered warm", f"{warm} of {asked}"],
        ["memory of all together", f"{memory:.0f} MB"],
        [f"left after {keep} s without a call", 0],
    ])
    result.goals.append(Goal("idle instances at a time", many, there, "", least=True))
    result.goals.append(Goal("of those called, warm", asked, warm, "", least=True))


def flood(rouse, names, wanted):
    """Makes at least so many starts; gives how many."""
    made = 0
    while made < wanted:
        made += offer(rouse.port, rouse.token, invocations(names), CLIENTS, 5 if wanted > 5000 else 1)["cold"]
        progress("starts", min(made, wanted), wanted)
    return made


def leaks(settings, result):
    wanted = settings.starts or settings.of(100_000, 500)
    names = [f"soak-{n}" for n in range(FUNCTIONS)]
    deployed = {name: function(programs.STATIC, concurrency={"keep_alive": "0s"}) for name in names}
    deployed["stays"] = function(programs.STATIC, concurrency={"keep_alive": "2s"})
    with Rouse((programs.STATIC,), deployed) as rouse:
        connection, root = rouse.connect(), rouse.process.pid
        rouse.invoke(connection, "stays")
        groups = process.group_names(process.inside(root))
        if not groups:
            raise RuntimeError("an instance is in no control group of the server")
        # What grows with demand shall have grown once, and the pools be small again, before it is counted.
        flood(rouse, names, min(wanted, 3000))
        rouse.wait_until_gone(connection)
        before, memory_before = settle(root, groups)
        made, looks = 0, []
        for _ in range(LOOKS):
            made += flood(rouse, names, wanted // LOOKS)
            if len(looks) + 1 == GROWN:
                settle(root, groups, before)
            looks.append((made, process.proportional(process.platform(root))))
        # The first connection was idle for longer than the server keeps one.
        rouse.wait_until_gone(rouse.connect())
        after, memory_after = settle(root, groups, before)
    rows = [[name, f"{before[name]:,}", f"{after[name]:,}", f"{after[name] - before[name]:+,}"] for name in before]
    for name, value in memory_before.items():
        rows.append([name, number(value), number(memory_after[name]), f"{memory_after[name] - value:+.1f}"])
        title, (early, grown) = f"growth of {name.removesuffix(', MB')}", looks[GROWN - 1]
        result.goals.append(Goal(title, GROWTH, memory_after[name] - value, "MB"))
        result.goals.append(Goal(f"{title} after {early:,} of the starts", GROWTH * (1 - GROWN / LOOKS),
                                 memory_after[name] - grown, "MB"))
    result.table(f"before and after {made:,} starts", ["", "before", "after", "difference"], rows)
    lost = {name: after[name] - before[name] for name in before if after[name] > before[name]}
    own = {name: more for name, more in lost.items() if not name.startswith("kernel's")}
    result.table("memory on the way, MB", ["after starts", "server and launcher"],
                 [[f"{made:,}", number(memory)] for made, memory in looks])
    result.figures["starts"] = {"made": made, "before": {**before, **memory_before},
                                "after": {**after, **memory_after}}
    result.goals.append(Goal(f"left behind after {made:,} starts, all kinds together", 0, sum(own.values()), ""))
    if lost:
        result.notes.append("More than before: " + ", ".join(f"{name} {more:+}" for name, more in lost.items()))


def measure(settings):
    result = Result("Soak: many instances at a time, many starts in a row")
    thousand(settings, result)
    leaks(settings, result)
    result.notes.append("Counted once the server is at rest and its pools are small again, before (after some "
                        "thousand starts) and after. The kernel's own count of network namespaces is that of the "
                        "whole machine and is shown beside it, not judged.")
    return result
