"""The runtimes, and the official runtime clients, which work unmodified."""

import base64
import io
import json
import os
import shutil
import zipfile

import pytest
from conftest import NODE_RUNTIME, PYTHON_RUNTIME, REPO, zipped

CACHE = REPO / ".cache/test"

CONTEXT_PY = """
import os
def handler(event, context):
    print("seen by", context.aws_request_id)
    return {
        "event": event,
        "request": context.aws_request_id,
        "name": context.function_name,
        "arn": context.invoked_function_arn,
        "memory": int(context.memory_limit_in_mb),
        "left": context.get_remaining_time_in_millis(),
        "custom": context.client_context.custom if context.client_context else None,
        "trace": os.environ.get("_X_AMZN_TRACE_ID", ""),
        "who": [os.getuid(), os.getpid()],
        "mine": os.environ["MINE"],
    }
"""

CONTEXT_JS = """
exports.handler = async (event, context) => {
  console.log('seen by', context.awsRequestId);
  return {
    event, request: context.awsRequestId, name: context.functionName,
    arn: context.invokedFunctionArn, memory: Number(context.memoryLimitInMB),
    left: context.getRemainingTimeInMillis(),
    custom: context.clientContext ? context.clientContext.custom || context.clientContext.Custom : null,
    trace: process.env._X_AMZN_TRACE_ID || '', who: [process.getuid(), process.pid],
    mine: process.env.MINE,
  };
};
"""

SETTINGS = {"Timeout": 20, "MemorySize": 256, "Environment": {"Variables": {"MINE": "yes"}}}


def folder_zip(folder):
    """A zip of a folder, links as they are, executables executable."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(place, name)
                info = zipfile.ZipInfo(os.path.relpath(path, folder))
                info.external_attr = (os.lstat(path).st_mode & 0xFFFF) << 16
                if os.path.islink(path):
                    archive.writestr(info, os.readlink(path))
                else:
                    with open(path, "rb") as content:
                        archive.writestr(info, content.read())
    return out.getvalue()


def create(server, name, runtime, archive, handler="app.handler"):
    server.client("lambda").create_function(
        FunctionName=name, Runtime=runtime, Role="r", Handler=handler, Code={"ZipFile": archive}, **SETTINGS
    )


def tells_its_context(server, name):
    context = base64.b64encode(json.dumps({"custom": {"a": "b"}}).encode()).decode()
    error, told, tail = server.invoke(name, {"ä": [1, None]}, ClientContext=context)
    assert error is None, told
    assert told["event"] == {"ä": [1, None]}
    assert told["name"] == name
    assert told["arn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    assert told["memory"] == 256
    assert 0 < told["left"] <= 20_000
    assert told["custom"] == {"a": "b"}
    assert told["trace"].startswith("Root=1-")
    assert told["mine"] == "yes"
    assert told["request"] in tail
    return told


@pytest.fixture(scope="session")
def ric_python(tmp_path_factory):
    """The official awslambdaric with a bootstrap, as a zip."""
    folder = tmp_path_factory.mktemp("ric") / "code"
    shutil.copytree(CACHE / "awslambdaric", folder)
    (folder / "app.py").write_text(CONTEXT_PY)
    (folder / "bootstrap").write_text(
        '#!/bin/sh\nPYTHONPATH=/var/task exec python3.11 -m awslambdaric "$_HANDLER"\n'
    )
    (folder / "bootstrap").chmod(0o755)
    return folder_zip(folder)


@pytest.fixture(scope="session")
def ric_node(tmp_path_factory):
    """The official aws-lambda-ric with a bootstrap, as a zip."""
    folder = tmp_path_factory.mktemp("ric") / "code"
    shutil.copytree(CACHE / "aws-lambda-ric/node_modules", folder / "node_modules", symlinks=True)
    for part in ("deps", "src"):
        shutil.rmtree(folder / "node_modules/aws-lambda-ric" / part, ignore_errors=True)
    (folder / "app.js").write_text(CONTEXT_JS)
    (folder / "bootstrap").write_text(
        '#!/bin/sh\ncd /var/task && exec node node_modules/aws-lambda-ric/index.mjs "$_HANDLER"\n'
    )
    (folder / "bootstrap").chmod(0o755)
    return folder_zip(folder)


def test_our_python_bootstrap(server):
    create(server, "python", PYTHON_RUNTIME, zipped({"app.py": CONTEXT_PY}))
    told = tells_its_context(server, "python")
    assert told["who"] == [1000, 1]


SPAWN_PY = """
import multiprocessing
def work(there):
    there.send(6 * 7)
