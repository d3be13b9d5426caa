"""`build` of a Dockerfile: Docker or Buildah builds it, and it is pushed, pinned and served."""

import json
import os
import shutil
import tarfile

import pytest
import yaml
from conftest import wait_for
from test_compose import other_compose

SERVER = """#!/bin/sh
mkdir -p /tmp/www && echo "$SAYS" > /tmp/www/index.html
exec busybox httpd -f -p "$PORT" -h /tmp/www
"""
DOCKERFILE = """FROM scratch AS page
ARG WORD=nothing
ENV PATH=/bin SAYS=${WORD}
COPY tree /
ENTRYPOINT ["/server"]
FROM page
ENV SAYS=wrong
"""
MANIFEST = """
name: built
services:
  page:
    build:
      context: ./page
      dockerfile: Dockerfile.page
      target: page
      args: {WORD: "${WORD:-first}"}
    ports: ["8080"]
  again:
    image: shop/again:1
    build: ./again
    x-rouse: {contract: http}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dockerfiles")
    for name in ("page", "again"):
        tree = folder / name / "tree"
        (tree / "bin").mkdir(parents=True)
        (tree / "tmp").mkdir()
        shutil.copy("/bin/busybox", tree / "bin/busybox")
        for applet in ("sh", "mkdir"):
            os.link(tree / "bin/busybox", tree / "bin" / applet)
        (tree / "server").write_text(SERVER)
        (tree / "server").chmod(0o755)
        (tree / "secret.txt").write_text("not in the image")
        (folder / name / ".dockerignore").write_text("tree/secret.txt\n")
    (folder / "page/Dockerfile.page").write_text(DOCKERFILE)
    (folder / "again/Dockerfile").write_text(DOCKERFILE.split("FROM page")[0].replace("${WORD}", "again"))
    (folder / "compose.yaml").write_text(MANIFEST)
    return folder


def deploy(server, folder, *options, **variables):
    return server.rouse("deploy", *options, cwd=folder, env=variables, timeout=300)


def said(server, path):
    return wait_for(path, lambda: (answer := server.http("GET", path))[0] == 200 and answer[2].decode().strip())


def test_docker_builds_it_and_a_change_is_a_change(server, folder, docker):
    own = {"DOCKER_HOST": docker.host, "DOCKER_BUILDKIT": "0"}
    told = deploy(server, folder, **own)
    assert "pushed built/page:latest@sha256:" in told.stderr and "pushed shop/again:1@sha256:" in told.stderr
    assert said(server, "/svc/page/") == "first" and said(server, "/fn/again/") == "again"
    # It is in the registry, by its name and digest, and the declaration is pinned to it.
    status, headers, body = server.http("GET", "/v2/built/page/manifests/latest")
    assert status == 200 and "config" in json.loads(body)
    digest = headers.get("docker-content-digest") or headers.get("Docker-Content-Digest")
    services = {one["service"]["spec"]["name"]: one["service"]["spec"] for one in server.control("services")}
    assert services["page"]["code"]["image"] == {"reference": "built/page:latest", "digest": digest}
    # The same files are the same image.
    changes = json.loads(deploy(server, folder, "--dry-run", "--json", **own).stdout)["changes"]
    assert {change["change"] for change in changes} == {"unchanged"}, changes
    deploy(server, folder, WORD="second", **own)
    wait_for("the new page", lambda: said(server, "/svc/page/") == "second")


def test_what_dockerignore_names_stays_out(server, folder, docker, tmp_path):
    docker("save", "-o", tmp_path / "image.tar", "shop/again:1")
    with tarfile.open(tmp_path / "image.tar") as image:
        layers = [name for name in image.getnames() if name.endswith("layer.tar") or name.startswith("blobs/")]
        names = []
        for layer in layers:
            try:
                with tarfile.open(fileobj=image.extractfile(layer)) as inner:
                    names += inner.getnames()
            except tarfile.ReadError:
                continue
    assert "server" in names and "secret.txt" not in names, names


@pytest.mark.parametrize("builder", ["buildah", "podman"])
def test_without_docker_another_builder_does(server, folder, builder, tmp_path):
    variables = {"ROUSE_BUILDER": builder, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot",
                 "XDG_DATA_HOME": str(tmp_path), "CONTAINERS_STORAGE_CONF": str(storage(tmp_path))}
    deploy(server, folder, WORD=builder, **variables)
    wait_for("the new page", lambda: said(server, "/svc/page/") == builder)
    # Built again, with or without a cache, it is the same image.
    shown = deploy(server, folder, "--dry-run", "--json", WORD=builder, **variables).stdout
    assert {change["change"] for change in json.loads(shown)["changes"]} == {"unchanged"}, shown


def storage(folder):
    """A store of the test's own, which ends with its folder."""
    conf = folder / "storage.conf"
    conf.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n')
    return conf


def test_another_implementation_reads_the_same_builds(folder):
    # `name` is younger than that version.
    (folder / "older.yaml").write_text(MANIFEST.replace("name: built\n", ""))
    build = yaml.safe_load(other_compose(folder, "-f", "older.yaml"))["services"]["page"]["build"]
    assert (build["dockerfile"], build["target"], build["args"]) == ("Dockerfile.page", "page", {"WORD": "first"})


def test_without_any_builder_it_is_said_what_to_do(server, folder, tmp_path):
    done = server.rouse("deploy", cwd=folder, check=False, env={"PATH": str(tmp_path)})
    assert done.returncode == 2, done.stderr
    assert "compose.yaml:13:12" in done.stderr and "docker push" in done.stderr, done.stderr


def test_a_build_that_fails_deploys_nothing(server, folder, docker, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/Dockerfile").write_text("FROM scratch\nCOPY gone /\n")
    (tmp_path / "compose.yaml").write_text("services: {bad: {build: ./bad}}\n")
    done = server.rouse("deploy", cwd=tmp_path, check=False,
                        env={"DOCKER_HOST": docker.host, "DOCKER_BUILDKIT": "0"})
    assert done.returncode == 1 and "`docker build` failed" in done.stderr, done.stderr
    assert "bad" not in server.rouse("ls").stdout
