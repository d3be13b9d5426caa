"""The same attacks in `docker run` as it comes, and the table of both in docs/security.md.

Run by `./test attack --docker`, after the attacks on rouse. Docker is not asserted on: its answers are
recorded. Floods stop at their own bounds, so the machine is safe where nothing caps them."""

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import canaries
import images
from cases import APART, CASES, DRIVEN, EVERYWHERE, GROUPS, contained
from e2e import REPO, compile_attacks
from report import FOLDER, Report

# What of group 6 says something without the platform: command, and the answers that count as contained.
FLOODS = {"fork-bomb": "fork-bomb", "heap": "heap", "memfd": "memfd", "tmpfs": "tmpfs", "shm": "shm",
          "inodes": "inodes", "open-files": "open-files", "kernel-buffers": "kernel-buffers"}
CAPPED = {"capped", "SIGKILL", "out_of_memory"}
DOCKER = "docker run"
DOCKER_USER = "docker run as 1000"
DOCUMENT = REPO / "docs/security.md"
# The runs that the table puts side by side: sandboxes, those of a server without root, containers of the driver
# `docker`, containers of `docker run`.
KEPT = ("rouse", "rouse-rootless", "driver", "docker")
# Of the neighbour's own p99 just before, from which on a flood is not contained.
MOST = 2
BEGIN, END = "<!-- attacks: written by ./test attack --docker -->", "<!-- end of attacks -->"