def handler(event, context):
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    process = processes.Process(target=work, args=(there,))
    process.start()
    there.close()
    answer = here.recv()
    process.join()
    return [answer, process.exitcode]
"""


@pytest.mark.parametrize("snapshot", ["none", "init"])
def test_a_python_function_spawns_processes(server, tmp_path, snapshot):
    (tmp_path / "code").mkdir()
    (tmp_path / "code/app.py").write_text(SPAWN_PY)
    settings = f"{{runtime: {PYTHON_RUNTIME}, handler: app.handler, timeout: 20s, snapshot: {snapshot}}}"
    server.deploy(tmp_path, f"services: {{spawns-{snapshot}: {{build: ./code, x-rouse: {settings}}}}}")
    for _ in range(2):
        error, answer, tail = server.invoke(f"spawns-{snapshot}", {})
        assert (error, answer) == (None, [42, 0]), tail


def test_our_node_bootstrap(server):
    create(server, "node", NODE_RUNTIME, zipped({"app.js": CONTEXT_JS}))
    told = tells_its_context(server, "node")
    assert told["who"] == [1000, 1]


def test_a_node_module(server):
    code = "import os from 'node:os';\nexport const handler = async (event) => `${event} ${os.hostname()}`;\n"
    create(server, "esm", NODE_RUNTIME, zipped({"src/app.mjs": code}), "src/app.handler")
    assert server.invoke("esm", "from")[1].startswith("from ")


def test_a_node_callback(server):
    code = "exports.handler = (event, context, callback) => setTimeout(() => callback(null, event + 1), 5);"
    create(server, "callback", NODE_RUNTIME, zipped({"app.js": code}))
    assert server.invoke("callback", 1)[:2] == (None, 2)


def test_official_awslambdaric(server, ric_python):
    create(server, "ric-python", "provided.al2023", ric_python)
    tells_its_context(server, "ric-python")
    tells_its_context(server, "ric-python")


def test_official_aws_lambda_ric(server, ric_node):
    create(server, "ric-node", "provided.al2023", ric_node)
    tells_its_context(server, "ric-node")
    tells_its_context(server, "ric-node")


def test_official_rust_lambda_runtime(server):
    program = CACHE / "lambda-rust/debug/lambda-rust"
    create(server, "rust", "provided.al2023", zipped({"bootstrap": program.read_bytes()}), "any.any")
    error, told, _ = server.invoke("rust", {"name": "photo"})
    assert error is None, told
    assert told["greeting"] == "hello photo"
    assert told["arn"].endswith(":function:rust")
    error, told, _ = server.invoke("rust", {"name": "fail"})
    assert error == "Unhandled" and "asked to fail" in told["errorMessage"]


def test_a_shell_script_is_a_runtime(server):
    script = """#!/bin/sh
set -eu
while :; do
  python3.11 - <<'P'
import http.client, json, os
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
api.request("GET", "/2018-06-01/runtime/invocation/next")
work = api.getresponse()
body = work.read()
name = work.headers["Lambda-Runtime-Aws-Request-Id"]
api.request("POST", f"/2018-06-01/runtime/invocation/{name}/response", body)
print(api.getresponse().status)
P
done
"""
    create(server, "script", "provided", zipped({"bootstrap": script}), "any.any")
    assert server.invoke("script", {"a": 1})[1] == {"a": 1}
    assert server.invoke("script", [2])[1] == [2]


def test_the_aws_command_line_creates_updates_and_invokes(server, tmp_path):
    archive = tmp_path / "code.zip"
    archive.write_bytes(zipped({"app.py": "def handler(e, c):\n    return {'got': e}\n"}))
    made = json.loads(
        server.aws("lambda", "create-function", "--function-name", "by-cli", "--runtime", "python3.11",
                   "--role", "arn:aws:iam::000000000000:role/any", "--handler", "app.handler",
                   "--zip-file", f"fileb://{archive}").stdout
    )
    assert made["State"] == "Active" and made["Version"] == "$LATEST"
    server.aws("lambda", "wait", "function-active", "--function-name", "by-cli")
    out = tmp_path / "out.json"
    told = json.loads(
        server.aws("lambda", "invoke", "--function-name", "by-cli", "--payload", '{"a":1}',
                   "--cli-binary-format", "raw-in-base64-out", "--log-type", "Tail", out, check=False).stdout
        or server.aws("lambda", "invoke", "--function-name", "by-cli", "--payload", '{"a":1}',
                      "--log-type", "Tail", out).stdout
    )
    assert told["StatusCode"] == 200 and "LogResult" in told
    assert json.loads(out.read_text()) == {"got": {"a": 1}}
    archive.write_bytes(zipped({"app.py": "def handler(e, c):\n    return 'new'\n"}))
    server.aws("lambda", "update-function-code", "--function-name", "by-cli", "--zip-file", f"fileb://{archive}")
    assert server.invoke("by-cli")[1] == "new"
    server.aws("lambda", "update-function-configuration", "--function-name", "by-cli", "--timeout", "7")
    got = json.loads(server.aws("lambda", "get-function", "--function-name", "by-cli").stdout)
    assert got["Configuration"]["Timeout"] == 7
    listed = json.loads(server.aws("lambda", "list-functions").stdout)["Functions"]
    assert "by-cli" in [f["FunctionName"] for f in listed]
    server.aws("lambda", "delete-function", "--function-name", "by-cli")
    assert server.aws("lambda", "get-function", "--function-name", "by-cli", check=False).returncode != 0


def test_many_callers_at_once(server):
    from concurrent.futures import ThreadPoolExecutor

    code = "import os, time\ndef handler(e, c):\n    time.sleep(0.2)\n    return [e, c.aws_request_id]\n"
    create(server, "many", PYTHON_RUNTIME, zipped({"app.py": code}))
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: server.invoke("many", n)[1], range(36)))
    assert [answer[0] for answer in answers] == list(range(36))
    assert len({answer[1] for answer in answers}) == 36


def test_what_an_instance_sees_of_the_machine(server):
    code = """
