"""The Lambda door by the AWS CLI."""

import base64
import json
import subprocess
import sys
import zipfile


def aws(*words, fails=None):
    command = [sys.executable, "-m", "awscli", "--output", "json", "lambda", *words]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if fails is not None:
        assert run.returncode != 0 and fails in run.stderr, run.stderr
        return None
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout) if run.stdout.strip() else None


def test_cli_walks_through_a_functions_life(tmp_path):
    archive = tmp_path / "code.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.py", "def handler(event, context): return event\n")
    made = aws(
        "create-function",
        "--function-name=hello",
        "--runtime=python3.11",
        "--handler=index.handler",
        "--role=arn:aws:iam::000000000000:role/test",
        f"--zip-file=fileb://{archive}",
        "--environment=Variables={A=1}",
    )
    assert made["State"] == "Active"
    aws("wait", "function-active", "--function-name=hello")
    aws("wait", "function-active-v2", "--function-name=hello")
    aws("wait", "function-updated", "--function-name=hello")

    out = tmp_path / "out.json"
    shown = aws(
        "invoke", "--function-name=hello", '--payload={"a": 1}', "--log-type=Tail", str(out)
    )
    assert shown["StatusCode"] == 200 and json.loads(out.read_text()) == {"a": 1}
    assert len(base64.b64decode(shown["LogResult"])) <= 4096
    shown = aws("invoke", "--function-name=hello", '--payload={"do": "fail"}', str(out))
    assert shown["FunctionError"] == "Unhandled"
    assert json.loads(out.read_text())["errorMessage"] == "no good"
    event = ("invoke", "--function-name=hello", "--payload={}", "--invocation-type=Event")
    assert aws(*event, str(out))["StatusCode"] == 202

    changed = aws("update-function-configuration", "--function-name=hello", "--timeout=9")
    assert changed["Timeout"] == 9 and changed["Environment"] == {"Variables": {"A": "1"}}
    code = ("update-function-code", "--function-name=hello", f"--zip-file=fileb://{archive}")
    assert aws(*code)["CodeSha256"] == made["CodeSha256"]
    listed = aws("list-functions", "--max-items=1")
    assert [one["FunctionName"] for one in listed["Functions"]] == ["hello"]
    got = aws("get-function", "--function-name=hello")
    assert got["Configuration"]["FunctionArn"] == made["FunctionArn"]

    aws("create-function", *stale(archive), fails="ResourceConflictException")
    aws("delete-function", "--function-name=hello")
    aws("get-function", "--function-name=hello", fails="ResourceNotFoundException")


def stale(archive):
    return (
        "--function-name=hello",
        "--runtime=python3.11",
        "--handler=index.handler",
        "--role=arn:aws:iam::000000000000:role/test",
        f"--zip-file=fileb://{archive}",
    )
