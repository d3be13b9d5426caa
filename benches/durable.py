"""Peers that keep records durably: a raw log, in its own process and over HTTP, and PostgreSQL."""

import os
import pwd
import re
import subprocess
import tempfile
import time
from pathlib import Path

import process
from load import offer
from programs import BUILT, REPO
from rouse import free_port
from wire import Connection

SOURCE = REPO / "benches/log.c"
LOG = BUILT / "log"


def build():
    BUILT.mkdir(parents=True, exist_ok=True)
    if not LOG.exists() or LOG.stat().st_mtime < SOURCE.stat().st_mtime:
        subprocess.run(["gcc", "-O2", "-pthread", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-o", LOG, SOURCE],
                       check=True)


def raw_log(writers, seconds, size):
    """Records a second that so many threads append to one log, each waiting for its fdatasync."""
    with tempfile.TemporaryDirectory(prefix="rouse-log-") as folder:
        told = subprocess.run([LOG, f"{folder}/log", str(writers), str(seconds), str(size)], check=True,
                              capture_output=True, text=True).stdout
    return float(told)


class HttpLog:
    """The raw log behind the smallest possible HTTP server, asked as rouse is."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="rouse-log-"))
        self.port = free_port()
        self.log = open(self.folder / "said", "wb")
        self.process = process.start([LOG, self.folder / "log", "port", str(self.port)], self.log)
        for _ in range(100):
            try:
                Connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise RuntimeError("the raw log does not answer")

    def rate(self, clients, seconds):
        return offer(self.port, "none", ["/append"], clients, seconds)["rate"]

    def stop(self):
        process.stop(self.process, 10)
        self.log.close()
        process.remove(self.folder)


class Postgres:
    """A private cluster as an unprivileged user, on a Unix socket; durable as it is by default."""

    USER = "postgres"
    # Seconds of a run: making hundreds of connections takes some, and counts.
    LEAST = 5

    def __init__(self, most):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        if not found:
            raise RuntimeError("PostgreSQL is missing: scripts/install bench-peers installs it")
        self.bin = found[-1]
        self.folder = Path(tempfile.mkdtemp(prefix="rouse-postgres-"))
        user = pwd.getpwnam(self.USER)
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.log = open(self.folder / "log", "wb")
        self.process = None
        try:
            self.run("initdb", "-D", self.folder / "data", "--auth=trust", "--no-locale", "-E", "UTF8")
            command = [*self.prefix(), self.bin / "postgres", "-D", self.folder / "data", "-k", self.folder,
                       "-c", "listen_addresses=", "-c", f"max_connections={most + 10}"]
            self.process = process.start(command, self.log)
            self.wait_until_it_answers()
            self.sql("CREATE TABLE event (id uuid PRIMARY KEY, target text NOT NULL, state text NOT NULL, "
                     "due timestamptz NOT NULL, body text NOT NULL); "
                     "CREATE INDEX ON event (target, due) WHERE state = 'waiting'")
        except BaseException:
            self.stop()
            raise

    def prefix(self):
        return ["setpriv", f"--reuid={self.USER}", f"--regid={self.USER}", "--clear-groups", "--"]

    def run(self, program, *words, check=True):
        command = [*self.prefix(), self.bin / program, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/",
                              env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"})
        if check and done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stderr.strip()[-1000:]}")
        return done

    def wait_until_it_answers(self):
        for _ in range(300):
            if self.process.poll() is not None:
                raise RuntimeError("postgres ended: " + (self.folder / "log").read_text()[-1000:])
            if self.run("pg_isready", "-q", "-h", self.folder, check=False).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError("PostgreSQL does not answer")

    def sql(self, text):
        return self.run("psql", "-h", self.folder, "-v", "ON_ERROR_STOP=1", "-qAtc", text, "postgres").stdout.strip()

    def rate(self, clients, seconds, size):
        """Single rows a second that so many clients insert, each in a transaction of its own."""
        script = self.folder / "insert.sql"
        script.write_text("INSERT INTO event VALUES (gen_random_uuid(), 'function f', 'waiting', now(), "
                          f"'{'x' * size}');\n")
        script.chmod(0o644)
        told = self.run("pgbench", "-h", self.folder, "-n", "-f", script, "-M", "prepared", "-c", clients,
                        "-j", min(clients, 2), "-T", max(seconds, self.LEAST), "postgres").stdout
        failed = re.search(r"number of failed transactions: (\d+)", told)
        rate = re.search(r"^tps = ([\d.]+)", told, re.M)
        if rate is None or (failed and int(failed[1])):
            raise RuntimeError(f"pgbench with {clients} clients: {told.strip()}")
        return float(rate[1])

    def version(self):
        return self.sql("SHOW server_version").split()[0]

    def stop(self):
        if self.process:
            process.stop(self.process, 30)
        self.log.close()
        process.remove(self.folder)
