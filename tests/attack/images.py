"""Container images made by hand, so that they can be what no builder would make."""

import hashlib
import io
import json
import tarfile


class Entry:
    """One member of a layer."""

    def __init__(self, path, content=b"", link=None, mode=0o755, kind=None, hard=False, xattrs=None):
        self.info = tarfile.TarInfo(path)
        self.info.mode = mode
        self.content = content
        if link is not None:
            self.info.type = tarfile.LNKTYPE if hard else tarfile.SYMTYPE
            self.info.linkname = link
        elif kind is not None:
            self.info.type = kind
        else:
            self.info.size = len(content)
        for name, value in (xattrs or {}).items():
            self.info.pax_headers[f"SCHILY.xattr.{name}"] = value


def layer(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            tar.addfile(entry.info, io.BytesIO(entry.content))
    return out.getvalue()


def image(path, layers, name="attack/image:1", **config):
    """Writes what `docker save` would: `layers` are lists of entries."""
    packed = [layer(entries) for entries in layers]
    digests = [hashlib.sha256(one).hexdigest() for one in packed]
    about = {
        "architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": ["/attack"], "Env": ["PATH=/bin"], **config},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{one}" for one in digests]},
    }
    text = json.dumps(about).encode()
    config_name = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name],
                 "Layers": [f"{one}/layer.tar" for one in digests]}]
    with tarfile.open(path, "w") as out:
        members = [(config_name, text), ("manifest.json", json.dumps(manifest).encode())]
        members += [(f"{one}/layer.tar", content) for one, content in zip(digests, packed)]
        for member, content in dict(members).items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


# File capabilities of version 2, effective: CHOWN, DAC_OVERRIDE, NET_RAW, which Docker leaves in reach.
# No byte is past 0x7f, since tar's extended headers are UTF-8.
CAPABILITIES = (bytes([1, 0, 0, 2]) + bytes([0x03, 0x20, 0, 0]) + bytes(12)).decode()


def plain(program):
    """The entries of an image with nothing but the attacks."""
    return [
        Entry("tmp", kind=tarfile.DIRTYPE, mode=0o1777),
        Entry("attack", program),
        Entry("attack-suid", program, mode=0o6755),
        Entry("attack-caps", program, xattrs={"security.capability": CAPABILITIES}),
    ]