class Engine:
    """A private Docker Engine with the attacks as its image."""

    def __init__(self, program):
        self.folder = Path(tempfile.mkdtemp(prefix="rouse-attack-docker-"))
        self.address = f"unix://{self.folder}/sock"
        with open(self.folder / "log", "wb") as log:
            self.daemon = subprocess.Popen(
                ["dockerd", "--data-root", self.folder / "data", "--exec-root", self.folder / "exec",
                 "--pidfile", self.folder / "pid", "-H", self.address],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        for _ in range(600):
            if self.daemon.poll() is not None:
                raise SystemExit((self.folder / "log").read_text()[-4000:])
            if self.call("version").returncode == 0:
                break
            time.sleep(0.1)
        self.version = self.call("version", "--format", "{{.Server.Version}}").stdout.strip()
        tree = images.layer(images.plain(program.read_bytes()))
        self.imported = self.call("import", "-", "attack", stdin=tree)

    def call(self, *arguments, stdin=b"", timeout=60):
        program = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
        done = subprocess.run([program, "-H", self.address, *arguments], input=stdin, capture_output=True,
                              timeout=timeout)
        done.stdout, done.stderr = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        return done

    def attack(self, command, *options):
        try:
            done = self.call("run", "--rm", "--name", "attack", *options, "attack", "/attack", *command.split())
        except subprocess.TimeoutExpired:
            self.call("rm", "-f", "attack")
            return "no answer", "killed after a minute"
        try:
            told = json.loads(done.stdout.splitlines()[-1])
            return told["answer"], told["detail"]
        except (ValueError, IndexError):
            signal = "SIGKILL" if done.returncode == 137 else f"exit status {done.returncode}"
            return signal, done.stderr[-300:]

    def stop(self):
        self.call("rm", "-f", "attack")
        self.daemon.terminate()
        self.daemon.wait(60)
        subprocess.run(["umount", "-R", self.folder / "data"], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def run():
    for needed in ("dockerd", "gcc"):
        if not shutil.which(needed):
            raise SystemExit(f"{needed} is missing: run ./test, which installs it")
    canaries.own_mount_namespace()
    report = Report("docker")
    with tempfile.TemporaryDirectory() as folder:
        program = compile_attacks(Path(folder) / "attack")
        engine = Engine(program)
        host = canaries.Host(program)
        try:
            if engine.imported.returncode:
                raise SystemExit(f"docker import: {engine.imported.stderr}")
            report.version = engine.version
            names = {"pid": host.pid, "file": host.file, "name": host.name, "key": host.key,
                     "port": host.port, "address": (host.addresses() or ["192.0.2.2"])[0],
                     "data": engine.folder}
            for case in CASES:
                for place, options in ((DOCKER, ()), (DOCKER_USER, ("--user", "1000:1000"))):
                    # The engine's own mounts are no damage.
                    host.mounts = canaries.mounts()
                    answer, detail = engine.attack(case.command(**names), *options)
                    damage = host.damage() + (["the secret was read"] if host.secret in detail else [])
                    host.touched.clear()
                    held = contained(case, answer) and not damage
                    report.add(case.id, place, answer, held, damage, detail, case.tried, case.group)
                    print(f"{'ok ' if held else 'NO '} {place}: {case.id}: {answer} {damage or ''}", flush=True)
            for name, command in FLOODS.items():
                answer, detail = engine.attack(command)
                held = set(answer.split("|")) <= CAPPED
                report.add(f"6-{name}", DOCKER, answer, held, [], detail, "", 6)
                print(f"{'ok ' if held else 'NO '} {DOCKER}: 6-{name}: {answer}", flush=True)
        finally:
            engine.stop()
            host.remove()
    report.save()


def mark(row):
    if row is None:
        return "–"
    answer = row["answer"].replace("|", ", ")
    damage = f" **canary: {', '.join(row['damage'])}**" if row["damage"] else ""
    felt = row.get("ratio", 0) > MOST
    contained = row["contained"] and not felt
    return f"{'yes' if contained else '**no**'}: {answer}{', **neighbour**' if felt else ''}{damage}"


def joined(rows, places):
    """One cell for places that give the same; else each of them."""
    there = [(place, mark(rows[place])) for place in places if place in rows]
    if not there:
        return "–"
    if len({text for _, text in there}) == 1:
        return there[0][1]
    return "<br>".join(f"{place}: {text}" for place, text in there)


def neighbour(rows):
    """What a flood did to the neighbour."""
    measured = rows.get("folder", {})
    if "ratio" not in measured:
        return ""
    over = f" (over {MOST}×)" if measured["ratio"] > MOST else ""
    return f"; neighbour's p99 {measured['ratio']} times{over}, control plane {measured['control']} ms"


def table():
    kept = {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in KEPT}
    rows = {}
    for name in KEPT:
        for row in kept[name]["rows"]:
            about = rows.setdefault(row["case"], {"tried": "", "group": row["group"], **{run: {} for run in KEPT}})
            about["tried"] = about["tried"] or row["tried"]
            about[name][row["place"]] = row
    out = io.StringIO()
    docker = kept["docker"]
    out.write(f"Docker Engine {docker['version']}, {kept['rouse']['machine']}. A case is contained when every "
              "answer is one of the stated ones and each canary on the host is whole; a flood when besides no call of a "
              f"neighbour fails, its p99 is at most {MOST} times what it was just before, and the control plane answers "
              "within a second.\n")
    apart = "; ".join(f"{what} ({why})" for what, why in APART.items())
    out.write(f"\nNot asked of the driver `docker`: {apart}.\n")
    for group, title in GROUPS.items():
        out.write(f"\n### {title}\n\n| attack | rouse | without root | its driver `docker` | `docker run` |\n"
                  "|---|---|---|---|---|\n")
        for about in (rows[case] for case in rows if rows[case]["group"] == group):
            rouse, rootless = (joined(about[name], [*EVERYWHERE, "image", "python"]) for name in ("rouse", "rouse-rootless"))
            rootless = ("the same" if rootless == rouse else rootless) + neighbour(about["rouse-rootless"])
            rouse += neighbour(about["rouse"])
            driver = joined(about["driver"], DRIVEN)
            run = joined(about["docker"], [DOCKER, DOCKER_USER])
            out.write(f"| {about['tried']} | {rouse} | {rootless} | {driver} | {run} |\n")
    return out.getvalue()


def write():
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table()}\n{END}{after}")


if __name__ == "__main__":
    if os.geteuid() != 0:
        raise SystemExit("containers need root")
    if sys.argv[1:] != ["table"]:
        run()
    write()
