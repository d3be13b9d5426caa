"""`rouse build` and `rouse init`: folders that become images, and starters that are deployed and called."""

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from conftest import wait_for
from test_registry import ask, keys, skopeo

NODE = shutil.which("node")


def libraries(program):
    """The files that the dynamic linker loads for a program."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [word for line in told.splitlines() for word in line.split() if word.startswith("/")]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Makes a base of the host's own program, as what `docker save` writes: a tar of one image."""
    import hashlib

    def make(name, program, also=()):
        folder = tmp_path_factory.mktemp(f"base-{name}")
        with tarfile.open(folder / "layer.tar", "w", dereference=True) as out:
            real = os.path.realpath(program)
            out.add(real, f"usr/bin/{name}")
            for path in [*libraries(real), *also]:
                out.add(path, path.lstrip("/"), filter=lambda info: None if "/test" in info.name else info)
        digest = hashlib.sha256((folder / "layer.tar").read_bytes()).hexdigest()
        config = {
            "architecture": "amd64", "os": "linux", "created": "2020-01-01T00:00:00Z",
            "config": {"Env": ["PATH=/usr/bin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        (folder / "config.json").write_text(json.dumps(config))
        saved = [{"Config": "config.json", "RepoTags": [f"base/{name}:1"], "Layers": ["layer.tar"]}]
        (folder / "manifest.json").write_text(json.dumps(saved))
        path = folder / f"{name}.tar"
        with tarfile.open(path, "w") as out:
            for part in ("config.json", "manifest.json", "layer.tar"):
                out.add(folder / part, part)
        return path

    return make


@pytest.fixture(scope="module")
def python_base(base):
    return base("python3", "/usr/bin/python3.11", ["/usr/lib/python3.11"])


def folder(path, files):
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
        if text.startswith("#!"):
            (path / name).chmod(0o755)
    return path


def says(server, name, payload=None):
    error, answer, tail = server.invoke(name, payload)
    assert error is None, (answer, tail)
    return answer


HANDLER = "def handler(event, context):\n    return {'got': event, 'as': context.function_name}\n"


def test_a_python_folder_becomes_an_image_that_is_pushed_deployed_and_the_same_again(server, python_base, tmp_path):
    source = folder(tmp_path / "one", {"app.py": HANDLER, "lib/words.txt": "words"})
    told = server.rouse_json(
        "build", source, "--base", python_base, "--tag", f"localhost:{server.port}/built/python:1",
        "--label", "org.opencontainers.image.revision=abc",
    )
    assert (told["language"], told["reference"]) == ("python", "built/python:1")
    assert ask(server, "HEAD", f"/v2/built/python/manifests/{told['digest']}")[0] == 200
    server.rouse("deploy", "--image", "built/python:1", "--name", "built-python")
    assert says(server, "built-python", {"n": 1}) == {"got": {"n": 1}, "as": "built-python"}
    newest = server.rouse_json("versions", "built-python")["versions"][0]
    assert newest["labels"]["org.opencontainers.image.revision"] == "abc"
    # Another folder of the same content, written in another order at another time.
    again = folder(tmp_path / "two", {"lib/words.txt": "words", "app.py": HANDLER})
    os.utime(again / "app.py", (1, 1))
    label = ("--label", "org.opencontainers.image.revision=abc")
    same = server.rouse_json("build", again, "--base", python_base, "--tag", "built/python:2", *label)
    assert (same["digest"], same["layer"]) == (told["digest"], told["layer"])
    (again / "app.py").write_text(HANDLER + "\n")
    other = server.rouse_json("build", again, "--base", python_base, "--tag", "built/python:3", *label)
    assert other["digest"] != told["digest"]
    # What a tool of others makes of it: its configuration is sound.
    host = f"docker://127.0.0.1:{server.port}/built/python:1"
    shown = json.loads(skopeo(server, "inspect", "--config", host))
    assert shown["config"]["Entrypoint"] == ["python3", "/var/runtime/bootstrap.py"]
    assert shown["config"]["Cmd"] == ["app.handler"]
    assert shown["config"]["Labels"]["rouse.contract"] == "lambda"
    assert "PATH=/usr/bin:/bin" in shown["config"]["Env"] and "created" not in shown


def test_a_base_of_the_registry_is_mounted_and_an_http_server_served(server, python_base, tmp_path):
    host = f"docker://127.0.0.1:{server.port}/base/python:1"
    skopeo(server, "copy", "--dest-creds", keys(server), f"docker-archive:{python_base}", host)
    source = tmp_path / "page"
    server.rouse("init", "--template", "http", source)
    done = server.rouse(
        "build", source, "--base", f"localhost:{server.port}/base/python:1", "--contract", "http", "--json",
        "--", "python3", "server",
    )
    told = json.loads(done.stdout)
    assert told["reference"] == "page:latest" and told["base"]["digest"].startswith("sha256:")
    server.rouse("deploy", "--image", "page")
    assert server.control("functions/page")["spec"]["contract"] == "http", "the image's label says so"
    status, _, body = server.http("POST", "/fn/page/a/b?c=d", b"text")
    assert status == 200, (body, server.rouse("logs", "page").stdout)
    assert (json.loads(body)["path"], json.loads(body)["got"]) == ("/a/b?c=d", "text")


def test_a_manifest_builds_its_folders_on_a_base(server, python_base, tmp_path):
    host = f"docker://127.0.0.1:{server.port}/base/python:2"
    skopeo(server, "copy", "--dest-creds", keys(server), f"docker-archive:{python_base}", host)
    serves = "import http.server, os\nhttp.server.test(http.server.SimpleHTTPRequestHandler, port=int(os.environ['PORT']))\n"
    folder(tmp_path / "fn", {"app.py": HANDLER, "ignored.txt": "x", ".rouseignore": "ignored.txt\n"})
    folder(tmp_path / "page", {"run.py": serves, "index.html": "from the image", "ignored.txt": "x", ".dockerignore": "ignored.txt\n"})
    (tmp_path / "compose.yaml").write_text("""
name: Based
services:
  based: {build: ./fn, x-rouse: {base: "base/python:2", timeout: 20s}}
  based-page: {build: ./page, command: python3 run.py, x-rouse-base: "base/python:2", ports: [8080]}
""")
    server.rouse("deploy", cwd=tmp_path)
    assert says(server, "based", 1) == {"got": 1, "as": "based"}
    assert server.http("GET", "/svc/based-page/")[2] == b"from the image"
    assert server.http("GET", "/svc/based-page/ignored.txt")[0] == 404
    code = server.control("functions/based")["spec"]["code"]["image"]
    told = server.rouse_json("build", tmp_path / "fn", "--base", "base/python:2", "--tag", "based/again:1")
    assert code == {"reference": "based/based:latest", "digest": told["digest"]}, "rouse build makes another image"
    shown = server.rouse_json("deploy", "--dry-run", cwd=tmp_path)
    assert {change["change"] for change in shown["changes"]} == {"unchanged"}, shown


def test_a_node_folder_becomes_an_image(server, base, tmp_path):
    source = tmp_path / "noded"
    server.rouse("init", "--template", "node", source)
    server.rouse("build", source, "--base", base("node", NODE), "--tag", "noded:1")
    server.rouse("deploy", "--image", "noded:1")
    assert says(server, "noded", [1]) == {"hello": "from noded", "event": [1]}


def test_a_file_is_written_without_a_server_and_read_by_others(server, tmp_path, python_base):
    source = folder(tmp_path / "alone", {"app.py": HANDLER})
    out = tmp_path / "alone.tar"
    command = ["build", source, "--base", python_base, "--output", out, "--json"]
    # No server is known: none is needed.
    away = {"ROUSE_URL": "", "ROUSE_TOKEN": "", "ROUSE_DATA": str(tmp_path / "nobody")}
    told = json.loads(server.rouse(*command, env=away).stdout)
    first = out.read_bytes()
    server.rouse(*command, env=away)
    assert out.read_bytes() == first
    host = f"docker://127.0.0.1:{server.port}/other/alone:1"
    skopeo(server, "copy", "--preserve-digests", "--dest-creds", keys(server), f"oci-archive:{out}", host)
    assert ask(server, "HEAD", f"/v2/other/alone/manifests/{told['digest']}")[0] == 200
    server.rouse("image", "import", out, "--name", "imported/alone:1")
    server.rouse("deploy", "--image", "imported/alone:1")
    assert says(server, "alone", 7)["got"] == 7
    # And as a base itself.
    on_it = folder(tmp_path / "on-it", {"app.py": HANDLER.replace("got", "took")})
    server.rouse("build", on_it, "--base", out, "--tag", "on-it:1")
    server.rouse("deploy", "--image", "on-it:1")
    assert says(server, "on-it", 7)["took"] == 7


def test_a_push_of_a_build_is_followed(server, python_base, tmp_path):
    source = folder(tmp_path / "followed", {"app.py": "def handler(event, context):\n    return 1\n"})
    build = ("build", source, "--base", python_base, "--tag", "followed:prod")
    server.rouse(*build)
    server.rouse("deploy", "--image", "followed:prod", "--follow")
    assert says(server, "followed") == 1
    (source / "app.py").write_text("def handler(event, context):\n    return 2\n")
    server.rouse(*build)
    wait_for("the second build", lambda: says(server, "followed") == 2)


def test_what_cannot_be_built_is_said(server, tmp_path):
    docker = folder(tmp_path / "docker", {"Dockerfile": "FROM scratch\n"})
    python = folder(tmp_path / "python", {"app.py": HANDLER})
    for arguments, text in [
        ((docker,), "docker build"),
        ((python,), "needs python3"),
        ((python, "--base", "none/such:1"), "is not in the server's registry"),
        ((python, "--base", docker / "Dockerfile"), "no tar of an image"),
        ((tmp_path / "nothing",), "is no folder"),
    ]:
        done = server.rouse("build", *arguments, check=False)
        assert done.returncode == 2 and text in done.stderr, (arguments, done.stderr)


@pytest.mark.parametrize("template", ["node", "python", "rust", "http"])
def test_every_starter_is_deployed_and_called(server, tmp_path, template):
    own = tmp_path / f"first-{template}"
    server.rouse("init", "--template", template, own)
    if template == "rust":
        server.run("cargo", "build", "--release", "--offline", cwd=own, env={"CARGO_TARGET_DIR": str(own / "target")})
        shutil.copy(own / f"target/release/{own.name}", own / "bootstrap")
    server.rouse("deploy", cwd=own)
    if template == "http":
        status, _, body = server.http("GET", f"/fn/{own.name}/x")
        assert (status, json.loads(body)["path"]) == (200, "/x")
    else:
        assert says(server, own.name, {"n": 1}) == {"hello": f"from {own.name}", "event": {"n": 1}}
    again = server.rouse("init", "--template", template, own, check=False)
    assert again.returncode == 2 and "nothing is overwritten" in again.stderr


def test_a_static_program_needs_no_base(server, tmp_path):
    busybox = Path("/bin/busybox")
    source = folder(tmp_path / "static", {"page/index.html": "static page\n"})
    shutil.copy(busybox, source / "busybox")
    server.rouse(
        "build", source, "--contract", "http", "--tag", "static:1", "--",
        "./busybox", "httpd", "-f", "-p", "8080", "-h", "page",
    )
    server.rouse("deploy", "--image", "static:1")
    assert server.http("GET", "/fn/static/index.html")[2] == b"static page\n"
