"""OCI images: from a `docker save` tar and from an OCI layout, by real tools."""

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

# Speaks the Runtime API with nothing but a shell and busybox.
BOOTSTRAP = r"""#!/bin/sh
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
echo "starting as $(id -u) in $(pwd)"
while :; do
  wget -q -S -O /tmp/event "$api/next" 2>/tmp/headers || exit 1
  id=$(sed -n 's/^ *[Ll]ambda-[Rr]untime-[Aa]ws-[Rr]equest-[Ii]d: *//p' /tmp/headers | tr -d '\r')
  echo "working on $id"
  printf '{"event":%s,"greeting":"%s","gone":"%s","file":"%s"}' \
    "$(cat /tmp/event)" "$GREETING" "$(ls /gone 2>&1 | tail -1)" "$(cat /layered)" >/tmp/answer
  wget -q -O /dev/null --post-file=/tmp/answer "$api/$id/response" || exit 1
done
"""


@pytest.fixture(scope="session")
def saved(docker, tmp_path_factory):
    """An image of two layers on busybox, built and saved by Docker."""
    folder = tmp_path_factory.mktemp("image")
    tree = folder / "tree"
    for name in ("bin", "etc", "tmp", "home/app"):
        (tree / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", tree / "bin/busybox")
    for applet in ("sh", "wget", "sed", "tr", "cat", "ls", "tail", "id", "pwd", "printf"):
        os.link(tree / "bin/busybox", tree / "bin" / applet)
    (tree / "bootstrap").write_text(BOOTSTRAP)
    (tree / "bootstrap").chmod(0o755)
    (tree / "gone").write_text("was here")
    (tree / "layered").write_text("lower")
    (tree / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\napp:x:1234:1234::/home/app:/bin/sh\n")
    (tree / "etc/group").write_text("root:x:0:\napp:x:1234:\n")
    with tarfile.open(folder / "tree.tar", "w") as out:
        out.add(tree, arcname=".")
    docker("import", folder / "tree.tar", "shop/base:1")
    (folder / "Dockerfile").write_text(
        "FROM shop/base:1\nRUN [\"/bin/sh\", \"-c\", \"busybox rm /gone && printf upper > /layered\"]\n"
        "ENV GREETING=hello\nUSER app\nWORKDIR /home/app\nENTRYPOINT [\"/bootstrap\"]\n"
    )
    # Without a network RUN works, and the classic builder needs no plug-in.
    env_off = ["build", "--network", "none", "-t", "shop/echo:1", "-f", str(folder / "Dockerfile"), str(folder)]
    os.environ["DOCKER_BUILDKIT"] = "0"
    docker(*env_off)
    docker("save", "-o", folder / "echo.tar", "shop/echo:1")
    return folder / "echo.tar"


def works(server, folder, image):
    server.deploy(
        folder,
        f"services:\n  echo:\n    image: {image}\n    x-rouse: {{contract: lambda, timeout: 20s}}\n",
    )
    error, told, tail = server.invoke("echo", {"n": 1})
    assert error is None, (told, tail)
    assert told["event"] == {"n": 1}
    assert told["greeting"] == "hello"
    assert told["file"] == "upper"
    assert "No such file" in told["gone"]
    assert server.invoke("echo", [2])[1]["event"] == [2]
    logs = server.rouse("logs", "echo").stdout
    assert "starting as 1234 in /home/app" in logs


def test_a_docker_save_tar(server, saved, tmp_path):
    told = server.rouse("image", "import", saved, "--name", "shop/echo:saved").stdout
    assert "shop/echo:saved" in told
    works(server, tmp_path, "shop/echo:saved")


def test_an_oci_layout(server, saved, tmp_path):
    layout = tmp_path / "layout"
    subprocess.run(
        ["skopeo", "copy", "--insecure-policy", f"docker-archive:{saved}", f"oci:{layout}:one"],
        check=True, capture_output=True,
    )
    packed = tmp_path / "layout.tar"
    with tarfile.open(packed, "w") as out:
        out.add(layout, arcname=".")
    for source, name in ((packed, "shop/echo:packed"), (layout, "shop/echo:layout")):
        server.rouse("image", "import", source, "--name", name)
        works(server, tmp_path, name)
    listed = server.rouse_json("image", "ls")
    listed = listed["images"] if isinstance(listed, dict) else listed
    assert {"shop/echo:packed", "shop/echo:layout"} <= {image["reference"] for image in listed}


def test_an_image_in_use_is_kept_and_an_unused_one_goes(server, saved, tmp_path):
    server.rouse("image", "import", saved, "--name", "shop/echo:idle")
    server.rouse("image", "rm", "shop/echo:idle")
    listed = json.dumps(server.rouse_json("image", "ls"))
    assert "shop/echo:idle" not in listed
    assert server.invoke("echo", [3])[1]["event"] == [3]
    # The function's own image goes by any of its names but the last.
    server.rouse("image", "rm", "shop/echo:packed")
    done = server.rouse("image", "rm", "shop/echo:layout", check=False)
    assert done.returncode != 0 and "shop/echo:layout" in done.stderr
    assert server.invoke("echo", [4])[1]["event"] == [4]


@pytest.mark.parametrize("damage", ["cut", "flipped", "no image"])
def test_a_damaged_archive_is_refused_and_nothing_stays(own_server, saved, tmp_path, damage):
    broken = tmp_path / "broken.tar"
    content = saved.read_bytes()
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        middle = content.index(b"\x7fELF") + 5000
        content = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
    else:
        with tarfile.open(broken, "w") as out:
            out.add(__file__, arcname="readme")
        content = broken.read_bytes()
    broken.write_bytes(content)
    before = sorted(os.listdir(own_server.data / "images"))
    done = own_server.rouse("image", "import", broken, "--name", "shop/broken:1", check=False)
    assert done.returncode != 0 and done.stderr
    assert sorted(os.listdir(own_server.data / "images")) == before
    assert not any((own_server.data / "staging").iterdir())
    assert "shop/broken" not in json.dumps(own_server.rouse_json("image", "ls"))
