"""Images and settings that try to lead the launcher astray while it makes a sandbox."""

import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import e2e
import images
import pytest
from cases import words
from images import Entry

PLACE = "image"
# Either the program runs, inside, or its sandbox is not made at all.
INSIDE = {"ENOENT", "ENOTDIR", "EACCES", "ELOOP", "EPERM"}
NOT_STARTED = {"init_failed", "unavailable", "crashed", "failed", "status_500", "status_503"}
STARTS = 100


def folder(path, mode=0o755):
    return Entry(path, kind=tarfile.DIRTYPE, mode=mode)


def special(path, kind, major=0, minor=0):
    made = Entry(path, kind=kind, mode=0o666)
    made.info.devmajor, made.info.devminor = major, minor
    return made


def dev_links(file, _):
    names = ["null", "zero", "console", "pts", "ptmx", "shm", "tty", "mqueue", "fd", "stdout"]
    return [folder("dev"), *(Entry(f"dev/{name}", link=str(file)) for name in names)]


def masked_links(file, beside):
    names = ["kcore", "keys", "timer_list", "sysrq-trigger", "kallsyms"]
    return [folder("proc"), *(Entry(f"proc/{name}", link=str(file)) for name in names),
            Entry("proc/sys", link=str(beside)), Entry("proc/acpi", link=str(beside))]


# What the image has where the launcher mounts or writes: name → (what is tried, entries).
HOSTILE = {
    "dev-link": ("`/dev` is a link to the host", lambda _, beside: [Entry("dev", link=str(beside))]),
    "dev-entries": ("`/dev/null`, `console`, `pts`, `shm` are links to the host (CVE-2025-31133, 52565)", dev_links),
    "masked-paths": ("masked paths of `/proc` are links to the host (CVE-2025-31133, 52881)", masked_links),
    "proc-link": ("`/proc` is a link to the host", lambda _, beside: [Entry("proc", link=str(beside))]),
    "proc-fd-link": ("`/proc` is a link to `/dev/fd`, `/dev` to `/proc/self/fd`",
                     lambda *_: [Entry("proc", link="/dev/fd"), Entry("dev", link="/proc/self/fd")]),
    "sys-link": ("`/sys` is a link upwards to the host",
                 lambda _, beside: [Entry("sys", link="../" * 12 + str(beside).lstrip("/"))]),
    "etc-link": ("`/etc`, which is written to, is a link to the host",
                 lambda _, beside: [Entry("etc", link=str(beside))]),
    "etc-files": ("`hosts`, `hostname`, `resolv.conf`, `passwd` are links to the host",
                  lambda file, _: [folder("etc"), *(Entry(f"etc/{name}", link=str(file)) for name in
                                   ("hosts", "hostname", "resolv.conf", "passwd", "group", "nsswitch.conf"))]),
    "pipes": ("`passwd`, `group` and `hosts` are pipes that nobody writes to",
              lambda *_: [folder("etc"), *(special(f"etc/{name}", tarfile.FIFOTYPE)
                                           for name in ("passwd", "group", "hosts"))]),
    "loops": ("`/dev`, `/proc`, `/etc` are links to themselves",
              lambda *_: [Entry(name, link=name) for name in ("dev", "proc", "etc")]),
}


@pytest.fixture(scope="module")
def small(program):
    """An image with nothing but the attacks."""
    return [Entry("attack", program.read_bytes())]


def cold_starts(server, name, command, wanted):
    """Starts that many instances, four at a time; gives all answers and details."""
    answers, details, lock = set(), [], threading.Lock()
    left = [wanted]

    def work():
        while True:
            with lock:
                if left[0] <= 0:
                    return
                left[0] -= 1
            ending, told, headers = server.call(name, command)
            if ending == "succeeded" and headers.get("x-rouse-cold") == "false":
                # A warm one does not count.
                with lock:
                    left[0] += 1
            ran = ending == "succeeded" and isinstance(told, dict)
            with lock:
                answers.update(words(told["answer"] if ran else ending))
                details.append(told["detail"] if ran else str(told))

    with ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(work) for _ in range(4)]:
            one.result()
    return answers, details


