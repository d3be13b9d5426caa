"""Images: pushed and pulled beside Debian's docker-registry, and deployed."""

import json
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import process
import programs
from layout import Layout
from measure import Goal, Result, number, progress, timed
from rouse import Refused, Rouse, free_port
from wire import Connection


class DockerRegistry:
    """Debian's docker-registry, as its own configuration file has it: files in a folder, no TLS, no users."""

    name = "docker-registry"
    options = ()

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="rouse-registry-"))
        self.port = free_port()
        config = {"version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}},
                  "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}},
                  "http": {"addr": f"127.0.0.1:{self.port}"}}
        (self.folder / "config.yml").write_text(json.dumps(config))
        self.log = open(self.folder / "log", "wb")
        self.process = process.start(["docker-registry", "serve", self.folder / "config.yml"], self.log)
        try:
            self.wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def wait_until_it_answers(self):
        for _ in range(600):
            if self.process.poll() is not None:
                raise RuntimeError("docker-registry ended: " + (self.folder / "log").read_text()[-1000:])
            try:
                Connection(("127.0.0.1", self.port)).call("GET", "/v2/")
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("docker-registry does not answer")

    def stop(self):
        process.stop(self.process)
        self.log.close()
        process.remove(self.folder)


class Ours:
    """rouse's registry door, with its owner's keys."""

    name = "rouse"

    def __init__(self, rouse):
        self.port = rouse.port
        keys = json.loads((rouse.data / "credentials.json").read_text())
        self.options = ("--creds", f"{keys['access_key_id']}:{keys['secret_access_key']}")


def skopeo(*arguments, credentials=()):
    """Milliseconds that a copy takes. `credentials` go to the side that is a registry."""
    side = "--dest" if str(arguments[1]).startswith("docker://") else "--src"
    named = [word.replace("--creds", f"{side}-creds") for word in credentials]
    command = ["skopeo", "copy", "--quiet", "--insecure-policy", f"{side}-tls-verify=false", *named, *arguments]

    def run():
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"skopeo copy {arguments}: {done.stderr.strip()[-500:]}")

    return timed(run)


def push_and_pull(settings, registries, found):
    """Rounds in which each registry, in turns, is given an image that is new to it, and gives it back."""
    rounds = min(settings.runs, settings.of(5, 1))
    for done in range(rounds):
        with tempfile.TemporaryDirectory(prefix="rouse-bench-image-") as folder:
            layout = Layout(Path(folder) / "layout", settings.megabytes, programs.binary("musl"), level=0)
            for registry in registries[:: 1 if done % 2 else -1]:
                at = f"docker://127.0.0.1:{registry.port}/bench/round{done}:1"
                into = Path(folder) / "pulled"
                took = {"push": skopeo(layout.source, at, credentials=registry.options)}
                took["pull"] = skopeo(at, f"dir:{into}", credentials=registry.options)
                shutil.rmtree(into)
                for verb, milliseconds in took.items():
                    found[registry.name, verb].append(layout.bytes / 1000 / milliseconds)
        progress("push and pull, round", done + 1, rounds)
    return rounds


def deployments(settings, rouse):
    """Milliseconds: of the deployment and of the first call, of an image that is deployed for the first time and of
    the same one again for another function."""
    rounds, found = min(settings.runs, settings.of(3, 1)), {name: [] for name in STEPS}
    ours, connection = Ours(rouse), rouse.connect()
    for done in range(rounds):
        with tempfile.TemporaryDirectory(prefix="rouse-bench-image-") as folder:
            layout = Layout(Path(folder) / "layout", settings.megabytes, programs.binary("musl"), level=1)
            name = f"bench/deployed{done}:1"
            skopeo(layout.source, f"docker://127.0.0.1:{rouse.port}/{name}", credentials=ours.options)
        functions = {}
        for step in ("first", "again"):
            functions[f"{step}-{done}"] = {"image": name, "x-rouse": {"contract": "lambda", "timeout": "60s"}}
            found[f"{step}, deploy"].append(timed(lambda: rouse.deploy([], functions)))
            found[f"{step}, call"].append(timed(lambda: rouse.invoke(connection, f"{step}-{done}")))
        progress("deployments", done + 1, rounds)
    connection.close()
    return rounds, found


STEPS = {
    "first, deploy": "`rouse deploy` of an image that was just pushed",
    "first, call": "the function's first call",
    "again, deploy": "`rouse deploy` of another function on the same image",
    "again, call": "that function's first call",
}


def measure(settings):
    if shutil.which("skopeo") is None or shutil.which("docker-registry") is None:
        raise Refused("skopeo or docker-registry is missing: scripts/install bench-peers installs them")
    size = settings.megabytes
    result = Result(f"Images of {size} MB: pushed, pulled, deployed")
    found = {(name, verb): [] for name in (Ours.name, DockerRegistry.name) for verb in ("push", "pull")}
    peer = DockerRegistry()
    try:
        with Rouse([], {}) as rouse:
            rounds = push_and_pull(settings, [Ours(rouse), peer], found)
            deployed, steps = deployments(settings, rouse)
    finally:
        peer.stop()
    middle = {key: statistics.median(values) for key, values in found.items()}
    rows = []
    for verb in ("push", "pull"):
        ratio = middle[Ours.name, verb] / middle[peer.name, verb]
        rows.append([verb, *(f"{number(middle[name, verb])} ({number(min(found[name, verb]))} to "
                             f"{number(max(found[name, verb]))})" for name in (Ours.name, peer.name)),
                     f"{number(ratio)}×"])
        result.goals.append(Goal(f"{verb}, MB/s in multiples of docker-registry's", 1.0, ratio, "×", least=True))
        result.figures[verb] = {name: found[name, verb] for name in (Ours.name, peer.name)}
    result.table(f"MB/s of `skopeo copy`, median of {rounds} (least to most)",
                 ["", Ours.name, peer.name, "rouse in multiples"], rows)
    result.table(f"ms, median of {deployed} images (least to most)", ["", "ms"],
                 [[title, f"{number(statistics.median(steps[name]))} ({number(min(steps[name]))} to "
                          f"{number(max(steps[name]))})"] for name, title in STEPS.items()])
    result.figures["deployments"] = steps
    ready = [sum(pair) for pair in zip(steps["again, deploy"], steps["again, call"])]
    result.goals.append(Goal("the same image deployed again, to its first answer", 1_000, statistics.median(ready), "ms"))
    result.notes += [
        "Pushed and pulled: eleven layers of noise, gzip without compression, new in each round; the same layout to both, "
        "in turns. skopeo computes digests on both ways and is in all figures. A pull is written to a folder.",
        "rouse answers a push once all is on the disk (fsync) and in its database, and asks for keys; docker-registry "
        "runs as Debian's package has it, without users.",
        "Deployed: files of 128 KiB of hexadecimal digits, gzip level 1, that unpack to the named size. The time is that "
        "of the command, its own start included.",
    ]
    return result
