#!/usr/bin/env python3
"""Writes the seeds of fuzz/corpus that are made: fuzz/seeds.py. Seeds that a fuzzer found stay as they are.

They are the cases of tests/attack, small, so that a fuzzer begins where attacks are."""

import gzip
import io
import json
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests/attack"))

import members  # noqa: E402
from members import END, folder, hard, header, link, member, zip_file, zip_link, zipped  # noqa: E402
from offered import CONFIG, LAYER, MANIFEST, Image, described, sha256  # noqa: E402
from test_attack_layers import REFUSED, UNPACKED, ZIPS  # noqa: E402

HOST = "host/folder"
INDEX = "application/vnd.oci.image.index.v1+json"


def layers():
    for name, (make, _) in {**REFUSED, **UNPACKED}.items():
        whole = b"".join(make(HOST))
        if len(whole) <= 16_384:
            yield name, whole + END
    some = member("a", b"x" * 600) + link("l", "a") + hard("h", "a") + folder("d") + END
    yield "gzip", gzip.compress(some, mtime=0)
    zstd = io.BytesIO()
    members.zstd_zeros(some, 0, zstd)
    yield "zstd", zstd.getvalue()


def images():
    for name in ("link-then-write", "link-over-folder", "opaque-through-link", "hard-link-of-a-link", "setuid",
                 "pax-desync"):
        yield name, Image([one + END for one in UNPACKED[name][0](HOST)]).archive()
    layer = member("a", b"x") + END
    plain = Image([layer])
    yield "plain", plain.archive()
    yield "gzip", gzip.compress(plain.archive(), mtime=0)
    yield "wrong-diff-id", Image([layer], diff_ids=[sha256(b"other")]).archive()
    yield "many-layers", Image([layer] * 5).archive()
    for name, attack in {"upwards": member("../planted", b"x"), "link": link("blobs", "../.."),
                         "link-inside": link("oci", "blobs"), "fifo": header("index.json", kind=b"6")}.items():
        yield name, attack + plain.archive()
    yield "docker-save", saved(plain, layer)
    yield "index-of-index", nested(plain)


def packed(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def saved(image, layer):
    """As docker saved images before version 25."""
    config = sha256(image.config).split(":")[1] + ".json"
    about = [{"Config": config, "RepoTags": ["a:1"], "Layers": ["0/layer.tar"]}]
    return packed({config: image.config, "0/layer.tar": layer, "manifest.json": json.dumps(about).encode()})


def nested(image):
    inner = json.dumps({"schemaVersion": 2, "manifests": [described(MANIFEST, image.manifest)]}).encode()
    outer = json.dumps({"schemaVersion": 2, "manifests": [described(INDEX, inner)]}).encode()
    blobs = [inner, image.manifest, image.config, *image.layers]
    return packed({"index.json": outer, **{"blobs/sha256/" + sha256(one).split(":")[1]: one for one in blobs}})


def zips():
    for name, (entries, _) in ZIPS.items():
        yield name, zipped(*entries)
    yield "plain", zipped(zip_file("bootstrap", "x" * 600, 0o6755), zip_link("l", "bootstrap"))
    yield "one-kernel", members.zip_of_one_kernel(3, 5_000)
    yield "empty", zipped()


def manifests():
    image = Image([b"layer"])
    body = json.loads(image.manifest)

    def with_type(kind, fields):
        return kind.encode() + b"\n" + json.dumps(fields).encode()

    yield "image", with_type(MANIFEST, body)
    yield "image-without-type", with_type("", {key: value for key, value in body.items() if key != "mediaType"})
    yield "index", with_type(INDEX, {"schemaVersion": 2, "manifests": [described(MANIFEST, image.manifest)]})
    yield "subject", with_type(MANIFEST, {**body, "subject": described(MANIFEST, b"x"), "artifactType": "a/b"})
    foreign = {**described(LAYER, b"x"), "urls": ["https://example.com/x"]}
    yield "foreign", with_type(MANIFEST, {**body, "layers": [foreign], "annotations": {"a": "b"}})
    yield "unknown-type", with_type("application/x", {"parts": [sha256(b"x"), {"x": 1.5, "y": None}], "z": True})
    yield "schema-1", with_type("", {"schemaVersion": 1, "fsLayers": []})
    yield "bad-digest", with_type(CONFIG, {"config": {"digest": "sha256:../../x"}})
    yield "sha512", with_type(MANIFEST, {**body, "config": {"digest": "sha512:" + "a" * 128}})
    yield "deep", b"\n" + b"[" * 300
    yield "type-of-two-lines", b'\n{"mediaType":"a\\r\\nb/c"}'
    yield "no-text", b"\n\xff\xfe"


def references():
    names = ["busybox", "docker.io/library/busybox:1.36", "localhost:5000/shop/thumb", "shop/thumb:prod",
             "127.0.0.1:4566/thumb", "[::1]:4566/a", f"shop/thumb:1@{sha256(b'x')}", "../etc", "a//b", "a/../b", "-x",
             "docker.io/docker.io/x", "a:b:c", "a@b@c", "library/a", "localhost", "A/b", "a/b:" + "c" * 200, "é"]
    return ((f"{number:02}", name.encode()) for number, name in enumerate(names))


def main():
    for target, seeds in {"layer": layers, "image": images, "zip": zips, "manifest": manifests,
                          "reference": references}.items():
        into = HERE / "corpus" / target
        into.mkdir(parents=True, exist_ok=True)
        for name, content in seeds():
            (into / name).write_bytes(content)


if __name__ == "__main__":
    main()
