"""The S3 door, driven by the AWS CLI and s3cmd."""

import json
import os
import pathlib
import subprocess
import urllib.parse

import pytest

URL = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])


def run(*command, code=0):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == code, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


def aws(*arguments, code=0):
    return run("aws", *arguments, code=code)


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    (folder / "deep").mkdir(parents=True)
    (folder / "small.txt").write_bytes(b"small")
    (folder / "deep" / "a b+ü.bin").write_bytes(os.urandom(100_000))
    (folder / "big.bin").write_bytes(os.urandom(17 * 1024 * 1024))
    return folder


def files(folder):
    folder = pathlib.Path(folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_aws_s3(tree, tmp_path):
    aws("s3", "mb", "s3://cli")
    aws("s3", "cp", "--recursive", tree, "s3://cli/tree/")
    listing = aws("s3", "ls", "--recursive", "s3://cli/")
    assert listing.count("\n") == 3 and "tree/deep/a b+ü.bin" in listing
    assert "PRE tree/" in aws("s3", "ls", "s3://cli")
    aws("s3", "cp", "--recursive", "s3://cli/tree/", tmp_path / "back")
    assert files(tmp_path / "back") == files(tree)
    (tree / "small.txt").write_bytes(b"changed now")
    assert "small.txt" in aws("s3", "sync", tree, "s3://cli/tree/")
    assert aws("s3", "sync", tree, "s3://cli/tree/") == ""
    aws("s3", "cp", "s3://cli/tree/big.bin", "s3://cli/copy.bin")
    aws("s3", "mv", "s3://cli/copy.bin", "s3://cli/moved.bin")
    assert aws("s3", "cp", "s3://cli/tree/small.txt", "-") == "changed now"
    url = aws("s3", "presign", "s3://cli/tree/small.txt").strip()
    assert run("curl", "-sS", url) == "changed now"
    assert "NoSuchBucket" in aws("s3", "ls", "s3://nobody-has-this", code=255)
    aws("s3", "rm", "--recursive", "s3://cli/tree/")
    aws("s3", "rb", "--force", "s3://cli")


def test_aws_s3api(tmp_path):
    aws("s3api", "create-bucket", "--bucket", "api")
    (tmp_path / "body").write_bytes(b"0123456789")
    put = json.loads(aws("s3api", "put-object", "--bucket", "api", "--key", "k", "--body", tmp_path / "body"))
    assert put["ETag"] == '"781e5e245d69b566979b86e28d23f2c7"'
    head = json.loads(aws("s3api", "head-object", "--bucket", "api", "--key", "k"))
    assert head["ContentLength"] == 10
    aws("s3api", "get-object", "--bucket", "api", "--key", "k", "--range", "bytes=3-5", tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == b"345"
    delete = json.dumps({"Objects": [{"Key": "k"}]})
    aws("s3api", "delete-objects", "--bucket", "api", "--delete", delete)
    aws("s3api", "delete-bucket", "--bucket", "api")


def s3cmd(*arguments, code=0):
    host = URL.netloc
    return run(
        "/usr/bin/s3cmd", "--config=/dev/null", "--no-ssl", f"--host={host}", f"--host-bucket={host}",
        f"--access_key={os.environ['AWS_ACCESS_KEY_ID']}",
        f"--secret_key={os.environ['AWS_SECRET_ACCESS_KEY']}",
        "--no-progress", *arguments, code=code,
    )


def test_s3cmd(tree, tmp_path):
    s3cmd("mb", "s3://cmd")
    s3cmd("put", "--recursive", "--multipart-chunk-size-mb=5", f"{tree}/", "s3://cmd/tree/")
    listing = s3cmd("ls", "--recursive", "s3://cmd")
    assert listing.count("s3://cmd/tree/") == 3, listing
    (tmp_path / "back").mkdir()
    s3cmd("get", "--recursive", "s3://cmd/tree/", f"{tmp_path}/back/")
    assert files(tmp_path / "back") == files(tree)
    assert "MD5 sum" in s3cmd("info", "s3://cmd/tree/small.txt")
    assert "Location" in s3cmd("info", "s3://cmd")
    s3cmd("cp", "s3://cmd/tree/small.txt", "s3://cmd/copy.txt")
    s3cmd("mv", "s3://cmd/copy.txt", "s3://cmd/moved.txt")
    (tree / "small.txt").write_bytes(b"changed")
    assert "small.txt" in s3cmd("sync", f"{tree}/", "s3://cmd/tree/")
    assert "17" in s3cmd("du", "--human-readable", "s3://cmd")
    assert "404" in s3cmd("ls", "s3://nobody-has-this", code=12)
    put = s3cmd("put", "--disable-multipart", tree / "big.bin", "s3://nobody-has-this", code=12)
    assert "does not exist" in put
    s3cmd("del", "--recursive", "--force", "s3://cmd")
    s3cmd("rb", "s3://cmd")