def deploy_anew(attacked, folder, manifest):
    """Deploys the function as if it had never been here: of a new version of one that serves a start is tried, and
    these are not all meant to start."""
    attacked.rouse("rm", "--yes", "hostile", check=False)
    attacked.deploy_manifest(folder, manifest)


def one_function(image, **settings):
    """A manifest of one function whose every call is a start."""
    return {"services": {"hostile": {
        "image": image, **settings,
        "x-rouse": {"memory": "64M", "timeout": "10s", "concurrency": {"max": 4, "keep_alive": "1ms"}},
    }}}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_image(attacked, host, judge, small, tmp_path, name):
    tried, make = HOSTILE[name]
    entries = make(host.file, host.folder)
    archive = images.image(tmp_path / "image.tar", [small, entries], User="web" if name == "pipes" else "0")
    done = attacked.import_image(archive, f"attack/hostile:{name}", check=False)
    if done.returncode:
        judge(f"3-image-{name}", PLACE, "refused", done.stderr, True, tried, 3)
        return
    deploy_anew(attacked, tmp_path, one_function(f"attack/hostile:{name}"))
    answers, details = cold_starts(attacked, "hostile", f"working-dir {host.file}", STARTS)
    held = answers <= INSIDE | NOT_STARTED
    detail = f"{STARTS} starts: {sorted(set(details))[:3]}"
    judge(f"3-image-{name}", PLACE, "|".join(sorted(answers)), detail, held, tried, 3)


def hostile_layers(host):
    beside, file = str(host.folder), str(host.file)
    up = "../" * 20
    return {
        "upwards": ("a member of a layer is named `../../…`", [[Entry(f"{up}{beside[1:]}/planted", b"x")]]),
        "absolute": ("a member has an absolute name", [[Entry(f"{beside}/planted", b"x")]]),
        "through-link": ("a layer writes through a link of the layer before",
                         [[Entry("way", link=beside)], [Entry("way/planted", b"x")]]),
        "through-own-link": ("a layer writes through its own link",
                             [[Entry("way", link=beside), Entry("way/planted", b"x")]]),
        "hard-link": ("a hard link to a file of the host", [[Entry("stolen", link=file, hard=True)]]),
        "hard-link-upwards": ("a hard link upwards", [[Entry("stolen", link=up + file[1:], hard=True)]]),
        "whiteout": ("a whiteout removes through a link",
                     [[Entry("way", link=beside)], [Entry("way/.wh.canary", b"")]]),
        "whiteout-upwards": ("a whiteout is named `..`", [[Entry("a/.wh...", b"")], [Entry(".wh..", b"")]]),
        "overwrite-link": ("a file in the place of a link", [[Entry("way", link=file)], [Entry("way", b"x")]]),
        "devices": ("device nodes in a layer", [[special("mem", tarfile.CHRTYPE, 1, 1),
                                                 special("disk", tarfile.BLKTYPE, 8, 0)]]),
    }


@pytest.mark.parametrize("name", ["upwards", "absolute", "through-link", "through-own-link", "hard-link",
                                  "hard-link-upwards", "whiteout", "whiteout-upwards", "overwrite-link", "devices"])
def test_a_hostile_layer(attacked, host, judge, small, tmp_path, name):
    """Unpacking writes nowhere but below the image's folder, and what is unpacked does not lead out."""
    tried, layers = hostile_layers(host)[name]
    archive = images.image(tmp_path / "image.tar", [small, *layers], User="0")
    done = attacked.import_image(archive, f"attack/layer:{name}", check=False)
    if done.returncode:
        judge(f"3-layer-{name}", PLACE, "refused", done.stderr.strip(), True, tried, 3)
        return
    deploy_anew(attacked, tmp_path, one_function(f"attack/layer:{name}"))
    answer, detail = attacked.attack("hostile", "steal /stolen /way /way/canary /mem /disk")
    held = words(answer) <= INSIDE | NOT_STARTED | {"ENXIO", "own_file"}
    judge(f"3-layer-{name}", PLACE, f"unpacked inside: {answer}", detail, held, tried, 3)


