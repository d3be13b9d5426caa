"""./bench [PART]: see its --help."""

import argparse
import datetime
import importlib
import resource
import signal
import subprocess
import sys
import time

import programs
import report
from measure import Settings, machine
from rouse import Refused, version

# Each part, and the module that measures it.
PARTS = {"cold": "cold", "miss": "miss", "fresh": "fresh", "starts": "starts", "burst": "burst", "warm": "warm",
         "idle": "idle", "events": "events", "soak": "soak", "trace": "replay",
         "image": "image"}


def arguments():
    parser = argparse.ArgumentParser(prog="./bench")
    parser.add_argument("part", nargs="?", choices=tuple(PARTS))
    parser.add_argument("--runs", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--trace", metavar="FOLDER/PREFIX")
    parser.add_argument("--scale", type=float)
    parser.add_argument("--minutes", type=int)
    parser.add_argument("--most", type=float)
    parser.add_argument("--starts", type=int)
    parser.add_argument("--size", type=int)
    return parser.parse_args()


def run(name, settings):
    """Measures one part and prints it. A part that cannot be measured is told as such, never left out."""
    begin = time.monotonic()
    part = {"when": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "runs": settings.runs}
    try:
        found = importlib.import_module(PARTS[name]).measure(settings)
    except (Refused, RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"\n{name}: NOT MEASURED: {error}", file=sys.stderr)
        return {**part, "error": f"{type(error).__name__}: {error}"[:2000]}
    found.show()
    return {**part, **found.plain(), "seconds": round(time.monotonic() - begin, 1)}


def end(*_):
    raise KeyboardInterrupt


def main():
    chosen = arguments()
    signal.signal(signal.SIGTERM, end)
    settings = Settings(runs=chosen.runs or (5 if chosen.quick else 200), quick=chosen.quick, trace=chosen.trace,
                        scale=chosen.scale, minutes=chosen.minutes, most=chosen.most,
                        starts=chosen.starts, size=chosen.size)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    programs.build()
    results = {"machine": machine(), "version": version(), "parts": {}}
    print(f"{results['version']} on {results['machine']}")
    interrupted = False
    for name in [chosen.part] if chosen.part else PARTS:
        try:
            results["parts"][name] = run(name, settings)
        except KeyboardInterrupt:
            print(f"\nbench: {name} was interrupted; what it had started is stopped", file=sys.stderr)
            interrupted = True
            break
    if chosen.json:
        report.write(chosen.json, results)
    if not interrupted and not chosen.quick and (chosen.docs or not chosen.part):
        report.publish(results, PARTS)
    elif not chosen.part:
        report.write(programs.BUILT / "results.json", results)
    if interrupted:
        return 130
    return 1 if any("error" in part for part in results["parts"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
