"""Layers and zips that attack who unpacks them: refused, or unpacked below their own folder and nowhere else.

Each is offered twice: pushed to the registry and deployed, and imported as an archive."""

import hashlib
import json
import stat

import pytest
from members import END, folder, hard, header, link, long_name, member, pax, zip_file, zip_link, zipped
from offered import CONFIG, LAYER, MANIFEST, Image, Offered, OfferedRootless, described, faults, memory, sha256

# MiB that the server's process may take, whatever it is offered.
MOST_MEMORY = 256
UP = "../" * 20


@pytest.fixture(scope="module")
def offered(tmp_path_factory, rootless):
    server = OfferedRootless() if rootless else Offered(tmp_path_factory.mktemp("around"))
    yield server.start()
    server.remove()


@pytest.fixture(autouse=True)
def contained(offered):
    """Whatever a test does: nothing changes outside, nothing stays in staging, and memory is bounded."""
    before = offered.outside()
    offered.forget_memory()
    yield
    assert offered.outside() == before
    assert offered.staging() == []
    assert memory(offered) < MOST_MEMORY, "MiB"
    assert offered.healthy()


def smuggled():
    """A whole archive as the content of a file."""
    return member("smuggled", b"x") + END


# name → layers that must be refused, and what the refusal says. `host` is a folder beside the data folder.
REFUSED = {
    "upwards": (lambda host: [member(f"{UP}{host}/planted", b"x")], "'..'"),
    "upwards-inside": (lambda host: [member("a/../../planted", b"x")], "'..'"),
    "upwards-by-long-name": (lambda host: [long_name(f"{UP}{host}/planted") + member("a", b"x")], "'..'"),
    "upwards-by-pax": (lambda host: [pax(("path", f"{UP}{host}/planted")) + member("a", b"x")], "'..'"),
    "folder-upwards": (lambda host: [folder("../planted")], "'..'"),
    "link-upwards-by-name": (lambda host: [link("../planted", "x")], "'..'"),
    "hard-link-to-host": (lambda host: [hard("stolen", f"{host}/canary")], "not there"),
    "hard-link-upwards": (lambda host: [hard("stolen", f"{UP}{host}/canary")], "'..'"),
    "hard-link-through-link": (lambda host: [link("way", f"{host}") + hard("stolen", "way/canary")], "not there"),
    "hard-link-by-pax": (lambda host: [pax(("linkpath", f"{host}/canary")) + hard("stolen", "a")], "not there"),
    "hard-link-to-folder": (lambda host: [folder("d") + hard("l", "d")], "to a folder"),
    "whiteout-of-dot": (lambda host: [member(".wh..")], "names nothing"),
    "whiteout-of-dots": (lambda host: [member(".wh...")], "names nothing"),
    "whiteout-of-dots-below": (lambda host: [folder("a") + member("a/.wh...")], "names nothing"),
    "whiteout-of-nothing": (lambda host: [member(".wh.")], "names nothing"),
    "whiteout-upwards": (lambda host: [member("../host/.wh.canary")], "'..'"),
    "through-file": (lambda host: [member("a", b"x"), member("a/b", b"x")], "through a file"),
    "through-loop": (lambda host: [link("l", "l") + member("l/b", b"x")], "through a link"),
    "deep": (lambda host: [long_name("d/" * 300 + "f") + member("f", b"x")], "deeper"),
    "unknown-kind": (lambda host: [header("odd", kind=b"Z")], "unknown kind"),
    "size-beyond-the-end": (lambda host: [header("f", size=8**11 - 1) + b"x"], ""),
    "negative-size": (lambda host: [header("f").replace(b"00000000000\0", b"-0000000001\0", 1)], ""),
    "huge-size": (lambda host: [header("f", size=2**80)], "two ways"),
    "size-by-pax-beyond-the-end": (lambda host: [pax(("size", "99999999")) + member("f", b"x")], ""),
    "size-by-pax-that-is-no-number": (lambda host: [pax(("size", "-1")) + member("f", b"x")], "two ways"),
    "two-sizes-by-pax": (lambda host: [pax(("size", "1"), ("size", "512")) + member("f", b"x" * 512)], "two ways"),
    "size-for-all-by-pax": (lambda host: [pax(("size", "5"), kind=b"g") + member("f", b"x")], "two ways"),
    "endless-global-pax": (lambda host: [header("g", size=2**33, kind=b"g") + bytes(9000)], "1 MiB"),
    "cut": (lambda host: [member("f", b"x" * 5000)[:1500]], ""),
}


