"""Figures: medians and tails of many runs, goals beside what was reached, tables of them."""

import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field


@dataclass
class Settings:
    """What the command line asked for."""

    runs: int = 200
    quick: bool = False
    trace: str | None = None
    scale: float | None = None
    minutes: int | None = None
    most: float | None = None
    starts: int | None = None
    size: int | None = None

    def of(self, whole, quick):
        """A number of the whole measurement, or of a quick look."""
        return quick if self.quick else whole

    @property
    def megabytes(self):
        """Of an image."""
        return self.size or self.of(500, 20)


@dataclass
class Goal:
    """One figure to reach. `least`: more is better; else less is."""

    what: str
    bound: float
    reached: float | None
    unit: str
    least: bool = False

    @property
    def met(self):
        if self.reached is None:
            return False
        return self.reached >= self.bound if self.least else self.reached <= self.bound

    def row(self):
        sign = "≥" if self.least else "≤"
        reached = "not measured" if self.reached is None else f"{number(self.reached)} {self.unit}".strip()
        return [self.what, f"{sign} {number(self.bound)} {self.unit}".strip(), reached,
                "met" if self.met else "NOT MET"]

    def plain(self):
        return {**asdict(self), "met": self.met}


@dataclass
class Result:
    """What one part of the benchmark found."""

    title: str
    tables: list = field(default_factory=list)
    goals: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    figures: dict = field(default_factory=dict)

    def table(self, caption, head, rows):
        self.tables.append({"caption": caption, "head": head, "rows": [[str(cell) for cell in row] for row in rows]})

    def plain(self):
        return {**asdict(self), "goals": [goal.plain() for goal in self.goals]}

    def show(self):
        print(f"\n{self.title}")
        for one in self.tables:
            print(f"\n  {one['caption']}")
            show_table(one["head"], one["rows"])
        if self.goals:
            print("\n  Goals")
            show_table(["", "goal", "reached", ""], [goal.row() for goal in self.goals])
        for note in self.notes:
            print(f"  - {note}")


def number(value):
    """A figure with as many digits as it is worth."""
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    return f"{value:,.{digits}f}"


def machine():
    """One line about where the figures come from."""
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "?")
    with open("/proc/meminfo") as info:
        memory = round(int(info.readline().split()[1]) / (1024 * 1024))
    with open("/proc/cpuinfo") as info:
        virtual = ", a virtual machine" if any("hypervisor" in line for line in info) else ""
    release = ".".join(platform.release().split(".")[:2])
    return f"{os.cpu_count()} × {model}, {memory} GiB, Linux {release}{virtual}"


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def summary(values):
    if not values:
        return {"runs": 0, "p50": None, "p99": None, "least": None}
    return {
        "runs": len(values),
        "p50": statistics.median(values),
        "p99": percentile(values, 0.99),
        "least": min(values),
    }


def timed(work):
    """Milliseconds that the work takes."""
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000


def show_table(head, rows):
    widths = [max(len(str(row[n])) for row in [head, *rows]) for n in range(len(head))]
    line = lambda row: "    " + "  ".join(
        str(cell).ljust(width) if n == 0 else str(cell).rjust(width)
        for n, (cell, width) in enumerate(zip(row, widths))
    )
    print(line(head).rstrip())
    print("    " + "  ".join("─" * width for width in widths))
    for row in rows:
        print(line(row).rstrip())


def progress(what, done, total):
    if sys.stderr.isatty():
        end = "\n" if done >= total else ""
        print(f"\r\x1b[K   {what} {done}/{total}", end=end, file=sys.stderr, flush=True)


def repeat(what, runs, work, unmeasured=3):
    """Runs the work, which gives milliseconds, a few times unmeasured and then `runs` times."""
    for _ in range(unmeasured):
        work()
    values = []
    for done in range(runs):
        values.append(work())
        progress(what, done + 1, runs)
    return values
