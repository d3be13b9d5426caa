"""The registry door, by podman, buildah and umoci, unmodified, as Debian ships them."""

import json
import os
import shutil
import subprocess
import tempfile

import pytest
from test_images import saved, works  # noqa: F401
from test_registry import ask, keys, skopeo


class Tool:
    """podman or buildah, with a store and a login of their own."""

    def __init__(self, name, folder, run):
        if not shutil.which(name):
            pytest.exit(f"{name} is missing: run ./test, which installs it", 2)
        self.name = name
        # Neither asks a registry that nobody named.
        for file, text in {"policy.json": '{"default":[{"type":"insecureAcceptAnything"}]}',
                           "registries.conf": "unqualified-search-registries = []\n",
                           # Else the locks stay in /dev/shm.
                           "containers.conf": '[engine]\nlock_type = "file"\n'}.items():
            (folder / file).write_text(text)
        self.store = ["--root", folder / "root", "--runroot", run, "--storage-driver", "vfs"]
        self.environment = {
            **os.environ, "REGISTRY_AUTH_FILE": str(folder / "auth.json"), "HOME": str(folder),
            "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"), "BUILDAH_ISOLATION": "chroot",
            "CONTAINERS_CONF": str(folder / "containers.conf"), "XDG_RUNTIME_DIR": str(folder),
        }
        self.policy = ["--signature-policy", folder / "policy.json"]

    def __call__(self, *arguments, **options):
        command = [self.name, *self.store, *arguments]
        done = subprocess.run([str(part) for part in command], env=self.environment, capture_output=True,
                              text=True, timeout=180, **options)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout.strip()

    def log_in(self, server):
        """Logs in as the owner, and gives where."""
        host, root = f"127.0.0.1:{server.port}", server.root
        self("login", "--tls-verify=false", "-u", root["access_key_id"], "--password-stdin", host,
             input=root["secret_access_key"])
        return host


@pytest.fixture
def run():
    """A folder of a short name: podman refuses one of more than 50 characters for what runs."""
    with tempfile.TemporaryDirectory(prefix="rouse-", dir="/tmp") as folder:
        yield folder


def test_podman_logs_in_pushes_and_pulls(server, saved, tmp_path, run):
    podman = Tool("podman", tmp_path, run)
    host = podman.log_in(server)
    podman("load", *podman.policy, "-i", saved)
    podman("tag", "shop/echo:1", f"{host}/tools/podman:1")
    podman("push", *podman.policy, "--tls-verify=false", f"{host}/tools/podman:1")
    before = podman("image", "inspect", "-f", "{{.Id}}", f"{host}/tools/podman:1")
    podman("rmi", "--all", "--force")
    podman("pull", *podman.policy, "--tls-verify=false", f"{host}/tools/podman:1")
    assert podman("image", "inspect", "-f", "{{.Id}}", f"{host}/tools/podman:1") == before
    podman("logout", host)
    works(server, tmp_path, "tools/podman:1")


def test_buildah_builds_pushes_and_pulls(server, saved, tmp_path, run):
    buildah = Tool("buildah", tmp_path, run)
    host = buildah.log_in(server)
    skopeo(server, "copy", "--dest-creds", keys(server), f"docker-archive:{saved}", f"docker://{host}/tools/base:1")
    remote = [*buildah.policy, "--tls-verify=false"]
    container = buildah("from", *remote, f"{host}/tools/base:1")
    (tmp_path / "layered").write_text("by buildah")
    buildah("copy", container, tmp_path / "layered", "/added")
    buildah("config", "--label", "org.opencontainers.image.version=7", container)
    buildah("commit", *buildah.policy, container, "built:1")
    buildah("push", *remote, "built:1", f"docker://{host}/tools/buildah:1")
    told = json.loads(skopeo(server, "inspect", f"docker://{host}/tools/buildah:1"))
    assert told["Labels"]["org.opencontainers.image.version"] == "7"
    works(server, tmp_path, "tools/buildah:1")
    buildah("rm", "--all")
    buildah("rmi", "--all", "--force")
    again = buildah("from", *remote, f"{host}/tools/buildah:1")
    mounted = buildah("mount", again)
    with open(f"{mounted}/added") as added:
        assert added.read() == "by buildah"
    buildah("umount", again)
    buildah("rm", again)


def test_umoci_makes_what_skopeo_pushes_and_unpacks_what_it_pulls(server, saved, tmp_path):
    """umoci knows no registry: it works on OCI layouts, which skopeo carries."""

    def umoci(*arguments):
        done = subprocess.run(["umoci", *map(str, arguments)], capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, (arguments, done.stderr)

    if not shutil.which("umoci"):
        pytest.exit("umoci is missing: run ./test, which installs it", 2)
    layout, host = tmp_path / "layout", f"docker://127.0.0.1:{server.port}"
    skopeo(server, "copy", f"docker-archive:{saved}", f"oci:{layout}:one")
    umoci("unpack", "--image", f"{layout}:one", tmp_path / "bundle")
    (tmp_path / "bundle/rootfs/gone").write_text("back")
    (tmp_path / "bundle/rootfs/gone").unlink()
    (tmp_path / "bundle/rootfs/added").write_text("by umoci")
    umoci("repack", "--image", f"{layout}:two", tmp_path / "bundle")
    umoci("config", "--image", f"{layout}:two", "--config.label", "made=umoci")
    skopeo(server, "copy", "--dest-creds", keys(server), f"oci:{layout}:two", f"{host}/tools/umoci:1")
    works(server, tmp_path, "tools/umoci:1")
    pulled = tmp_path / "pulled"
    skopeo(server, "copy", "--src-creds", keys(server), f"{host}/tools/umoci:1", f"oci:{pulled}:two")
    ours, theirs = (json.loads((one / "index.json").read_text())["manifests"] for one in (layout, pulled))
    assert theirs[0]["digest"] in [one["digest"] for one in ours], "byte for byte"
    umoci("unpack", "--image", f"{pulled}:two", tmp_path / "again")
    assert (tmp_path / "again/rootfs/added").read_text() == "by umoci"
    assert ask(server, "HEAD", "/v2/tools/umoci/manifests/1")[1]["docker-content-digest"] == theirs[0]["digest"]
