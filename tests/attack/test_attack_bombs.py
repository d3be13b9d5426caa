"""Little that unpacks to much: stopped early, with bounded memory, and nothing of it stays."""

import gzip
import os
import subprocess

import pytest
from members import (END, folder, gzip_zeros, header, link, member, pax, zip_file, zip_of_one_kernel, zipped,
                     zstd_zeros)
from offered import Image, Offered, OfferedRootless, faults, sha256
from test_attack_layers import contained  # noqa: F401

TEN_GIGABYTES = 10_000_000_000
PACKED = {"gzip": gzip_zeros, "zstd": zstd_zeros}


@pytest.fixture(scope="module")
def offered(tmp_path_factory, rootless):
    """Its data folder is in memory: on a disk the kernel takes minutes for a million files."""
    server = OfferedRootless() if rootless else Offered(tmp_path_factory.mktemp("around"))
    server.data.mkdir(exist_ok=True)
    about = server.data.stat()
    options = f"size=6g,nr_inodes=4m,mode=700,uid={about.st_uid},gid={about.st_gid}"
    # In the mount namespace of these tests.
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "attacked", server.data], check=True)
    yield server.start()
    server.stop()
    subprocess.run(["umount", server.data], check=True)
    server.remove()


def bomb(path, pack):
    """Ten megabytes that inflate to ten gigabytes: a file of ten megabytes of noise, and one of zeros."""
    start = member("noise", os.urandom(9_000_000)) + header("zeros", size=TEN_GIGABYTES)
    with open(path, "wb") as out:
        PACKED[pack](start, TEN_GIGABYTES, out)
    return path.read_bytes()


@pytest.mark.parametrize("way", ["pushed", "imported"])
@pytest.mark.parametrize("pack", PACKED)
def test_a_layer_of_ten_megabytes_that_is_ten_gigabytes(offered, tmp_path, pack, way):
    image = Image([bomb(tmp_path / "bomb", pack)])
    name = f"bombs/{pack}-{way}:1"
    answer = offered.pushed(name, image) if way == "pushed" else offered.imported(name, image.archive())
    assert not answer.taken and "inflates to more than" in answer.text, answer
    assert way == "imported" or 400 <= answer.status < 500


@pytest.mark.parametrize("pack", PACKED)
def test_an_archive_of_ten_megabytes_that_is_ten_gigabytes(offered, tmp_path, pack):
    bomb(tmp_path / "bomb", pack)
    with open(tmp_path / "bomb", "rb") as archive:
        answer = offered.imported(f"bombs/around-{pack}:1", archive)
    assert not answer.taken and "inflates to more than" in answer.text, answer


def test_headers_without_end(offered):
    """One name of ten gigabytes, and extended headers one after another."""
    for name, layer in [("name", header("././@LongLink", size=TEN_GIGABYTES, kind=b"L") + bytes(5_000_000)),
                        ("pax", header("PaxHeaders/x", size=TEN_GIGABYTES, kind=b"x") + bytes(5_000_000)),
                        ("many", pax(("comment", "x" * 100_000)) * 20 + member("a"))]:
        answer = offered.pushed(f"bombs/headers-{name}:1", Image([layer + END]))
        assert not answer.taken and 400 <= answer.status < 500, answer


@pytest.mark.parametrize("name", ["zeros", "one-kernel", "many-entries"])
def test_a_zip_that_is_ten_gigabytes(offered, name):
    archive = {
        "zeros": lambda: zip_of_one_kernel(1, TEN_GIGABYTES // 4),
        "one-kernel": lambda: zip_of_one_kernel(1000, TEN_GIGABYTES // 1000),
        "many-entries": lambda: zipped(*(zip_file(f"{n}", b"") for n in range(200_001))),
    }[name]()
    answer = offered.deployed_zip(archive)
    assert not answer.taken and 400 <= answer.status < 500, answer


def many(count, make):
    """That many members."""
    return b"".join(make(number) for number in range(count))


def test_a_million_entries_and_their_opaque_deletion(offered):
    """All in one folder, by names as long as headers hold: the next layer hides them, and brings the entry too
    many."""
    lower = folder("d") + many(999_990, lambda number: header(f"d/{number:098d}"))
    upper = member("d/.wh..wh..opq") + many(20, lambda number: header(f"e{number}"))
    layers = [lower + END, upper + END]
    image = Image([gzip.compress(one, 1) for one in layers], diff_ids=[sha256(one) for one in layers])
    answer = offered.pushed("bombs/million:1", image)
    assert not answer.taken and "more entries than are allowed" in answer.text, answer


def test_folders_whose_paths_are_gigabytes(offered):
    """A hundred thousand folders at the end of a path of 3 KB, which a link makes short."""
    deep = "/".join(f"{number:0240d}" for number in range(12))
    lower = pax(("path", deep + "/")) + folder("x") + pax(("linkpath", deep)) + link("s", "x")
    lower += many(100_000, lambda number: folder(f"s/{number}")) + member("noise", os.urandom(9_000_000)) + END
    image = Image([gzip.compress(lower, 1)], diff_ids=[sha256(lower)])
    answer = offered.pushed("bombs/paths:1", image)
    assert answer.taken, answer
    assert faults(answer.root) == []
