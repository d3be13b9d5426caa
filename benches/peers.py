"""Peers that start the same program: Docker Engine, runc, bwrap, and no container at all."""

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import process
from programs import environment, shared
from wire import Connection


def first_output(command, cwd=None):
    """Milliseconds from starting the command to its first byte; then waits for its end."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          cwd=cwd, env=environment()) as child:
        if not child.stdout.read(1):
            raise RuntimeError(f"{command} printed nothing")
        took = (time.perf_counter() - begin) * 1000
        child.stdout.read()
    return took


def a_second(command, parallel, runs):
    """Complete starts of a command in a second, so many at a time."""
    begin = time.perf_counter()
    # The number is one more argument, of which the programs take no notice.
    subprocess.run(["xargs", "-P", str(parallel), "-n", "1", *command], check=True, env=environment(), text=True,
                   input="\n".join(str(n) for n in range(runs)), stdout=subprocess.DEVNULL)
    return runs / (time.perf_counter() - begin)


def binaries(programs):
    """The static programs: where they are here, and as what they are called inside."""
    return [(program.files["bootstrap"], program.command[0]) for program in programs if "bootstrap" in program.files]


class Bare:
    """The program as a plain process: a fresh interpreter, no isolation."""

    name = "no container"

    def __init__(self, programs):
        self.inside = {inside: str(here) for here, inside in binaries(programs)}

    def command(self, program):
        first, *rest = program.command
        return [self.inside.get(first, first), *rest]

    def start(self, program):
        return first_output(self.command(program))

    def stop(self):
        pass


class Bwrap:
    name = "bwrap"

    def __init__(self, programs):
        self.base = ["bwrap", "--unshare-all", "--die-with-parent", "--dev", "/dev", "--proc", "/proc",
                     "--tmpfs", "/tmp", "--cap-drop", "ALL"]
        for here, inside in binaries(programs):
            self.base += ["--ro-bind", str(here), inside]
        for path in shared():
            self.base += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind", path, path]

    def command(self, program):
        return [*self.base, *program.command]

    def start(self, program):
        return first_output(self.command(program))

    def stop(self):
        pass


class Runc:
    name = "runc run"

    def __init__(self, programs):
        self.folder = Path(tempfile.mkdtemp(prefix="rouse-runc-"))
        self.count = 0
        for program in programs:
            bundle = self.folder / program.name
            (bundle / "rootfs").mkdir(parents=True)
            for here, inside in binaries(programs):
                shutil.copy(here, bundle / "rootfs" / inside.lstrip("/"))
            subprocess.run(["runc", "spec"], cwd=bundle, check=True)
            spec = json.loads((bundle / "config.json").read_text())
            spec["process"].update(terminal=False, args=list(program.command), capabilities={})
            for path in shared():
                (bundle / "rootfs" / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
                spec["mounts"].append({"destination": path, "source": os.path.realpath(path),
                                       "type": "none", "options": ["rbind", "ro"]})
            (bundle / "config.json").write_text(json.dumps(spec))

    def start(self, program):
        self.count += 1
        return first_output(
            ["runc", "--root", str(self.folder / "state"), "run", f"bench-{os.getpid()}-{self.count}"],
            cwd=self.folder / program.name,
        )

    def stop(self):
        for state in self.folder.glob("state/*"):
            subprocess.run(["runc", "--root", self.folder / "state", "delete", "--force", state.name],
                           capture_output=True)
        process.remove(self.folder)


class Docker:
    """A private Docker Engine, asked over its API: create, attach, start, first byte. It has a network
    namespace of its own, so that its bridge and its firewall rules go with it, and a control group."""

    name = "Docker create+start"

    def __init__(self, programs):
        self.folder = Path(tempfile.mkdtemp(prefix="rouse-docker-"))
        self.socket = str(self.folder / "docker.sock")
        self.group = self.folder.name
        with open(self.folder / "log", "wb") as log:
            self.daemon = process.start(
                ["unshare", "--net", "dockerd", "--data-root", self.folder / "data", "--exec-root",
                 self.folder / "exec", "--pidfile", self.folder / "pid", "-H", f"unix://{self.socket}",
                 "--cgroup-parent", f"/{self.group}"], log)
        try:
            self.wait_until_it_answers()
            self.connection = Connection(self.socket)
            self.version = self.connection.json("GET", "/version")["Version"]
            self.import_image(programs)
        except BaseException:
            self.stop()
            raise

    def wait_until_it_answers(self):
        for _ in range(600):
            if self.daemon.poll() is not None:
                raise RuntimeError("dockerd ended: " + (self.folder / "log").read_text()[-2000:])
            try:
                Connection(self.socket).call("GET", "/_ping")
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("dockerd does not answer")

    def import_image(self, programs):
        packed = self.folder / "image.tar"
        with tarfile.open(packed, "w") as out:
            for here, inside in binaries(programs):
                out.add(here, arcname=inside.lstrip("/"))
            for path in shared():
                folder = tarfile.TarInfo(path.lstrip("/"))
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                out.addfile(folder)
        self.connection.call("POST", "/images/create?fromSrc=-&repo=bench", packed.read_bytes())

    def start(self, program):
        mounts = [f"{os.path.realpath(path)}:{path}:ro" for path in shared()]
        wanted = {
            "Image": "bench", "Cmd": list(program.command), "AttachStdout": True,
            "HostConfig": {"Binds": mounts, "Memory": 512 << 20, "NanoCpus": 10**9, "PidsLimit": 512},
        }
        begin = time.perf_counter()
        made = self.connection.json("POST", "/containers/create", wanted)["Id"]
        attached = Connection(self.socket)
        attached.send("POST", f"/containers/{made}/attach?stream=1&stdout=1", b"",
                      "Connection: Upgrade\r\nUpgrade: tcp\r\n")
        answer = attached.more()
        self.connection.call("POST", f"/containers/{made}/start")
        while b"\r\n\r\n" not in answer or not answer.partition(b"\r\n\r\n")[2]:
            answer += attached.more()
        took = (time.perf_counter() - begin) * 1000
        attached.close()
        self.connection.call("DELETE", f"/containers/{made}?force=1")
        return took

    def stop(self):
        process.stop(self.daemon)
        process.remove(self.folder)
        for folder in Path("/sys/fs/cgroup").glob(f"**/{self.group}"):
            folder.rmdir()