import os, socket, subprocess
def handler(e, c):
    status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
    return {
        "seccomp": status["Seccomp"].strip(), "privs": status["NoNewPrivs"].strip(),
        "caps": status["CapEff"].strip(), "processes": [p for p in os.listdir("/proc") if p.isdigit()],
        "links": [name for _, name in socket.if_nameindex()], "root": sorted(os.listdir("/")),
        "homes": [name for top in ("/root", "/home") if os.path.isdir(top) for name in os.listdir(top)],
        "mounted": os.listdir("/sys") if os.path.isdir("/sys") else [],
        "environment": sorted(os.environ), "fds": os.listdir("/proc/self/fd"),
    }
"""
    create(server, "sees", PYTHON_RUNTIME, zipped({"app.py": code}))
    seen = server.invoke("sees")[1]
    assert (seen["seccomp"], seen["privs"]) == ("2", "1")
    assert int(seen["caps"], 16) == 0
    # A fork of a zygote has one beside it that only waits; an interpreter of its own has none.
    assert seen["processes"] in (["1"], ["1", "2"])
    assert seen["links"] == ["lo"]
    assert seen["homes"] == [], "the host's homes are not to be seen"
    assert seen["mounted"] == [], "/sys tells of the host"
    assert not [name for name in seen["environment"] if name.startswith("ROUSE_TEST")]
    assert len(seen["fds"]) < 12


def test_a_function_may_not_use_the_control_plane(server):
    code = """
import os, urllib.request, urllib.error, boto3, botocore
def handler(e, c):
    told = {}
    try:
        urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"] + "/_rouse/v1/functions")
    except urllib.error.HTTPError as error:
        told["control"] = error.code
    try:
        boto3.client("lambda").delete_function(FunctionName="sees")
    except botocore.exceptions.ClientError as error:
        told["delete"] = error.response["Error"]["Code"]
    told["buckets"] = boto3.client("s3").list_buckets()["ResponseMetadata"]["HTTPStatusCode"]
    return told
"""
    folder = REPO / "examples/shop/thumbnail-py/packages"
    archive = zipped({"app.py": "import sys\nsys.path.insert(0, '/var/task/p')\n" + code})
    out = io.BytesIO(archive)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as more:
        for package in ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3"):
            for path in (folder / package).rglob("*"):
                keep = "/data/" not in str(path) or any(
                    part in str(path) for part in ("/s3/", "/lambda/", "endpoints.json", "partitions.json", "_retry.json", "sdk-default")
                )
                if path.is_file() and "__pycache__" not in str(path) and keep:
                    more.write(path, "p/" + str(path.relative_to(folder)))
        more.write(folder / "six.py", "p/six.py")
    create(server, "curious", PYTHON_RUNTIME, out.getvalue())
    error, told, tail = server.invoke("curious")
    assert error is None, (told, tail)
    assert told["control"] in (401, 403)
    assert told["delete"] == "AccessDeniedException"
    assert told["buckets"] == 200
