"""Images and code offered to a server in each way that there is, and what it makes of them."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import stat
import tarfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import e2e
from botocore.exceptions import ClientError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
ROLE = "arn:aws:iam::000000000000:role/any"


def sha256(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def described(kind, content):
    return {"mediaType": kind, "digest": sha256(content), "size": len(content)}


@dataclass
class Answer:
    """Whether the server took it, what it said, and where it then is unpacked."""

    taken: bool
    status: int
    text: str
    root: Path | None = None


class Image:
    """An image of these layers (bytes), whose diff ids may be of others."""

    def __init__(self, layers, diff_ids=None, config=None):
        self.layers = layers
        self.config = config or json.dumps({
            "architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/bin/none"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids or [sha256(one) for one in layers]},
        }).encode()
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": described(CONFIG, self.config),
            "layers": [described(LAYER, one) for one in layers],
        }).encode()

    def archive(self):
        """An OCI layout in a tar."""
        index = {"schemaVersion": 2, "manifests": [described(MANIFEST, self.manifest)]}
        files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
        for blob in [self.manifest, self.config, *self.layers]:
            files["blobs/sha256/" + sha256(blob).split(":")[1]] = blob
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return out.getvalue()


def memory(server):
    """The most memory in MiB that the server's process has had since `forget_memory`."""
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"^VmHWM:\s+(\d+) kB", text, re.M)[1]) / 1024


class Archives:
    """How hostile archives are offered to a server among canaries. They lie in the folder `around`, and are the
    server's user's: nothing but the server itself keeps it from them."""

    def surround(self, user):
        self.host = self.around / "host"
        (self.host / "inner").mkdir(parents=True)
        for file in (self.host / "canary", self.host / "inner/canary", self.around / "canary"):
            file.write_text("whole")
            for path in (file, file.parent):
                shutil.chown(path, user, user)

    def forget_memory(self):
        """Peaks count anew (proc(5), `clear_refs`)."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def outside(self):
        """All that is around the data folder, and in those of its folders that no image belongs in."""
        mine = ("staging", "images", "blobs", "uploads", "code")
        found = {}
        for top, folders, files in os.walk(self.around):
            if Path(top) == self.data:
                folders[:] = [name for name in folders if name not in mine]
                files = [name for name in files if name == "credentials.json"]
            for name in [*folders, *files]:
                path = Path(top) / name
                about = path.lstat()
                if path != self.log and not stat.S_ISSOCK(about.st_mode):
                    size = about.st_size if stat.S_ISREG(about.st_mode) else 0
                    found[str(path)] = (about.st_mode, about.st_uid, about.st_nlink, size)
        return {path: seen for path, seen in found.items() if "/logs/" not in path}

    def unpacked(self, folder):
        # Not what is told of them, such as `DIGEST.warm`.
        return {name for name in os.listdir(self.data / folder) if "." not in name}

    def staging(self):
        return os.listdir(self.data / "staging")

    def _taken(self, folder, before, status, text):
        [new] = self.unpacked(folder) - before
        root = self.data / folder / new
        return Answer(True, status, text, root / "rootfs" if folder == "images" else root)

    def imported(self, name, archive):
        """Offers a tar (bytes, or a file) as `rouse image import` does."""
        before = self.unpacked("images")
        length = len(archive) if isinstance(archive, bytes) else os.fstat(archive.fileno()).st_size
        headers = {"Content-Length": str(length)}
        status, _, body = self.http("POST", f"/_rouse/v1/images?reference={name}", archive, headers)
        last = json.loads(body.splitlines()[-1]) if body else {}
        if "image" not in last:
            return Answer(False, status, body.decode())
        return self._taken("images", before, status, body.decode())

    def basic(self, method, path, body=None, **headers):
        """A request at the registry door; gives status and text."""
        pair = f"{self.root['access_key_id']}:{self.root['secret_access_key']}".encode()
        headers = {key.replace("_", "-"): value for key, value in headers.items()}
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
        status, _, answer = self.http(method, path, body, headers, token=False)
        return status, answer.decode(errors="replace")

    def push_blob(self, repository, content, digest=None):
        digest = digest or sha256(content)
        return self.basic("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", content)

    def push_manifest(self, repository, reference, manifest):
        return self.basic("PUT", f"/v2/{repository}/manifests/{reference}", manifest, content_type=MANIFEST)

    def pushed(self, name, image):
        """Pushes the image, and deploys a function on it."""
        repository, tag = name.split(":")
        for blob in [image.config, *{sha256(one): one for one in image.layers}.values()]:
            status, text = self.push_blob(repository, blob)
            assert status == 201, text
        status, text = self.push_manifest(repository, tag, image.manifest)
        return self.deployed(name) if status == 201 else Answer(False, status, text)

    def deployed(self, name):
        before = self.unpacked("images")
        uri = f"localhost:{self.port}/{name}"
        answer = self._create(PackageType="Image", Code={"ImageUri": uri})
        return self._taken("images", before, 201, "") if answer.taken else answer

    def deployed_zip(self, archive):
        before = self.unpacked("code")
        answer = self._create(Runtime="provided.al2023", Handler="x", Code={"ZipFile": archive})
        return self._taken("code", before, 201, "") if answer.taken else answer

    def compiled(self, archive):
        """Deploys a Python function, and gives its code's folder once its modules are compiled."""
        before = self.unpacked("code")
        client = self.client("lambda")
        client.create_function(FunctionName="compiled", Role=ROLE, Runtime="python3.11", Handler="app.handler",
                               Code={"ZipFile": archive})
        root = self._taken("code", before, 201, "").root
        e2e.wait_for("its modules to be compiled", root.with_name(f"{root.name}.bytecode").exists)
        client.delete_function(FunctionName="compiled")
        return root

    def _create(self, **function):
        client = self.client("lambda", timeout=300)
        try:
            client.create_function(FunctionName="hostile", Role=ROLE, **function)
        except ClientError as error:
            return Answer(False, error.response["ResponseMetadata"]["HTTPStatusCode"], str(error))
        client.delete_function(FunctionName="hostile")
        return Answer(True, 201, "")

    def http(self, method, path, body=None, headers=None, token=True):
        """As in the other tests, with more patience: what is large takes its time to be refused."""
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers or {})
        if token:
            request.add_header("Authorization", f"Bearer {self.root_token}")
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    @property
    def root_token(self):
        return self.root["token"]


class Offered(Archives, e2e.Server):
    def __init__(self, around):
        super().__init__(around / "data")
        self.around = around
        self.surround("root")

    def remove(self):
        self.stop()


class OfferedRootless(Archives, e2e.OrdinaryServer):
    def __init__(self):
        super().__init__()
        self.around = self.folder
        self.surround("rouse-test")


def faults(root):
    """What is wrong with an unpacked tree: whatever is not a file, folder or link, has a setuid or setgid bit,
    or is a file that also has a name elsewhere."""
    found, names, links = [], {}, {}
    for top, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(top) / name
            about = path.lstat()
            if not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode) or stat.S_ISLNK(about.st_mode)):
                found.append(f"{path} is special")
            if about.st_mode & (stat.S_ISUID | stat.S_ISGID):
                found.append(f"{path} has {oct(about.st_mode)}")
            if not stat.S_ISDIR(about.st_mode):
                names[about.st_ino] = names.get(about.st_ino, 0) + 1
                links[about.st_ino] = about.st_nlink
    return found + [f"inode {inode} has names elsewhere" for inode in names if links[inode] != names[inode]]
