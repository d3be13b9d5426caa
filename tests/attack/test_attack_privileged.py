"""Programs with rights of their own. Unpacking takes them from what is pushed; here they are really met: among
the host's programs, which a folder's code sees, and in an image, where they are given back after unpacking."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import images
import pytest
from cases import FORK, words
from conftest import FUNCTIONS, HERE

# CAP_SYS_ADMIN, permitted and effective (vfs_cap_data of version 2).
SYS_ADMIN = bytes([1, 0, 0, 2]) + (1 << 21).to_bytes(4, "little") + bytes(12)
# name → what is tried, what it says where nothing prevents it, how one sees inside that the file has the right.
RIGHTS = {
    "suid": ("a set-user-id program", "euid 0, uid 1000", "its mode is 104755"),
    "capabilities": ("a program with CAP_SYS_ADMIN as a file capability", "effective 200000",
                     "file capabilities: some"),
}
INSIDE = "image as 1000"
FILE = "/privileged-{}"


@pytest.fixture(scope="module")
def helper(tmp_path_factory):
    made = tmp_path_factory.mktemp("privileged") / "privileged"
    subprocess.run(["gcc", "-static", "-O1", "-Wall", "-Wextra", "-o", made,
                    HERE / "program/privileged/privileged.c"], check=True)
    return made


def give(path, right):
    path.chmod(0o4755 if right == "suid" else 0o755)
    if right == "capabilities":
        os.setxattr(path, "security.capability", SYS_ADMIN)


@pytest.fixture(scope="module")
def on_the_host(helper):
    """A folder below /usr, which is what a folder's code sees of the host."""
    folder = Path(f"/usr/local/lib/rouse-attack-{os.getpid()}")
    folder.mkdir(mode=0o755)
    try:
        for right in RIGHTS:
            give(Path(shutil.copy(helper, folder / right)), right)
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def in_an_image(attacked, helper, program, tmp_path_factory):
    """A function as user 1000 in an image that has them."""
    folder = tmp_path_factory.mktemp("met")
    entries = [*images.plain(program.read_bytes()),
               *(images.Entry(FILE.format(right)[1:], helper.read_bytes()) for right in RIGHTS)]
    archive = images.image(folder / "image.tar", [entries], User="1000:1000")
    attacked.import_image(archive, "attack/met:1")
    for right in RIGHTS:
        [path] = (attacked.data / "images").glob(f"*/rootfs{FILE.format(right)}")
        give(path, right)
    attacked.deploy_manifest(folder, {"services": {"met": {"image": "attack/met:1", "x-rouse": {"timeout": "20s"}}}})
    yield "met"
    attacked.client("lambda").delete_function(FunctionName="met")


@pytest.mark.parametrize("right", RIGHTS)
@pytest.mark.parametrize("place", ["folder", FORK, INSIDE])
def test_a_program_with_rights_of_its_own(attacked, judge, on_the_host, place, right, request):
    tried, gains, seen = RIGHTS[right]
    # The same file gives an ordinary user of the host all that.
    outside = subprocess.run([on_the_host / right], user=1000, group=1000, extra_groups=[], capture_output=True)
    told = json.loads(outside.stdout)
    assert told["answer"] == "capabilities" and gains in told["detail"], told
    path, function = on_the_host / right, FUNCTIONS.get(place)
    if place == FORK:
        request.getfixturevalue("zygote")
    if place == INSIDE:
        path, function = FILE.format(right), request.getfixturevalue("in_an_image")
    answer, detail = attacked.attack(function, f"privileged-file {path}", place)
    assert seen in detail, detail
    judge(f"5-met-{right}", place, answer, detail, words(answer) <= {"nothing_gained", "EPERM", "EACCES"},
          f"{tried} that no unpacking took the rights from", 5)
