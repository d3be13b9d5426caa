"""Peers that start a container: Docker Engine, runc, bwrap. Each runs the same program."""

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

from rouse import REPO, commands, environment
from wire import Connection

HANDLER = REPO / ".cache/bench/handler"
# The interpreters of the host, as rouse's own base has them.
SHARED = [path for path in ("/usr", "/bin", "/lib", "/lib64") if os.path.exists(path)]


def first_output(command, cwd=None):
    """Milliseconds from starting the command to its first byte; then waits for its end."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          cwd=cwd, env=environment()) as process:
        if not process.stdout.read(1):
            raise RuntimeError(f"{command} printed nothing")
        took = (time.perf_counter() - begin) * 1000
        process.stdout.read()
    return took


class Bwrap:
    name = "bwrap"

    def __init__(self):
        self.base = ["bwrap", "--unshare-all", "--die-with-parent", "--dev", "/dev", "--proc", "/proc",
                     "--tmpfs", "/tmp", "--cap-drop", "ALL", "--ro-bind", str(HANDLER), "/handler"]
        for path in SHARED:
            self.base += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind", path, path]

    def start(self, runtime):
        return first_output([*self.base, *commands()[runtime]])

    def stop(self):
        pass


class Runc:
    name = "runc run"

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="rouse-runc-"))
        self.count = 0
        for runtime, command in commands().items():
            bundle = self.folder / runtime
            (bundle / "rootfs").mkdir(parents=True)
            shutil.copy(HANDLER, bundle / "rootfs/handler")
            subprocess.run(["runc", "spec"], cwd=bundle, check=True)
            spec = json.loads((bundle / "config.json").read_text())
            spec["process"].update(terminal=False, args=command)
            spec["process"]["capabilities"] = {}
            for path in SHARED:
                real = os.path.realpath(path)
                (bundle / "rootfs" / path.lstrip("/")).mkdir(exist_ok=True)
                spec["mounts"].append(
                    {"destination": path, "source": real, "type": "none", "options": ["rbind", "ro"]}
                )
            (bundle / "config.json").write_text(json.dumps(spec))

    def start(self, runtime):
        self.count += 1
        return first_output(
            ["runc", "--root", str(self.folder / "state"), "run", f"bench-{os.getpid()}-{self.count}"],
            cwd=self.folder / runtime,
        )

    def stop(self):
        shutil.rmtree(self.folder)


class Docker:
    """A private Docker Engine, asked over its API: create, attach, start, first byte."""

    name = "Docker create+start"

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="rouse-docker-"))
        self.socket = str(self.folder / "docker.sock")
        with open(self.folder / "log", "wb") as log:
            self.daemon = subprocess.Popen(
                ["dockerd", "--data-root", self.folder / "data", "--exec-root", self.folder / "exec",
                 "--pidfile", self.folder / "pid", "-H", f"unix://{self.socket}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        self.wait_until_it_answers()
        self.connection = Connection(self.socket)
        self.version = self.connection.json("GET", "/version")["Version"]
        self.import_image()

    def wait_until_it_answers(self):
        for _ in range(600):
            if self.daemon.poll() is not None:
                raise SystemExit((self.folder / "log").read_text()[-4000:])
            try:
                Connection(self.socket).call("GET", "/_ping")
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit("dockerd does not answer")

    def import_image(self):
        packed = self.folder / "image.tar"
        with tarfile.open(packed, "w") as out:
            out.add(HANDLER, arcname="handler")
            for path in SHARED:
                folder = tarfile.TarInfo(path.lstrip("/"))
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                out.addfile(folder)
        self.connection.call("POST", "/images/create?fromSrc=-&repo=bench", packed.read_bytes())

    def start(self, runtime):
        mounts = [f"{os.path.realpath(path)}:{path}:ro" for path in SHARED]
        wanted = {
            "Image": "bench", "Cmd": commands()[runtime], "AttachStdout": True,
            "HostConfig": {"Binds": mounts, "Memory": 256 << 20, "NanoCpus": 10**9, "PidsLimit": 256},
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
        self.daemon.terminate()
        self.daemon.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)
