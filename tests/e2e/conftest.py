"""A real server for each test module, and the clients that people use."""

import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

REPO = Path(__file__).resolve().parents[2]
ROUSE = Path(os.environ.get("ROUSE_BIN", REPO / "target/debug/rouse"))
AWS = Path(os.environ.get("ROUSE_TEST_AWS", REPO / ".cache/test/venv/bin/aws"))
PYTHON_RUNTIME, NODE_RUNTIME = "python3.11", "nodejs20.x"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, timeout=60.0, interval=0.05):
    """Polls until the condition gives something true, and gives that."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {timeout} s")
        time.sleep(interval)


def zipped(files):
    """A zip of {name: text or bytes}; files named bootstrap are executable."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o755 if name.endswith("bootstrap") else 0o644) << 16
            archive.writestr(info, content)
    return out.getvalue()


class Server:
    """One `rouse serve` with a data folder of its own; it can be killed and started again."""

    # What starts the program.
    by = ()

    def __init__(self, data, options=(), variables=None):
        self.data = Path(data)
        self.variables = variables or {}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.options = list(options)
        self.process = None
        self.log = self.data.parent / f"{self.data.name}.log"

    def program(self):
        return ROUSE

    def spawn(self):
        """Starts the process and waits for nothing."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.by, self.program(), "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}"]
                + self.options,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.variables},
            )

    def start(self):
        self.spawn()
        return self.ready()

    def ready(self):
        wait_for("the server's health", self.healthy, timeout=60)
        return self

    def healthy(self):
        if self.process.poll() is not None:
            pytest.fail(f"rouse serve ended with {self.process.returncode}:\n{self.log.read_text()}")
        try:
            with urllib.request.urlopen(f"{self.url}/_rouse/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def stop(self, timeout=60):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout)

    def kill(self):
        self.process.kill()
        self.process.wait()

    @property
    def root(self):
        return json.loads((self.data / "credentials.json").read_text())

    def environment(self):
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "ROUSE_"))},
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.root["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": self.root["secret_access_key"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "ROUSE_URL": self.url,
            "ROUSE_TOKEN": self.root["token"],
            "NO_COLOR": "1",
        }

    def run(self, *command, check=True, timeout=120, **options):
        """Runs a program with the server's environment and gives its result."""
        done = subprocess.run(
            [str(part) for part in command],
            env={**self.environment(), **options.pop("env", {})},
            stdin=options.pop("stdin", subprocess.DEVNULL) if "input" not in options else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            **options,
        )
        if check and done.returncode != 0:
            pytest.fail(f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def rouse(self, *arguments, **options):
        return self.run(ROUSE, *arguments, **options)

    def rouse_json(self, *arguments, **options):
        return json.loads(self.rouse(*arguments, "--json", **options).stdout)

    def aws(self, *arguments, **options):
        return self.run(AWS, *arguments, **options)

    def client(self, service, attempts=1, timeout=70):
        root = self.root
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=root["access_key_id"],
            aws_secret_access_key=root["secret_access_key"],
            config=Config(
                retries={"total_max_attempts": attempts}, read_timeout=timeout, connect_timeout=10
            ),
        )

    def http(self, method, path, body=None, headers=None, token=True):
        """One request; gives status, headers and body, whatever the status."""
        request = urllib.request.Request(self.url + path, data=body, method=method)
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        if token:
            request.add_header("Authorization", f"Bearer {self.root['token']}")
        try:
            with urllib.request.urlopen(request, timeout=70) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def control(self, path):
        status, _, body = self.http("GET", f"/_rouse/v1/{path}")
        assert status == 200, (status, body)
        return json.loads(body)

    def deploy(self, folder, manifest):
        """Writes the manifest into the folder and deploys it."""
        (Path(folder) / "compose.yaml").write_text(manifest)
        return self.rouse("deploy", cwd=folder)

    def create(self, name, runtime, files, handler="app.handler", **settings):
        """Creates a function from {file: content} by the Lambda API."""
        return self.client("lambda").create_function(
            FunctionName=name,
            Runtime=runtime,
            Role="arn:aws:iam::000000000000:role/any",
            Handler=handler,
            Code={"ZipFile": zipped(files)},
            **settings,
        )

    def invoke(self, name, payload=None, **options):
        """Invokes by the Lambda API; gives (error kind or None, decoded payload, log tail)."""
        answer = self.client("lambda").invoke(
            FunctionName=name, Payload=json.dumps(payload), LogType="Tail", **options
        )
        body = answer["Payload"].read()
        tail = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
        return answer.get("FunctionError"), json.loads(body) if body else None, tail

    def last_run(self, function):
        """The record of the function's newest run."""
        path = f"runs?target=function:{function}&limit=1"
        return wait_for(f"a run of {function}", lambda: next(iter(self.control(path)), None))


