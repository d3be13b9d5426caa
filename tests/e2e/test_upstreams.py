"""Pulling through from Debian's docker-registry, with users."""

import base64
import hashlib
import json
import shutil
import subprocess
import urllib.request

import pytest
from conftest import free_port, wait_for
from test_images import saved, works  # noqa: F401
from test_registry import ask, keys, skopeo

USER, PASSWORD = "reader", "correct-horse-battery"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class Upstream:
    """docker-registry on a port of its own, for one user."""

    def __init__(self, folder):
        for needed in ("docker-registry", "htpasswd", "skopeo"):
            if not shutil.which(needed):
                pytest.exit(f"{needed} is missing: run ./test, which installs it", 2)
        self.folder, self.port, self.process = folder, free_port(), None
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        hashed = subprocess.run(["htpasswd", "-nbB", USER, PASSWORD], capture_output=True, text=True, check=True)
        (folder / "users").write_text(hashed.stdout.strip() + "\n")
        config = {"version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}},
                  "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
                  "auth": {"htpasswd": {"realm": "there", "path": str(folder / "users")}},
                  "http": {"addr": self.host}}
        (folder / "config.yml").write_text(json.dumps(config))

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", self.folder / "config.yml"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for("docker-registry", self.answers)
        return self

    def answers(self):
        if self.process.poll() is not None:
            pytest.fail((self.folder / "log").read_text()[-2000:])
        try:
            return self.send("GET", "/v2/").status == 200
        except OSError:
            return False

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def send(self, method, path, body=None, kind="application/octet-stream"):
        request = urllib.request.Request(path if path.startswith("http") else self.url + path, data=body, method=method)
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {pair}")
        request.add_header("Content-Type", kind)
        # Else it makes one of Docker's schema 1.
        request.add_header("Accept", f"{IMAGE}, application/vnd.docker.distribution.manifest.v2+json")
        return urllib.request.urlopen(request, timeout=30)

    def push(self, server, archive, name):
        skopeo(server, "copy", "--dest-creds", f"{USER}:{PASSWORD}", f"docker-archive:{archive}",
               f"docker://{self.host}/{name}")

    def manifest(self, name, reference, content, kind=IMAGE):
        body = json.dumps(content).encode()
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        assert self.send("PUT", f"/v2/{name}/manifests/{reference or digest}", body, kind).status == 201
        return {"mediaType": kind, "digest": digest, "size": len(body)}

    def blob(self, name, content):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        where = self.send("POST", f"/v2/{name}/blobs/uploads/", b"").headers["Location"]
        sign = "&" if "?" in where else "?"
        assert self.send("PUT", f"{where}{sign}digest={digest}", content).status == 201
        return {"mediaType": "application/octet-stream", "digest": digest, "size": len(content)}

    def image(self, name, tag, content):
        blob = self.blob(name, content)
        return self.manifest(name, tag, {"schemaVersion": 2, "mediaType": IMAGE, "config": blob, "layers": [blob]})


@pytest.fixture
def upstream(tmp_path):
    folder = tmp_path / "upstream"
    folder.mkdir()
    running = Upstream(folder).start()
    yield running
    running.stop()


def add(server, upstream, password=PASSWORD, name="there"):
    return server.rouse_json("upstream", "add", name, "--url", upstream.url, "--username", USER,
                             "--password-stdin", input=password + "\n")


def test_an_image_is_pulled_through_deployed_and_served_without_its_upstream(own_server, upstream, saved, tmp_path):
    server = own_server
    upstream.push(server, saved, "shop/echo:1")
    told = add(server, upstream)
    assert (told["name"], told["username"], told["change"]) == ("there", USER, "created")
    assert [one["name"] for one in server.rouse_json("upstream", "ls")] == ["there"]
    assert upstream.url in server.rouse("upstream", "ls").stdout
    # By skopeo, through us: byte for byte.
    ours = f"docker://127.0.0.1:{server.port}/there/shop/echo:1"
    skopeo(server, "copy", "--src-creds", keys(server), ours, f"dir:{tmp_path / 'pulled'}")
    theirs = upstream.send("GET", "/v2/shop/echo/manifests/1").headers["Docker-Content-Digest"]
    found = hashlib.sha256((tmp_path / "pulled/manifest.json").read_bytes()).hexdigest()
    assert theirs == f"sha256:{found}"
    works(server, tmp_path, f"localhost:{server.port}/there/shop/echo:1")
    # By its own name, which nothing here has.
    works(server, tmp_path, f"{upstream.host}/shop/echo:1")
    # The upstream goes, and so does what the server knew of how old its tags are.
    upstream.stop()
    server.stop()
    server.start()
    assert ask(server, "GET", "/v2/there/shop/echo/manifests/1")[1]["docker-content-digest"] == theirs
    assert "what is here is served" in server.log.read_text()
    skopeo(server, "copy", "--src-creds", keys(server), ours, f"dir:{tmp_path / 'again'}")
    released = server.rouse_json("deploy", "--image", f"localhost:{server.port}/there/shop/echo:1", "--name", "again")
    assert released["change"] == "created"
    status, _, body = ask(server, "GET", "/v2/there/shop/other/manifests/1")
    assert status == 503 and b"did not give" in body
    for file in [server.log, *(path for path in server.data.rglob("*") if path.is_file())]:
        assert PASSWORD.encode() not in file.read_bytes(), file