@pytest.mark.parametrize("way", ["image", "manifest"])
def test_working_dir_by_descriptors(attacked, host, judge, small, tmp_path, way):
    """CVE-2024-21626: the working directory is what the launcher has open."""
    answers, details = set(), []
    for fd in range(3, 20):
        for rest in ("", "/../../../.."):
            where = f"/proc/self/fd/{fd}{rest}"
            name = f"attack/workdir:{fd}{'up' if rest else ''}"
            if way == "image":
                archive = images.image(tmp_path / "image.tar", [small], User="0", WorkingDir=where)
                if attacked.import_image(archive, name, check=False).returncode:
                    answers.add("refused")
                    continue
                manifest = one_function(name)
            else:
                manifest = one_function("attack/root:1", working_dir=where)
            deploy_anew(attacked, tmp_path, manifest)
            got, detail = attacked.attack("hostile", f"working-dir {host.file}")
            answers |= words(got)
            details.append(detail)
    held = answers <= INSIDE | NOT_STARTED | {"refused"}
    judge(f"3-working-dir-{way}", PLACE, "|".join(sorted(answers)), str(sorted(set(details))[:4]), held,
          f"a working directory of `/proc/self/fd/N` by the {way} (CVE-2024-21626)", 3)


def test_paths_swapped_during_set_up(attacked, host, judge, tmp_path, rootless):
    """A service exchanges a folder of a volume with a link to the host, a thousand times a second, while
    replicas start that mount and work beneath it."""
    if rootless:
        pytest.skip("without root a volume belongs to the ids of one sandbox: the others cannot work in what it swaps")
    swap = {"image": "attack/root:1", "entrypoint": ["/attack", "swap", "/v", str(host.folder)],
            "volumes": ["race:/v"]}
    victim = {"image": "attack/root:1", "entrypoint": ["/attack", "working-dir", str(host.file)],
              "volumes": ["race:/v:ro", "inner:/v/a/inner:ro"], "working_dir": "/v/a",
              "deploy": {"replicas": 100, "resources": {"limits": {"memory": "32M"}}}}
    manifest = {"services": {"swapper": swap}, "volumes": {"race": None, "inner": None}}
    attacked.deploy_manifest(tmp_path, manifest)
    e2e.wait_for("the race", lambda: list((attacked.data / "volumes").glob("race/*")))
    starts, ends, log, rounds = 0, set(), "", 0
    manifest["services"]["racer"] = victim

    def ended():
        """How often replicas have ended, or failed to start, since the service was made."""
        [racer] = [s for s in attacked.control("services") if s["service"]["spec"]["name"] == "racer"]
        ends.update(replica["last_exit"] for replica in racer["replicas"] if replica["last_exit"])
        return sum(replica["restarts"] + bool(replica["last_exit"]) for replica in racer["replicas"])

    try:
        while starts < 1000 and rounds < 20 and not host.damage():
            rounds += 1
            attacked.deploy_manifest(tmp_path, manifest, "--no-wait")
            # Then they wait longer and longer: a service made anew starts at once.
            deadline, here = time.monotonic() + 6, 0
            while time.monotonic() < deadline and here < 290:
                time.sleep(0.1)
                here = ended()
            starts += here
            log += attacked.rouse("logs", "racer", "--tail", "10000").stdout
            attacked.rouse("rm", "service/racer", "--yes")
    finally:
        attacked.rouse("rm", "service/racer", "--yes", check=False)
        attacked.rouse("rm", "service/swapper", "--yes")
    got = host.secret in log or "done" in log
    ran = log.count('"case"')
    judge("3-swapped-paths", PLACE, "done" if got else "ENOENT",
          f"{starts} starts in {rounds} rounds, {ran} of them to the end; ends {sorted(ends)[:5]}; {log[-300:]}",
          not got and starts >= 1000 and ran > 0,
          "paths of a volume swapped with links to the host during 1 000 starts (CVE-2025-31133, 52881)", 3)