class OrdinaryServer(Server):
    """A server that an ordinary user started, without root."""

    by = (REPO / "tests/ordinary-user",)

    def __init__(self, options=(), variables=None):
        # Where that user gets to, as to no folder of the tests'.
        self.folder = Path(tempfile.mkdtemp(prefix="rouse-ordinary-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        subprocess.run([*self.by, "true"], check=True)
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        shutil.chown(data, "rouse-test", "rouse-test")
        # 512 sandboxes is the most that 65 536 subordinate ids are enough for.
        super().__init__(data, ["--max-instances", "200", *options], variables)

    def program(self):
        copy = self.folder / "rouse"
        if not copy.exists():
            shutil.copy(ROUSE, copy)
        return copy

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder)


def pytest_configure(config):
    config.addinivalue_line("markers", "minutes: waits for minutes of the clock; ./test runs it beside the others")


@pytest.fixture(scope="session", autouse=True)
def binaries():
    for needed in (ROUSE, AWS):
        if not needed.exists():
            pytest.exit(f"{needed} is missing: run ./test, which builds and installs it", 2)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("rouse") / "data").start()
    yield running
    running.stop()


@pytest.fixture
def own_server(tmp_path):
    """A server for one test that kills it, fills it or starts it again."""
    running = Server(tmp_path / "data").start()
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture(scope="session")
def docker(tmp_path_factory):
    """A private Docker Engine: a function that calls the client, and its `host`."""
    if not shutil.which("dockerd"):
        pytest.exit("dockerd is missing: run ./test, which installs Debian's docker.io", 2)
    folder = tmp_path_factory.mktemp("docker")
    # A socket's path must be short.
    place = Path(f"/tmp/rouse-test-{os.getpid()}.sock")
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen(
            ["dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec",
             "--pidfile", folder / "pid", "-H", f"unix://{place}", "--iptables=false", "--bridge=none"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )

    def call(*arguments, **options):
        program = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
        environment = {**os.environ, "DOCKER_HOST": f"unix://{place}"}
        done = subprocess.run(
            [program, *map(str, arguments)], env=environment, capture_output=True, timeout=120, **options
        )
        assert done.returncode == 0, (arguments, done.stderr, (folder / "log").read_text()[-2000:])
        return done.stdout.decode()

    def answers():
        if daemon.poll() is not None:
            pytest.fail((folder / "log").read_text()[-4000:])
        return place.exists() and b"Server" in subprocess.run(
            ["docker", "-H", f"unix://{place}", "version"], capture_output=True
        ).stdout

    wait_for("dockerd", answers, timeout=60)
    call.host = f"unix://{place}"
    call.folder = folder
    yield call
    daemon.terminate()
    daemon.wait(60)
    subprocess.run(["rm", "-rf", folder / "data", folder / "exec", place], check=False)


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """A copy of the shop example with its installed dependencies."""
    folder = tmp_path_factory.mktemp("shop") / "shop"
    shutil.copytree(REPO / "examples/shop", folder, symlinks=True)
    for needed in ("thumbnail/node_modules", "catalog/node_modules", "thumbnail-py/packages"):
        if not (folder / needed).exists():
            pytest.exit(f"examples/shop/{needed} is missing: run ./test, which installs it", 2)
    return folder


@pytest.fixture(scope="session")
def photos():
    found = sorted((REPO / ".cache/demo/photos").glob("*.jpg"), key=lambda path: path.stat().st_size)
    if len(found) < 24:
        pytest.exit(".cache/demo/photos has no photographs: run ./test, which brings them", 2)
    return found
