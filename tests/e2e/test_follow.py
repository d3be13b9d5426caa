"""Push is deploy: a tag that a function follows, pushed by skopeo and docker, and by a server that is killed."""

import hashlib
import json
import shutil
import tarfile

import pytest
from conftest import wait_for
from test_images import saved  # noqa: F401
from test_registry import ask, keys, push, skopeo

# Speaks the Runtime API with busybox alone; says which build it is.
PROGRAM = """#!/bin/sh
{first}
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while :; do
  wget -q -S -O /tmp/event "$api/next" 2>/tmp/headers || exit 1
  id=$(sed -n 's/^ *[Ll]ambda-[Rr]untime-[Aa]ws-[Rr]equest-[Ii]d: *//p' /tmp/headers | tr -d '\\r')
  echo '"{build}"' >/tmp/answer
  wget -q -O /dev/null --post-file=/tmp/answer "$api/$id/response" || exit 1
done
"""


@pytest.fixture
def layout(tmp_path):
    """Makes an OCI layout of one layer: busybox and a program that answers with `build`."""

    def make(build, first=":"):
        tree = tmp_path / f"tree-{build}"
        for name in ("bin", "tmp"):
            (tree / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", tree / "bin/busybox")
        for applet in ("sh", "wget", "sed", "tr", "echo", "sleep"):
            (tree / "bin" / applet).symlink_to("busybox")
        (tree / "bootstrap").write_text(PROGRAM.format(build=build, first=first))
        (tree / "bootstrap").chmod(0o755)
        folder = tmp_path / f"layout-{build}"
        (folder / "blobs/sha256").mkdir(parents=True)
        layer = tmp_path / f"layer-{build}.tar"
        with tarfile.open(layer, "w") as out:
            out.add(tree, arcname=".")
        kind = "application/vnd.oci.image"
        diff = put(folder, layer.read_bytes())
        config = {
            "architecture": "amd64", "os": "linux",
            "config": {
                "Entrypoint": ["/bootstrap"],
                "Labels": {"org.opencontainers.image.revision": build, "other": "x"},
            },
            "rootfs": {"type": "layers", "diff_ids": [diff["digest"]]},
        }
        manifest = {
            "schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json",
            "config": {"mediaType": f"{kind}.config.v1+json", **put(folder, json.dumps(config).encode())},
            "layers": [{"mediaType": f"{kind}.layer.v1.tar", **diff}],
        }
        index = {
            "schemaVersion": 2,
            "manifests": [{"mediaType": f"{kind}.manifest.v1+json", **put(folder, json.dumps(manifest).encode())}],
        }
        (folder / "index.json").write_text(json.dumps(index))
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        return folder

    return make


def put(folder, content):
    digest = hashlib.sha256(content).hexdigest()
    (folder / "blobs/sha256" / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def pushed(server, folder, name):
    """Copies a layout to the server; gives the digest of its manifest."""
    skopeo(
        server, "copy", "--dest-creds", keys(server), f"oci:{folder}", f"docker://127.0.0.1:{server.port}/{name}"
    )
    repository, tag = name.split(":")
    # The copy may have compressed what it copied.
    return ask(server, "HEAD", f"/v2/{repository}/manifests/{tag}")[1]["docker-content-digest"]


def says(server, name):
    error, answer, tail = server.invoke(name)
    assert error is None, (answer, tail)
    return answer


def serves(server, name, build):
    wait_for(f"{build} of {name}", lambda: says(server, name) == build)


def settled(server, name, digest):
    """What became of a push, once that is known."""

    def look():
        told = server.rouse_json("versions", name)["pushes"]
        return next((push for push in told if push["digest"] == digest), None)

    return wait_for(f"what becomes of {digest}", look)


def bound(server, name, *options):
    image = f"localhost:{server.port}/shop/{name}:prod"
    return server.rouse("deploy", "--image", image, *options).stdout


def test_a_push_becomes_a_version_and_serves(server, layout):
    one = pushed(server, layout("one"), "shop/pushed:prod")
    assert "created" in bound(server, "pushed", "--follow")
    assert says(server, "pushed") == "one"
    assert "follows localhost" in server.rouse("ls").stdout
    two = pushed(server, layout("two"), "shop/pushed:prod")
    serves(server, "pushed", "two")
    assert settled(server, "pushed", two)["version"] == 2
    told = server.rouse_json("versions", "pushed")
    assert told["follows"].endswith("/shop/pushed:prod")
    newest, oldest = told["versions"]
    assert newest["spec"]["code"]["image"]["digest"] == two
    assert oldest["spec"]["code"]["image"]["digest"] == one
    assert newest["labels"] == {"org.opencontainers.image.revision": "two"}
    assert newest["by"] == "root" and newest["created"] > oldest["created"]
    # What is rolled back stays so until the next push.
    server.rouse("rollback", "pushed")
    assert says(server, "pushed") == "one"
    pushed(server, layout("three"), "shop/pushed:other")
    pushed(server, layout("four"), "shop/pushed:prod")
    serves(server, "pushed", "four")


def test_a_push_that_does_not_start_leaves_the_old_version_serving_and_says_why(server, layout):
    pushed(server, layout("works"), "shop/broken:prod")
    bound(server, "broken", "--follow")
    bad = pushed(server, layout("fails", first="echo no database here; exit 3"), "shop/broken:prod")
    why = settled(server, "broken", bad)
    assert why["version"] is None and "version 1 goes on serving" in why["failure"], why
    assert "no database here" in why["failure"]
    assert why["by"] == "root"
    done = server.rouse("versions", "broken")
    assert "does not serve" in done.stderr and "no database here" in done.stderr
    assert says(server, "broken") == "works"
    # So does one that is no image.
    odd, _ = push(server, "shop/broken", "prod", b"no image at all")
    assert settled(server, "broken", odd)["failure"]
    assert says(server, "broken") == "works"
    pushed(server, layout("mended"), "shop/broken:prod")
    serves(server, "broken", "mended")


def test_the_binding_is_removed_and_a_manifest_makes_it(server, layout, tmp_path):
    pushed(server, layout("a"), "shop/bind:prod")
    manifest = (
        "services:\n  bind:\n    image: localhost:%d/shop/bind:prod\n"
        "    x-rouse: {follow: %s, memory: 64M}\n"
    )
    server.deploy(tmp_path, manifest % (server.port, "true"))
    pushed(server, layout("b"), "shop/bind:prod")
    serves(server, "bind", "b")
    assert server.control("functions/bind")["spec"]["limits"]["memory"] == 64 << 20
    bound(server, "bind", "--no-follow")
    assert server.control("functions/bind")["spec"]["limits"]["memory"] == 64 << 20
    assert server.rouse_json("versions", "bind")["follows"] is None
    pushed(server, layout("c"), "shop/bind:prod")
    # What another function follows is settled after it: nothing waits any more.
    bound(server, "bind", "--name", "witness", "--follow")
    serves(server, "witness", "c")
    assert says(server, "bind") == "b"
    refused = server.rouse("deploy", "--image", f"shop/bind@sha256:{'0' * 64}", "--follow", check=False)
    assert refused.returncode != 0
    (tmp_path / "compose.yaml").write_text(
        "services:\n  x:\n    build: .\n    x-rouse: {runtime: provided, follow: true}\n"
    )
    refused = server.rouse("deploy", cwd=tmp_path, check=False)
    assert refused.returncode != 0 and "follow is for an image" in refused.stderr


def test_docker_push_deploys(server, docker, saved, tmp_path):
    host = f"127.0.0.1:{server.port}"
    docker("load", "-i", saved)
    docker(
        "login", "-u", server.root["access_key_id"], "--password-stdin", host,
        input=server.root["secret_access_key"].encode(),
    )
    try:
        docker("tag", "shop/echo:1", f"{host}/shop/pusher:prod")
        docker("push", f"{host}/shop/pusher:prod")
        server.rouse("deploy", "--image", f"{host}/shop/pusher:prod", "--follow", "--contract", "lambda")
        before = server.invoke("pusher", {"n": 1})[1]
        assert before["event"] == {"n": 1}
        docker("import", "-c", 'ENTRYPOINT ["/bootstrap"]', "-c", "ENV GREETING=again", exported(docker, tmp_path),
               f"{host}/shop/pusher:prod")
        docker("push", f"{host}/shop/pusher:prod")
        wait_for("the pushed one", lambda: server.invoke("pusher")[1]["greeting"] == "again")
    finally:
        docker("logout", host)


def exported(docker, folder):
    """The file system of the saved image as one tar, by `docker export`."""
    container = docker("create", "shop/echo:1").strip()
    path = folder / "exported.tar"
    try:
        docker("export", "-o", path, container)
        return path
    finally:
        docker("rm", container)


@pytest.mark.parametrize("first", [":", "sleep 3"])
def test_what_was_answered_and_is_no_version_yet_is_found_after_a_kill(own_server, layout, first):
    server = own_server
    pushed(server, layout("one"), "shop/killed:prod")
    bound(server, "killed", "--follow")
    two = layout("two", first)
    digest = pushed(server, two, "shop/killed:prod")
    server.kill()
    server.start()
    serves(server, "killed", "two")
    assert settled(server, "killed", digest)["version"] == 2
    numbers = [version["number"] for version in server.rouse_json("versions", "killed")["versions"]]
    assert numbers == [2, 1]
    assert ask(server, "HEAD", "/v2/shop/killed/manifests/prod")[0] == 200
    # What is rolled back is not moved on by a start.
    server.rouse("rollback", "killed")
    server.stop()
    server.start()
    assert says(server, "killed") == "one"


def test_a_function_is_deployed_by_its_image_alone(server, layout, tmp_path):
    pushed(server, layout("alone"), "shop/alone:1")
    image = f"localhost:{server.port}/shop/alone:1"
    told = server.rouse_json("deploy", "--image", image, "--name", "by-itself")
    assert told["change"] == "created" and told["function"]["spec"]["contract"] == "lambda"
    assert says(server, "by-itself") == "alone"
    assert server.rouse_json("deploy", "--image", image, "--name", "by-itself")["change"] == "unchanged"
    missing = server.rouse("deploy", "--image", "shop/none:1", check=False)
    assert missing.returncode != 0 and "is not on this server" in missing.stderr
    usage = server.rouse("deploy", "--follow", cwd=tmp_path, check=False)
    assert usage.returncode == 2


def test_untagged_manifests_are_listed_and_collected(server, layout):
    one = pushed(server, layout("first"), "shop/untagged:prod")
    bound(server, "untagged")
    two = pushed(server, layout("second"), "shop/untagged:prod")
    three = pushed(server, layout("third"), "shop/untagged:prod")
    # About the second: goes with it. About the third: stays with it.
    for number, subject in enumerate([two, three]):
        kind = "application/vnd.oci.image.manifest.v1+json"
        about = {"mediaType": kind, "digest": subject, "size": 1}
        body = {"schemaVersion": 2, "mediaType": kind, "artifactType": "text/x", "subject": about,
                "annotations": {"n": str(number)}}
        text = json.dumps(body).encode()
        digest = "sha256:" + hashlib.sha256(text).hexdigest()
        path = f"/v2/shop/untagged/manifests/{digest}"
        assert ask(server, "PUT", path, text, content_type=kind)[0] == 201

    def listed():
        found = server.rouse_json("registry", "ls", "shop/untagged")["manifests"]
        return {one["digest"]: one for one in found}

    before = listed()
    assert len(before) == 5 and before[three]["tags"] == ["prod"] and before[one]["tags"] == []
    assert before[three]["size"] > 1000
    row = next(one for one in server.rouse_json("registry", "ls")["repositories"] if one["name"] == "shop/untagged")
    assert (row["tags"], row["manifests"], row["untagged"]) == (1, 5, 4)
    assert "(untagged)" in server.rouse("registry", "ls", "shop/untagged").stdout
    assert server.rouse_json("registry", "gc", "--untagged")["manifests"] == 0, "they are young"
    would = server.rouse_json("registry", "gc", "--untagged", "0s", "--dry-run")
    mine = [one["digest"] for one in would["untagged"] if one["repository"] == "shop/untagged"]
    assert two in mine and len(mine) == 2
    server.rouse("registry", "gc", "--untagged", "0s")
    after = listed()
    assert set(before) - set(after) == set(mine), "a version runs on the first, the last has a tag"
    assert says(server, "untagged") == "first"