def test_a_wrong_password_is_said_and_shown_nowhere(own_server, upstream, tmp_path):
    upstream.image("shop/x", "1", b"x")
    server, wrong = own_server, "wrong-horse-battery"
    add(server, upstream, wrong)
    failed = server.rouse("image", "pull", "there/shop/x:1", check=False)
    assert failed.returncode != 0 and f'refuses the user "{USER}"' in failed.stderr, failed.stderr
    status, _, body = ask(server, "GET", "/v2/there/shop/x/manifests/1")
    assert status == 503 and b"refuses the user" in body
    manifest = f"services:\n  x:\n    image: {upstream.host}/shop/x:1\n    x-rouse: {{contract: lambda}}\n"
    (tmp_path / "compose.yaml").write_text(manifest)
    failed = server.rouse("deploy", cwd=tmp_path, check=False)
    assert failed.returncode != 0 and "refuses the user" in failed.stderr
    shown = json.dumps(server.control("upstreams")) + server.log.read_text() + body.decode() + failed.stderr
    assert wrong not in shown and base64.b64encode(f"{USER}:{wrong}".encode()).decode() not in shown
    # Declared anew, it works at once; without a user it is said that one is needed.
    assert add(server, upstream)["change"] == "updated"
    assert ask(server, "GET", "/v2/there/shop/x/manifests/1")[0] == 200
    server.rouse("upstream", "add", "nobody", "--url", upstream.url)
    assert b"asks for a user" in ask(server, "GET", "/v2/nobody/shop/x/manifests/1")[2]


def test_only_what_is_asked_for_of_an_index_comes_and_tags_follow(own_server, upstream):
    server, name = own_server, "shop/many"
    platforms = [{"os": "linux", "architecture": which} for which in ("amd64", "arm64")]
    images = [upstream.image(name, None, f"for {one['architecture']}".encode()) for one in platforms]
    manifests = [{**image, "platform": platform} for image, platform in zip(images, platforms)]
    index = upstream.manifest(name, "1", {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}, INDEX)
    add(server, upstream)
    assert ask(server, "HEAD", "/v2/there/shop/many/manifests/1")[1]["docker-content-digest"] == index["digest"]
    upstream.stop()
    assert ask(server, "GET", f"/v2/there/shop/many/manifests/{images[0]['digest']}")[0] == 503
    upstream.start()
    status, _, body = ask(server, "GET", f"/v2/there/shop/many/manifests/{images[0]['digest']}")
    assert status == 200
    blob = json.loads(body)["layers"][0]["digest"]
    path = f"/v2/there/shop/many/blobs/{blob}"
    assert ask(server, "GET", path, range="bytes=4-")[2] == b"amd64"
    upstream.stop()
    assert ask(server, "GET", path)[2] == b"for amd64"
    upstream.start()
    upstream.manifest(name, "1", {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests[:1]}, INDEX)
    add(server, upstream)
    told = ask(server, "HEAD", "/v2/there/shop/many/manifests/1")[1]
    assert told["docker-content-digest"] != index["digest"]
    assert ask(server, "GET", f"/v2/there/shop/many/manifests/{index['digest']}")[0] == 200


def test_nobody_pushes_there_nobody_unknown_pulls_and_it_goes_whole(own_server, upstream):
    server = own_server
    upstream.image("shop/x", "1", b"x")
    add(server, upstream)
    assert ask(server, "GET", "/v2/there/shop/x/manifests/1")[0] == 200
    status, _, body = ask(server, "POST", "/v2/there/shop/x/blobs/uploads/", b"")
    assert (status, json.loads(body)["errors"][0]["code"]) == (405, "UNSUPPORTED")
    assert server.http("GET", "/v2/there/shop/x/manifests/1", token=False)[0] == 401
    assert ask(server, "GET", "/v2/there/shop/none/manifests/1")[0] == 404
    refused = server.rouse("upstream", "add", "far", "--url", "http://example.com", check=False)
    assert refused.returncode != 0 and "--insecure" in refused.stderr
    server.rouse("upstream", "rm", "there")
    assert server.rouse_json("upstream", "ls") == []
    assert ask(server, "GET", "/v2/there/shop/x/manifests/1")[0] == 404
    # What was pushed under a name is not taken for an upstream's.
    assert ask(server, "POST", "/v2/mine/x/blobs/uploads/?digest=sha256:" + hashlib.sha256(b"x").hexdigest(), b"x")[0] == 201
    refused = server.rouse("upstream", "add", "mine", "--url", upstream.url, check=False)
    assert refused.returncode != 0 and "another name" in refused.stderr
