"""Mistakes of people and machines: an error that names the thing, the place and the remedy."""

import subprocess

import pytest
from botocore.exceptions import ClientError
from conftest import PYTHON_RUNTIME, ROUSE, Server, free_port

GOOD = "services:\n  f:\n    build: ./f\n    x-rouse: {runtime: python3.11, handler: app.handler}\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f/app.py").write_text("def handler(e, c):\n    return 1\n")
    return tmp_path


def refused(server, folder, manifest):
    (folder / "compose.yaml").write_text(manifest)
    done = server.rouse("deploy", cwd=folder, check=False)
    assert done.returncode != 0
    assert server.control("functions") == []
    return done.stderr


@pytest.mark.parametrize(
    "manifest, said",
    [
        ("services:\n  f:\n    build: ./f\n    x-rouse: {runtime: python3.11, handler: app.handler, memry: 1}\n",
         ["compose.yaml:4", "memry"]),
        ("services:\n  f:\n    build: ./f\n   bad\n", ["compose.yaml:4"]),
        ("services:\n  f:\n    build: ./nowhere\n    x-rouse: {runtime: python3.11, handler: app.handler}\n",
         ["nowhere"]),
        ("services:\n  f:\n    build: ./f\n    x-rouse: {runtime: cobol85, handler: app.handler}\n",
         ["cobol85", "nodejs20.x"]),
        ("services:\n  f:\n    image: shop/none:1\n    x-rouse: {}\n", ["shop/none:1", "rouse image import"]),
        ("services:\n  f:\n    build: ./f\n    x-rouse: {runtime: python3.11, handler: app.handler, memory: 1M}\n",
         ["memory"]),
        (GOOD + "x-rouse:\n  buckets:\n    b12: {notify: [{function: ghost}]}\n", ["ghost"]),
        (GOOD.replace("build: ./f", "build: ./f\n    privileged: true"), ["compose.yaml:4", "privileged"]),
    ],
)
def test_bad_manifest(server, folder, manifest, said):
    told = refused(server, folder, manifest)
    for part in said:
        assert part in told, told


def test_a_manifest_that_is_not_there(server, tmp_path):
    done = server.rouse("deploy", cwd=tmp_path, check=False)
    assert done.returncode != 0 and "compose.yaml" in done.stderr


@pytest.mark.parametrize("archive", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 100])
def test_bad_zip(server, archive):
    with pytest.raises(ClientError) as error:
        server.client("lambda").create_function(
            FunctionName="bad-zip", Runtime=PYTHON_RUNTIME, Role="r", Handler="app.handler",
            Code={"ZipFile": archive},
        )
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert server.control("functions") == []


def test_unknown_runtime(server):
    with pytest.raises(ClientError) as error:
        server.create("cobol", "cobol85", {"app.py": "x"})
    assert error.value.response["Error"]["Code"] == "InvalidParameterValueException"
    assert "cobol85" in str(error.value)


def test_provided_without_bootstrap(server):
    try:
        server.create("nothing", "provided", {"readme.txt": "no bootstrap here"})
    except ClientError as error:
        assert "bootstrap" in str(error)
        return
    error, payload, _ = server.invoke("nothing")
    server.client("lambda").delete_function(FunctionName="nothing")
    assert error == "Unhandled" and "bootstrap" in payload["errorMessage"]


def test_port_taken(server, tmp_path):
    done = subprocess.run(
        [ROUSE, "serve", "--data", tmp_path / "other", "--listen", f"127.0.0.1:{server.port}"],
        capture_output=True, text=True, timeout=30,
    )
    assert done.returncode != 0
    assert str(server.port) in done.stderr and "--listen" in done.stderr


def test_a_data_folder_in_use(server):
    done = subprocess.run(
        [ROUSE, "serve", "--data", server.data, "--listen", f"127.0.0.1:{free_port()}"],
        capture_output=True, text=True, timeout=30,
    )
    assert done.returncode != 0
    assert str(server.data) in done.stderr


def test_no_server(tmp_path):
    done = subprocess.run(
        [ROUSE, "ls", "--data", tmp_path], capture_output=True, text=True, timeout=30
    )
    assert done.returncode != 0
    assert "rouse serve" in done.stderr


def test_as_an_ordinary_user_it_says_what_is_missing(tmp_path):
    program = tmp_path / "rouse"
    program.write_bytes(ROUSE.read_bytes())
    program.chmod(0o755)
    for place in [tmp_path, *tmp_path.parents]:
        if place.stat().st_mode & 0o005 != 0o005 and str(place).startswith("/tmp/"):
            place.chmod(place.stat().st_mode | 0o055)
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", program, "serve",
         "--data", "/tmp/rouse-of-nobody", "--listen", f"127.0.0.1:{free_port()}"],
        capture_output=True, text=True, timeout=30,
    )
    subprocess.run(["rm", "-rf", "/tmp/rouse-of-nobody"], check=True)
    assert done.returncode != 0
    assert "CAP_SYS_ADMIN" in done.stderr or "root" in done.stderr, done.stderr


def test_disk_full(tmp_path):
    """A data folder of 24 MiB: full is said, nothing half-made stays, and space makes it work again."""
    data = tmp_path / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", data], check=True)
    server = Server(data)
    try:
        server.start()
        s3 = server.client("s3")
        s3.create_bucket(Bucket="photos")
        kept = []
        with pytest.raises(ClientError) as error:
            for n in range(40):
                s3.put_object(Bucket="photos", Key=f"{n}", Body=b"x" * 1_000_000)
                kept.append(f"{n}")
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] in (503, 507)
        listed = [o["Key"] for o in s3.list_objects_v2(Bucket="photos").get("Contents", [])]
        assert sorted(listed) == sorted(kept)
        for key in kept[: len(kept) // 2]:
            s3.delete_object(Bucket="photos", Key=key)
        s3.put_object(Bucket="photos", Key="again", Body=b"x" * 1_000_000)
        assert server.healthy()
        server.stop()
    finally:
        if server.process and server.process.poll() is None:
            server.kill()
        subprocess.run(["umount", "-l", data], check=True)