@pytest.mark.parametrize("way", ["pushed", "imported"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_is_refused(offered, name, way):
    make, rule = REFUSED[name]
    layers = [member("lower", b"x") + END, *(one + END for one in make(str(offered.host).lstrip("/")))]
    image = Image(layers)
    answer = offered.pushed(f"refused/{name}:1", image) if way == "pushed" else offered.imported(
        f"refused/{name}:1", image.archive()
    )
    assert not answer.taken and (way == "imported" or 400 <= answer.status < 500), answer
    assert rule in answer.text and "layer" in answer.text, answer


def text(root, path):
    return (root / path).read_text()


def absent(root, *paths):
    return all(not (root / path).exists() and not (root / path).is_symlink() for path in paths)


# name → layers that are unpacked, and what must hold for the tree that they make.
UNPACKED = {
    "absolute": (lambda host: [member(f"/{host}/planted", b"x")],
                 lambda root, host: text(root, f"{host}/planted") == "x"),
    "backslashes": (lambda host: [member("..\\..\\planted", b"x") + member("C:\\planted", b"x")],
                    lambda root, host: text(root, "..\\..\\planted") + text(root, "C:\\planted") == "xx"),
    "link-then-write": (lambda host: [link("way", f"/{host}") + folder(host) + member("way/planted", b"x")],
                        lambda root, host: text(root, f"{host}/planted") == "x"),
    "link-then-write-in-two-layers": (
        lambda host: [link("way", f"{UP}{host}") + folder(host), member("way/planted", b"x")],
        lambda root, host: text(root, f"{host}/planted") == "x"),
    "file-over-link": (lambda host: [link("way", f"/{host}/canary") + member("way", b"mine")],
                       lambda root, host: text(root, "way") == "mine" and not (root / "way").is_symlink()),
    "folder-over-link": (lambda host: [link("way", f"/{host}") + folder("way") + member("way/planted", b"x")],
                         lambda root, host: text(root, "way/planted") == "x" and not (root / "way").is_symlink()),
    "link-over-folder": (
        lambda host: [folder("way") + member("way/old", b"x"), link("way", f"/{host}") + folder(host),
                      member("way/planted", b"x")],
        lambda root, host: (root / "way").is_symlink() and text(root, f"{host}/planted") == "x"),
    "swaps": (
        lambda host: [folder(host) + b"".join(
            folder("way") + member("way/a", b"x") + link("way", f"/{host}") + member(f"way/{n}", b"x")
            for n in range(50))],
        lambda root, host: (root / "way").is_symlink() and len(list((root / host).iterdir())) == 50),
    "hard-link-of-a-link": (lambda host: [link("way", f"/{host}/canary") + hard("again", "way")
                                          + member("again", b"mine")],
                            lambda root, host: text(root, "again") == "mine"),
    "hard-link-then-write": (lambda host: [member("a", b"old") + hard("b", "a"), member("b", b"new")],
                             lambda root, host: text(root, "a") + text(root, "b") == "oldnew"),
    "whiteout-through-link": (lambda host: [link("way", f"/{host}"), member("way/.wh.canary")],
                              lambda root, host: (root / "way").is_symlink()),
    "opaque-through-link": (lambda host: [link("way", f"/{host}"), member("way/.wh..wh..opq")],
                            lambda root, host: (root / "way").is_symlink()),
    "opaque-of-a-folder-of-links": (
        lambda host: [folder("d") + link("d/way", f"/{host}") + member("d/f", b"x"), member("d/.wh..wh..opq")],
        lambda root, host: list((root / "d").iterdir()) == []),
    "opaque-root": (lambda host: [member("a", b"x") + link("way", f"/{host}"), member(".wh..wh..opq")],
                    lambda root, host: absent(root, "a", "way")),
    "whiteout-of-a-link": (lambda host: [link("way", f"/{host}"), member(".wh.way")],
                           lambda root, host: absent(root, "way")),
    "whiteout-of-what-is-not-there": (lambda host: [member("none/of/.wh.it")], lambda root, host: absent(root, "none")),
    "whiteout-that-is-a-link": (lambda host: [member("gone", b"x"), link(".wh.gone", f"/{host}")],
                                lambda root, host: absent(root, "gone", ".wh.gone")),
    "devices": (lambda host: [header("mem", kind=b"3", major=1, minor=1) + header("disk", kind=b"4", major=8)
                              + header("dev/kmsg", kind=b"3", major=1, minor=11)],
                lambda root, host: absent(root, "mem", "disk", "dev/kmsg")),
    "whiteout-device-of-overlayfs": (lambda host: [member("kept", b"x"), header("kept", kind=b"3")],
                                     lambda root, host: True),
    "fifos": (lambda host: [header("pipe", kind=b"6") + header("etc/passwd", kind=b"6")],
              lambda root, host: absent(root, "pipe", "etc/passwd")),
    "setuid": (lambda host: [member("su", b"x", mode=0o6755) + folder("d", mode=0o6777)
                             + member("d/su", b"x", mode=0o4711) + hard("su2", "su")],
               lambda root, host: stat.S_IMODE((root / "su").stat().st_mode) == 0o755),
    "pax-desync": (lambda host: [pax(("size", str(len(smuggled())))) + header("inner.tar") + padded_smuggled()],
                   lambda root, host: absent(root, "smuggled") and (root / "inner.tar").stat().st_size
                   == len(smuggled())),
    "pax-desync-smaller": (lambda host: [pax(("size", "0")) + header("outer", len(smuggled()) - 1024)
                                         + smuggled()],
                           lambda root, host: (root / "outer").stat().st_size == 0),
    "pax-name-of-a-long-name": (
        lambda host: [pax(("path", "by-pax")) + long_name("by-gnu") + member("by-header", b"x")],
        lambda root, host: absent(root, "by-header")),
    "pax-global": (lambda host: [pax(("path", "global"), kind=b"g") + member("own", b"x")],
                   lambda root, host: text(root, "own") == "x" and absent(root, "global")),
    "after-the-end": (lambda host: [END + member("after", b"x")], lambda root, host: absent(root, "after")),
}


def padded_smuggled():
    content = smuggled()
    return content + bytes(-len(content) % 512)


@pytest.mark.parametrize("way", ["pushed", "imported"])
@pytest.mark.parametrize("name", UNPACKED)
def test_a_layer_is_unpacked_below_its_root(offered, name, way):
    make, holds = UNPACKED[name]
    host = str(offered.host).lstrip("/")
    # Of each way an image of its own: what is there already is not unpacked again.
    image = Image([member("lower", way.encode()) + END, *(one + END for one in make(host))])
    answer = offered.pushed(f"unpacked/{name}:1", image) if way == "pushed" else offered.imported(
        f"unpacked/{name}:1", image.archive()
    )
    assert answer.taken, answer
    assert holds(answer.root, host)
    assert faults(answer.root) == []


ZIPS = {
    "upwards": ([zip_file("../planted")], "'..'"),
    "absolute": ([zip_file("/tmp/planted")], "absolute"),
    "backslashes": ([zip_file("..\\..\\planted")], "backslash"),
    "link-to-host": ([zip_link("l", "/etc/passwd")], "absolute"),
    "link-upwards": ([zip_link("a/l", "../../../etc/passwd")], "leads out"),
    "link-by-link": ([zip_link("p/q/s", "."), zip_link("e", "p/q/s/../../..")], "leads out"),
    "link-then-write": ([zip_link("l", "d"), zip_file("l/planted")], "twice"),
    "link-to-itself-then-write": ([zip_link("l", "l"), zip_file("l/planted")], "twice"),
    "device": ([("mem", b"", stat.S_IFCHR | 0o666)], "neither file"),
    "fifo": ([("pipe", b"", stat.S_IFIFO | 0o666)], "neither file"),
    "socket": ([("socket", b"", stat.S_IFSOCK | 0o666)], "neither file"),
    "long-link": ([zip_link("l", "x" * 5000)], "4096"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_is_refused(offered, name):
    entries, rule = ZIPS[name]
    answer = offered.deployed_zip(zipped(zip_file("app.py"), *entries))
    assert not answer.taken and 400 <= answer.status < 500 and rule in answer.text, answer


def test_python_code_is_compiled_inside_of_it_and_not_executed(offered):
    """Links, files and folders where bytecode is laid; sources that are hard to compile, and such that would be
    executed if the compiler imported them."""
    planted = "open('/tmp/planted', 'w'); import os; os._exit(0)"
    root = offered.compiled(zipped(
        zip_file("app.py", b"x = 1"), zip_link("here/__pycache__", "../there"), zip_file("here/a.py", b"x = 1"),
        zip_file("there/b.py", b"x = 1"), zip_file("file/__pycache__", b"x"), zip_file("file/a.py", b"x = 1"),
        zip_file("taken/__pycache__/a.cpython-311.pyc/x", b"x"), zip_file("taken/a.py", b"x = 1"),
        zip_link("again", "there"), zip_link("loop", "loop"), zip_link("l.py", "app.py"),
        zip_file(f"{'l' * 250}.py", b"x = 1"), zip_file(".py", b"x = 1"), zip_file("py.py", b"x = 1"),
        zip_file("nested.py", b"(" * 400_000), zip_file("zero.py", b"\0"), zip_file("strings.py", b"x='" + b"a" * 500_000),
        zip_file("lists.py", b"x=[" + b"[]," * 170_000 + b"]"), zip_file("large.py", b"x = 1\n" * 200_000),
        *(zip_file(f"{name}.py", planted.encode()) for name in
          ("sitecustomize", "usercustomize", "os", "zipfile", "warnings", "py_compile", "importlib/__init__", "site")),
    ))
    bytecode = {str(path.relative_to(root)) for path in root.rglob("*.pyc") if path.is_file()}
    expected = {"__pycache__/app.cpython-311.pyc", "__pycache__/l.cpython-311.pyc", "__pycache__/py.cpython-311.pyc",
                "there/__pycache__/b.cpython-311.pyc", "__pycache__/lists.cpython-311.pyc"}
    assert expected <= bytecode
    assert not any(path.startswith(("here/", "file/", "taken/", "again/")) for path in bytecode), bytecode
    assert sorted(path.name for path in (root / "there").iterdir()) == ["__pycache__", "b.py"]
    assert faults(root) == []


def test_a_zip_has_no_setuid_files(offered):
    answer = offered.deployed_zip(zipped(zip_file("bootstrap", mode=0o6755), zip_link("l", "bootstrap")))
    assert answer.taken and faults(answer.root) == [], answer


def test_the_archive_around_an_image_is_held_to_the_same(offered):
    host = str(offered.host)
    layout = Image([member("a", b"x") + END]).archive()
    for attack, rule in [
        (member(f"{UP}{host}/planted", b"x"), "'..'"),
        (member(f"{host}/planted", b"x"), "absolute"),
        (member("..\\planted", b"x"), "backslash"),
        (link("way", host), "absolute"),
        (link("way", "../.."), "leads out"),
        (hard("stolen", f"{host}/canary"), "neither file"),
        (header("pipe", kind=b"6"), "neither file"),
        (header("mem", kind=b"3", major=1, minor=1), "neither file"),
    ]:
        answer = offered.imported("around:1", attack + layout)
        assert not answer.taken and rule in answer.text, answer


def test_digests_must_match(offered):
    layer = member("a", b"x") + END
    image, other = Image([layer]), sha256(b"other")
    assert offered.push_blob("digests/a", layer, digest=other)[0] == 400
    assert offered.push_blob("digests/a", layer, digest="sha256:" + "G" * 64)[0] == 400
    assert offered.push_blob("digests/a", layer, digest="md5:" + hashlib.md5(layer).hexdigest())[0] == 400
    assert offered.basic("HEAD", f"/v2/digests/a/blobs/{other}")[0] == 404
    assert offered.push_manifest("digests/a", other, image.manifest)[0] == 400
    assert offered.push_manifest("digests/a", "1", image.manifest)[0] == 404, "its blobs are not there"
    wrong = Image([layer], diff_ids=[other])
    answer = offered.pushed("digests/b:1", wrong)
    assert not answer.taken and 400 <= answer.status < 500 and "diff id" in answer.text, answer
    assert not offered.imported("digests/b:1", wrong.archive()).taken
    broken = image.archive().replace(layer[:512], layer[:511] + b"x", 1)
    answer = offered.imported("digests/c:1", broken)
    assert not answer.taken and "digest" in answer.text, answer


@pytest.mark.parametrize("path", ["/v2/_catalog", "/v2/digests/pages/tags/list"])
def test_a_page_of_a_million_millions_is_refused(offered, path):
    offered.push_blob("digests/pages", b"x")
    status, told = offered.basic("GET", f"{path}?n={10**12}")
    assert status == 400 and "PAGINATION_NUMBER_INVALID" in told


@pytest.mark.parametrize("count", [201, 10_000])
def test_ten_thousand_layers_are_refused(offered, count):
    layer = member("a", b"x") + END
    image = Image([layer] * count)
    answer = offered.pushed(f"layers/n{count}:1", image)
    assert not answer.taken and 400 <= answer.status < 500 and "layers" in answer.text, answer
    answer = offered.imported(f"layers/n{count}:1", image.archive())
    assert not answer.taken and "layers" in answer.text, answer


def test_manifests_that_name_too_much_or_go_too_deep_are_refused(offered):
    named = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described(CONFIG, b"c"),
             "layers": [described(LAYER, str(n).encode()) for n in range(10_001)]}
    deep = b'{"schemaVersion":2,"config":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}"
    for manifest, status in [(json.dumps(named).encode(), 400), (deep, 400), (b"[" * 4_000_000, 400),
                             (b" " * (5 << 20), 413), (b"\xff\xfe", 400), (b"{}" * 1000, 400)]:
        got, told = offered.push_manifest("manifests/a", "1", manifest)
        assert got == status, (got, told[:300])


@pytest.mark.parametrize("field", ["history", "Env", "Labels"])
def test_a_configuration_that_grows_in_memory_is_refused(offered, field):
    """Three bytes of JSON become a hundred of memory."""
    layer = member("a", b"x") + END
    base = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha256(layer)]}}
    if field == "history":
        base["history"] = [{}] * 1_300_000
    elif field == "Env":
        base["config"] = {"Env": [""] * 1_300_000}
    else:
        base["config"] = {"Labels": {str(n): "" for n in range(300_000)}}
    image = Image([layer], config=json.dumps(base, separators=(",", ":")).encode())
    answer = offered.pushed(f"configs/{field.lower()}:1", image)
    assert not answer.taken and 400 <= answer.status < 500 and "configuration" in answer.text, answer
