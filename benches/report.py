"""What is published of a run: docs/bench/results.json, docs/bench.md, the plot, the README's table."""

import json
from pathlib import Path

import plot
from measure import number
from programs import REPO

RESULTS = REPO / "docs/bench/results.json"
PLOT = REPO / "docs/bench/cold.svg"
PAGE = REPO / "docs/bench.md"
README = REPO / "README.md"
BEGIN, END = "<!-- figures of ./bench: begin -->", "<!-- figures of ./bench: end -->"

HOW = """# Benchmarks

Every figure here is made by `./bench`, which installs what it needs, starts everything that it measures and
its peers, and stops them. `./bench PART` runs one part; `./bench PART --docs` also puts its figures here in
place of the old ones. `./bench --quick` is a smoke test of the benchmark itself, in a few minutes.

How to read them:

- **Ratios within one part are what counts.** A part runs rouse and its peers on the same machine, cold starts
  and warm calls in turns; another machine, or the same one with busy neighbours, gives other milliseconds.
- **The client is real.** rouse is asked over HTTP on a TCP connection that is open, with its bearer token, and the
  time ends when the function's whole answer is read. Authentication, admission, the record of the call and its
  log are all in it. Peers that only start containers are given the easier end: the program's first byte.
- **p50 is the median, p99 the 99th percentile** of the number of runs that the part names; nothing is left out but
  the first three of a row.
- **Hits and misses are apart.** rouse keeps sandboxes and interpreters prepared. Each call's record says how its
  instance was started:

  | start | what happened |
  |---|---|
  | `stem` | an interpreter that waited, sandboxed, modules imported, was given the code: a hit for Python and Node |
  | `armed` | a sandbox that waited was given the program: a hit for a program of one's own |
  | `fork` | no stem was left: the zygote forked one for this call: a miss |
  | `cold` | nothing was prepared, all of it was made for this call: a miss |

  The goals for cold starts are about hits, asked when the pools are full; `miss`
  measures what a call costs that finds the pools empty.
- **Two C libraries.** The static program is linked against musl and against glibc: glibc's start executes the
  CPUID instruction dozens of times, and each one leaves the virtual machine, which costs more than all the rest.
  Goals are about the musl one.
- **A goal is met or not met**, and both are printed.
"""


def write(path, results):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def merged(results, order):
    """The new parts in place of the old ones; parts of another machine are dropped."""
    parts = results["parts"]
    if RESULTS.exists():
        old = json.loads(RESULTS.read_text())
        if old["machine"] == results["machine"]:
            parts = {**old["parts"], **parts}
    return {**results, "parts": {name: parts[name] for name in order if name in parts}}


def publish(results, order):
    """Writes everything that is published; the parts in this order."""
    results = merged(results, order)
    write(RESULTS, results)
    PAGE.write_text(page(results))
    if "figures" in results["parts"].get("cold", {}):
        PLOT.write_text(plot.cold(results))
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"bench: README.md has no place between {BEGIN} and {END}")
    README.write_text(f"{before}{BEGIN}\n{summary(results)}{END}{after}")
    print(f"\nwritten: {', '.join(str(path.relative_to(REPO)) for path in (RESULTS, PAGE, PLOT, README))}")


def markdown(head, rows):
    line = lambda cells: "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)]) + "\n"


def goals(part):
    """Rows of a part's goals."""
    rows = []
    for goal in part.get("goals", []):
        sign = "≥" if goal["least"] else "≤"
        reached = "not measured" if goal["reached"] is None else f"{number(goal['reached'])} {goal['unit']}".strip()
        rows.append([goal["what"], f"{sign} {number(goal['bound'])} {goal['unit']}".strip(), reached,
                     "met" if goal["met"] else "**not met**"])
    return rows


def page(results):
    """docs/bench.md, whole."""
    text = [HOW, f"\nMachine: {results['machine']}. Version: {results['version']}.\n"]
    if "figures" in results["parts"].get("cold", {}):
        text.append("\n![Cold starts, on a logarithmic scale](bench/cold.svg)\n")
    for name, part in results["parts"].items():
        text.append(f"\n## {name}\n")
        if "error" in part:
            text.append(f"\nNot measured on {part['when']}: `{part['error']}`\n")
            continue
        text.append(f"\n{part['title']}. {part['when']}, {part['seconds']:.0f} s.\n")
        if part["goals"]:
            text.append("\n" + markdown(["figure", "goal", "reached", ""], goals(part)))
        for one in part["tables"]:
            text.append(f"\n{one['caption'][0].upper()}{one['caption'][1:]}:\n\n" + markdown(one["head"], one["rows"]))
        text.append("\n" + "".join(f"- {note}\n" for note in part["notes"]))
    return "".join(text)


def summary(results):
    """The README's part: the plot and every goal."""
    rows = [[name, *row] for name, part in results["parts"].items() for row in goals(part)]
    unmeasured = [[name, "-", "-", "not measured", ""] for name, part in results["parts"].items() if "error" in part]
    shown = "![Cold starts beside Docker, runc and bwrap](docs/bench/cold.svg)\n\n" if PLOT.exists() else ""
    return (f"{shown}On {results['machine']}:\n\n"
            + markdown(["`./bench`", "figure", "goal", "reached", ""], rows + unmeasured)
            + "\nHow it is measured, and all figures: [docs/bench.md](docs/bench.md).\n")
