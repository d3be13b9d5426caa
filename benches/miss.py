"""A start that finds the pools empty, and one that finds the files not even in the page cache."""

import statistics

import programs
from cache import evict, resident
from cold import by_kind, show_kinds, starts
from measure import Goal, Result, number, repeat, summary
from peers import Bare
from rouse import Rouse, function

# Nothing is armed ahead; the zygotes of managed runtimes stay.
EMPTY = ("--armed", "0", "--stems", "0")
# Nor is anything kept in memory.
UNPINNED = (*EMPTY, "--pin", "0")
GOALS = {"static": 4.0, "python": 6.0, "node": 30.0}


def files(rouse, program):
    """What a start of the program reads from disk: the interpreter's files and the function's own."""
    own = [str(path) for path in (rouse.data / "code").rglob("*") if path.is_file()]
    return programs.opened(program) + own


def evicted(rouse, connection, program, runs):
    """Starts after the files were put out of memory. Gives them, and how much stayed all the same."""
    paths = files(rouse, program)
    stayed = []

    def put_out():
        evict(paths)
        stayed.append(resident(paths))

    calls = starts(rouse, connection, program.name, runs, put_out)
    return calls, statistics.median(stayed)


def put_out(settings, rows, result, options, title):
    """Starts with the files put out of memory, by a server that pins the runtimes' files or does not."""
    few = max(settings.runs // 4, 5)
    with Rouse(programs.ALL, deployed(), options) as rouse:
        connection = rouse.connect()
        for program in programs.ALL:
            rouse.invoke(connection, program.name)
        if options == EMPTY:
            rouse.wait_until_pinned()
        for program in programs.ALL:
            calls, stayed = evicted(rouse, connection, program, few)
            one = summary([took for took, _, _ in calls])
            here, out = alone(program, few, files(rouse, program))
            rows.append([program.title, title, "/".join(sorted(by_kind(calls))), number(one["p50"]),
                         number(one["p99"]), f"{stayed:.0%}", number(here["p50"]), number(out["p50"])])
            name = f"{title}: {program.name}"
            result.figures[f"not in the page cache, {name}"] = {**one, "stayed": stayed}
            result.figures[f"no container, {name}"] = here
            result.figures[f"no container, not in the page cache, {name}"] = out


def deployed():
    return {p.name: function(p, concurrency={"keep_alive": "0s"}) for p in programs.ALL}


def alone(program, runs, paths):
    """The same program without a container: with its files in memory, and put out."""
    bare = Bare(programs.ALL)
    here = repeat(f"no container, {program.name}", runs, lambda: bare.start(program))

    def cold():
        evict(paths)
        return bare.start(program)

    return summary(here), summary(repeat(f"no container, no cache, {program.name}", runs, cold))


def misses(name, calls):
    """Milliseconds of the calls that no pool served."""
    hit = {program.name: program.hit for program in programs.ALL}[name]
    return [took for took, kind, _ in calls if kind != hit]


def measure(settings):
    runs = settings.runs
    result = Result(f"Misses: {runs} calls of each that find no instance and empty pools")
    found, rows = {}, []
    with Rouse(programs.ALL, deployed(), EMPTY) as rouse:
        connection = rouse.connect()
        for program in programs.ALL:
            found[program.name] = starts(rouse, connection, program.name, runs)
    put_out(settings, rows, result, UNPINNED, "not pinned")
    put_out(settings, rows, result, EMPTY, "pinned")
    show_kinds(result, "pools empty", found)
    result.table(f"files put out of the page cache before each of {max(runs // 4, 5)} calls, ms",
                 ["program", "runtimes", "start", "p50", "p99", "stayed in memory", "no container, p50",
                  "the same, files put out"], rows)
    for name, bound in GOALS.items():
        title = {p.name: p.title for p in programs.ALL}[name]
        result.goals.append(Goal(f"{title}, pools empty, p50", bound, summary(misses(name, found[name]))["p50"], "ms"))
    result.notes += [
        f"The server runs with {' '.join(EMPTY)}: no sandbox and no interpreter waits; zygotes stay.",
        "Files are put out by posix_fadvise(DONTNEED), asked for what the program maps and imports and for the "
        "function's code. What a process has mapped or locked cannot be put out: the share that stayed is told. "
        "This benchmark itself runs on the same Python and keeps some of its pages.",
        "Not pinned: with --pin 0. Pinned: as by default, for the files of Python and Node.js; a function's own are "
        "put out in either case.",
    ]
    return result
