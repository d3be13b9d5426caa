"""Figures: medians and tails of many runs, printed as a table."""

import json
import os
import platform
import statistics
import time


def machine():
    """One line about where the figures come from."""
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "?")
    with open("/proc/meminfo") as info:
        memory = int(info.readline().split()[1]) // (1024 * 1024)
    return f"{os.cpu_count()} × {model}, {memory} GiB, Linux {platform.release()}"


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def timed(work):
    """Milliseconds that the work takes."""
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000


def summary(values):
    return {
        "runs": len(values),
        "p50": statistics.median(values),
        "p99": percentile(values, 0.99),
        "least": min(values),
    }


def table(head, rows):
    widths = [max(len(str(row[n])) for row in [head, *rows]) for n in range(len(head))]
    line = lambda row: "  ".join(
        str(cell).ljust(width) if n == 0 else str(cell).rjust(width)
        for n, (cell, width) in enumerate(zip(row, widths))
    )
    print(line(head))
    print("  ".join("─" * width for width in widths))
    for row in rows:
        print(line(row))


def write(path, figures):
    if path:
        with open(path, "w") as out:
            json.dump({"machine": machine(), "figures": figures}, out, indent=1)


def progress(what, done, total):
    import sys

    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r\x1b[K   {what} {done}/{total}", end=end, file=sys.stderr, flush=True)


def repeat(what, runs, work):
    """Runs the work, which gives milliseconds, a few times unmeasured and then `runs` times."""
    for _ in range(3):
        work()
    values = []
    for done in range(runs):
        values.append(work())
        progress(what, done + 1, runs)
    return values
