"""The registry door, by the programs that people use: docker and skopeo."""

import base64
import hashlib
import json
import os
import subprocess

import pytest
from conftest import wait_for
from test_images import saved, works  # noqa: F401


def basic(server):
    keys = f"{server.root['access_key_id']}:{server.root['secret_access_key']}"
    return {"Authorization": "Basic " + base64.b64encode(keys.encode()).decode()}


def ask(server, method, path, body=None, **headers):
    """One request of the owner; gives status, headers by lower case name, and body."""
    status, found, answer = server.http(
        method, path, body, {**basic(server), **{k.replace("_", "-"): v for k, v in headers.items()}}, False
    )
    return status, {name.lower(): value for name, value in found.items()}, answer


def push(server, name, tag, content):
    """A manifest of one blob, pushed by hand; gives its digest once it was answered 201."""
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    path = f"/v2/{name}/blobs/uploads/?digest={digest}"
    assert ask(server, "POST", path, content)[0] == 201
    kind = "application/vnd.oci.image.manifest.v1+json"
    layer = {"mediaType": "application/octet-stream", "digest": digest, "size": len(content)}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": layer, "layers": [layer]})
    status, headers, _ = ask(
        server, "PUT", f"/v2/{name}/manifests/{tag}", manifest.encode(), content_type=kind
    )
    assert status == 201
    return headers["docker-content-digest"], digest


