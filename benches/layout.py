"""Images as OCI layouts on the disk, made without a builder: as large as wanted, of bytes that nobody has seen."""

import gzip
import hashlib
import io
import json
import os
import tarfile

LAYERS = 10
FILE = 128 * 1024


def tarred(files):
    """A tar of (name, content, mode)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content, mode in files:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


class Layout:
    """An image of one program and as many megabytes (10^6 bytes) of other files, in ten layers."""

    def __init__(self, folder, megabytes, program, level):
        """`level` is gzip's: 0 leaves noise as it is; else the files are hexadecimal digits, which halve."""
        self.folder, self.level, self.bytes = folder, level, 0
        (folder / "blobs/sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        layers = [self.layer([("bootstrap", program.read_bytes(), 0o755)])]
        each = megabytes * 1_000_000 // LAYERS
        for number in range(LAYERS):
            names = range(max(each // FILE, 1))
            layers.append(self.layer((f"data/{number}/{name}", self.content(), 0o644) for name in names))
        config = {"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/bootstrap"]},
                  "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]}}
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": self.json("application/vnd.oci.image.config.v1+json", config),
                    "layers": [descriptor for descriptor, _ in layers]}
        described = self.json(manifest["mediaType"], manifest)
        described["annotations"] = {"org.opencontainers.image.ref.name": "one"}
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))

    def content(self):
        return os.urandom(FILE) if self.level == 0 else os.urandom(FILE // 2).hex().encode()

    def layer(self, files):
        """Writes a layer: its descriptor and its diff id."""
        plain = tarred(files)
        packed = gzip.compress(plain, self.level, mtime=0)
        kind = "application/vnd.oci.image.layer.v1.tar+gzip"
        return self.blob(kind, packed), "sha256:" + hashlib.sha256(plain).hexdigest()

    def json(self, kind, value):
        return self.blob(kind, json.dumps(value).encode())

    def blob(self, kind, content):
        name = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs/sha256" / name).write_bytes(content)
        self.bytes += len(content)
        return {"mediaType": kind, "digest": f"sha256:{name}", "size": len(content)}

    @property
    def source(self):
        """As skopeo names it."""
        return f"oci:{self.folder}:one"
