"""What is started: the same programs for rouse and for its peers."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
BUILT = REPO / ".cache/bench"
SOURCE = REPO / "benches/handler.c"
PYTHON, NODE = "/usr/bin/python3.11", "/usr/bin/node"

HELLO = "import json\ndef handler(event, context):\n    return 'ok'\n"
HEAVY = "import json\nimport boto3\nimport numpy\nfrom PIL import Image\n" \
        "def handler(event, context):\n    return 'ok'\n"
SCRIPT = "exports.handler = async () => 'ok';\n"


@dataclass(frozen=True)
class Program:
    """A handler. `files` make the function's folder, `command` the same work for a peer: it prints its
    answer and ends."""

    name: str
    title: str
    settings: dict
    files: dict
    command: tuple
    hit: str


def binary(libc):
    return BUILT / f"handler-{libc}"


def static(name, libc):
    return Program(name, f"static program, {libc}", {"runtime": "provided"},
                   {"bootstrap": binary(libc)}, (f"/{binary(libc).name}",), "armed")


def python(name, title, source):
    return Program(name, title, {"runtime": "python3.11", "handler": "app.handler", "memory": "512M"},
                   {"app.py": source}, (PYTHON, "-c", source + "print(handler({}, None))"), "stem")


STATIC = static("static", "musl")
GLIBC = static("static-glibc", "glibc")
HEAVY_PYTHON = python("python", "Python 3.11 with boto3, numpy, Pillow", HEAVY)
HELLO_PYTHON = python("python-hello", "Python 3.11", HELLO)
JAVASCRIPT = Program("node", "Node.js 20", {"runtime": "nodejs20.x", "handler": "app.handler", "memory": "256M"},
                     {"app.js": SCRIPT},
                     (NODE, "-e", SCRIPT + "exports.handler().then((answer) => console.log(answer));"), "stem")

ALL = (STATIC, GLIBC, HEAVY_PYTHON, HELLO_PYTHON, JAVASCRIPT)


def build():
    """Compiles the static handler against both C libraries."""
    BUILT.mkdir(parents=True, exist_ok=True)
    for libc, compiler in (("musl", "musl-gcc"), ("glibc", "gcc")):
        out = binary(libc)
        if out.exists() and out.stat().st_mtime > SOURCE.stat().st_mtime:
            continue
        subprocess.run([compiler, "-O2", "-static", "-s", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror",
                        "-o", out, SOURCE], check=True)


def environment():
    """What peers start their programs with."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp"}


def shared():
    """The folders of this machine that hold the interpreters, as rouse's own base has them."""
    folders = ("/usr", "/bin", "/lib", "/lib64", "/etc/alternatives")
    return [path for path in folders if os.path.exists(path)]


def opened(program):
    """Files of the system that the program reads while it starts, asked from a run of it outside."""
    if "bootstrap" in program.files:
        return [str(program.files["bootstrap"])]
    if "app.py" in program.files:
        ask = program.files["app.py"] + (
            "import sys\n"
            "for module in list(sys.modules.values()):\n"
            "    for name in ('__file__', '__cached__'):\n"
            "        print(getattr(module, name, None) or '')\n"
            "print(open('/proc/self/maps').read())\n")
        command = [PYTHON, "-c", ask]
    else:
        ask = "console.log(require('fs').readFileSync('/proc/self/maps', 'utf8'))"
        command = [NODE, "-e", ask]
    told = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True).stdout
    names = {line[line.find("/"):] for line in told.splitlines() if "/" in line}
    return sorted(os.path.realpath(name) for name in names if os.path.isfile(name))