def skopeo(server, *arguments):
    keys = f"{server.root['access_key_id']}:{server.root['secret_access_key']}"
    verb, *rest = arguments
    options = {
        "copy": ["--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"],
        "inspect": ["--tls-verify=false", "--creds", keys],
        "list-tags": ["--tls-verify=false", "--creds", keys],
        "delete": ["--tls-verify=false", "--creds", keys],
    }[verb]
    done = subprocess.run(
        ["skopeo", verb, *options, *map(str, rest)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


def keys(server):
    return f"{server.root['access_key_id']}:{server.root['secret_access_key']}"


def test_skopeo_pushes_lists_copies_pulls_and_deletes(server, saved, tmp_path):
    host = f"docker://127.0.0.1:{server.port}"
    skopeo(server, "copy", "--dest-creds", keys(server), f"docker-archive:{saved}", f"{host}/shop/echo:1")
    told = json.loads(skopeo(server, "inspect", f"{host}/shop/echo:1"))
    assert told["RepoTags"] == ["1"] and len(told["Layers"]) == 2
    # To another repository: its blobs are mounted, and to an OCI layout and back.
    both = ("--src-creds", keys(server), "--dest-creds", keys(server))
    skopeo(server, "copy", *both, f"{host}/shop/echo:1", f"{host}/other/echo:copied")
    layout = tmp_path / "layout"
    skopeo(server, "copy", "--src-creds", keys(server), f"{host}/other/echo:copied", f"oci:{layout}:one")
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    skopeo(server, "copy", "--all", "--dest-creds", keys(server), f"oci:{layout}:one", f"{host}/shop/echo:2")
    assert ask(server, "HEAD", f"/v2/shop/echo/manifests/{digest}")[0] == 200
    tags = json.loads(skopeo(server, "list-tags", f"{host}/shop/echo"))["Tags"]
    assert tags == ["1", "2"]
    names = json.loads(ask(server, "GET", "/v2/_catalog")[2])["repositories"]
    assert {"other/echo", "shop/echo"} <= set(names)
    skopeo(server, "delete", f"{host}/other/echo:copied")
    assert json.loads(ask(server, "GET", "/v2/other/echo/tags/list")[2])["tags"] == []
    wrong = ["skopeo", "inspect", "--tls-verify=false", "--creds", "a:b", f"{host}/shop/echo:1"]
    assert subprocess.run(wrong, capture_output=True, timeout=60).returncode != 0


def test_docker_logs_in_pushes_and_pulls(server, docker, saved):
    # An address of loopback needs no TLS for docker.
    host = f"127.0.0.1:{server.port}"
    root = server.root
    docker("load", "-i", saved)
    docker(
        "login", "-u", root["access_key_id"], "--password-stdin", host,
        input=root["secret_access_key"].encode(),
    )
    try:
        docker("tag", "shop/echo:1", f"{host}/shop/docker:1")
        docker("push", f"{host}/shop/docker:1")
        docker("tag", "shop/echo:1", f"{host}/shop/mounted:1")
        docker("push", f"{host}/shop/mounted:1")
        before = docker("image", "inspect", "-f", "{{.Id}}", "shop/echo:1")
        docker("rmi", f"{host}/shop/docker:1", f"{host}/shop/mounted:1")
        docker("rmi", "-f", "shop/echo:1")
        docker("pull", f"{host}/shop/docker:1")
        assert docker("image", "inspect", "-f", "{{.Id}}", f"{host}/shop/docker:1") == before
    finally:
        docker("logout", host)


@pytest.mark.parametrize("prefix", ["", "localhost:{port}/", "127.0.0.1:{port}/"])
def test_what_was_pushed_is_deployed_by_its_name(server, saved, tmp_path, prefix):
    host = f"docker://127.0.0.1:{server.port}"
    skopeo(server, "copy", "--dest-creds", keys(server), f"docker-archive:{saved}", f"{host}/shop/run:prod")
    works(server, tmp_path, prefix.format(port=server.port) + "shop/run:prod")


def test_a_tag_that_moves_is_deployed_anew(server, saved, tmp_path):
    host = f"docker://127.0.0.1:{server.port}"
    skopeo(server, "copy", "--dest-creds", keys(server), f"docker-archive:{saved}", f"{host}/shop/moves:prod")
    works(server, tmp_path, "shop/moves:prod")
    first = server.control("functions/echo")["spec"]["code"]
    # The same layers as another manifest: its layers uncompressed.
    skopeo(
        server, "copy", "--dest-creds", keys(server), "--format", "oci",
        f"docker-archive:{saved}", f"{host}/shop/moves:prod",
    )
    works(server, tmp_path, "shop/moves:prod")
    second = server.control("functions/echo")["spec"]["code"]
    assert "sha256:" in json.dumps(first) and first != second


def test_the_lambda_api_takes_what_was_pushed_and_keeps_it_until_its_code_is_changed(own_server, saved):
    server = own_server
    host = f"docker://127.0.0.1:{server.port}"

    def put(*form):
        archive = f"docker-archive:{saved}"
        skopeo(server, "copy", "--dest-creds", keys(server), *form, archive, f"{host}/shop/pushed:1")

    def code():
        return server.control("functions/pushed")["spec"]["code"]

    put()
    client = server.client("lambda")
    uri = f"localhost:{server.port}/shop/pushed:1"
    client.create_function(
        FunctionName="pushed", PackageType="Image", Code={"ImageUri": uri}, Role="arn:aws:iam::000000000000:role/any"
    )
    assert server.invoke("pushed", {"n": 1})[0] is None
    first = code()
    put("--format", "oci")
    client.put_function_concurrency(FunctionName="pushed", ReservedConcurrentExecutions=3)
    assert code() == first, "only its code's change takes what the tag means now"
    client.update_function_code(FunctionName="pushed", ImageUri=uri)
    assert code() != first
    assert server.invoke("pushed", {"n": 2})[0] is None

    def ready():
        return server.rouse_json("image", "ls")

    assert len(ready()) == 2
    assert server.http("POST", "/_rouse/v1/registry/collections?grace=0")[0] == 200
    assert len(ready()) == 1, "nothing runs on the first any more"
    assert server.invoke("pushed", {"n": 3})[0] is None


def test_what_is_not_there_is_said(server, tmp_path):
    (tmp_path / "compose.yaml").write_text(
        "services:\n  echo:\n    image: shop/none:1\n    x-rouse: {contract: lambda}\n"
    )
    done = server.rouse("deploy", cwd=tmp_path, check=False)
    assert done.returncode != 0 and 'no image "shop/none:1"' in done.stderr


def test_what_was_answered_survives_a_kill(own_server):
    pushed = []
    for number in range(5):
        content = os.urandom(200_000) + bytes([number])
        pushed.append((push(own_server, "shop/kept", f"v{number}", content), content))
        own_server.kill()
        own_server.start()
    for number, ((manifest, blob), content) in enumerate(pushed):
        status, headers, _ = ask(own_server, "GET", f"/v2/shop/kept/manifests/v{number}")
        assert (status, headers["docker-content-digest"]) == (200, manifest)
        assert ask(own_server, "GET", f"/v2/shop/kept/blobs/{blob}")[2] == content


def test_an_upload_goes_on_after_a_kill(own_server):
    _, headers, _ = ask(own_server, "POST", "/v2/a/blobs/uploads/")
    upload = headers["location"]
    assert ask(own_server, "PATCH", upload, b"hello ", content_range="0-5")[0] == 202
    own_server.kill()
    own_server.start()
    status, headers, _ = ask(own_server, "GET", upload)
    assert (status, headers["range"]) == (204, "0-5")
    digest = "sha256:" + hashlib.sha256(b"hello world").hexdigest()
    assert ask(own_server, "PUT", f"{upload}?digest={digest}", b"world", content_range="6-10")[0] == 201
    assert ask(own_server, "GET", f"/v2/a/blobs/{digest}")[2] == b"hello world"


def test_what_nothing_names_is_collected(own_server):
    _, kept = push(own_server, "shop/a", "prod", b"kept")
    manifest, gone = push(own_server, "shop/a", "old", b"gone")
    assert ask(own_server, "DELETE", f"/v2/shop/a/manifests/{manifest}")[0] == 202
    files = own_server.data / "blobs/sha256"
    assert own_server.rouse_json("registry", "gc", "--dry-run")["blobs"] == 0, "there is a day of grace"
    surplus = wait_for(
        "a blob that would go",
        lambda: own_server.rouse_json("registry", "gc", "--grace", "0s", "--dry-run")["listed"],
    )
    assert surplus == [{"digest": gone, "size": 4}]
    assert (files / gone.split(":")[1]).exists(), "nothing was changed"
    wait_for(
        "the collection",
        lambda: own_server.rouse("registry", "gc", "--grace", "0s")
        and not (files / gone.split(":")[1]).exists(),
    )
    assert (files / kept.split(":")[1]).read_bytes() == b"kept"
    assert ask(own_server, "HEAD", f"/v2/shop/a/blobs/{gone}")[0] == 404
    push(own_server, "shop/a", "old", b"gone")
    assert ask(own_server, "GET", f"/v2/shop/a/blobs/{gone}")[2] == b"gone"
