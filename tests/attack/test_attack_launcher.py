"""What of the launcher a sandbox meets: the program that waits in it until there is work (CVE-2019-5736).

The kernel executes it anew for an image whose entry point leads to `/proc/self/exe`. It is static and sealed:
no loader and no library of an image is ever asked for it, and nobody can write it."""

import fcntl
import os
import struct
import subprocess

import e2e
import images
import pytest
from conftest import HERE
from cases import FORK, ZYGOTE, words
from images import Entry
from test_attack_images import PLACE, deploy_anew, folder, one_function

LOADER = "/lib64/ld-linux-x86-64.so.2"
REFUSED = {"-13": "EACCES", "-26": "ETXTBSY", "-30": "EROFS", "-1": "EPERM"}
# How the program says that nobody has work for it.
WAITED = "it ended before it was ready: exit status 0"
F_GET_SEALS, ALL_SEALS = 1034, 0xF
PT_INTERP = 3


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    """The attacker's loader, which runs before anything of a program that asks for a loader."""
    made = tmp_path_factory.mktemp("loader") / "loader"
    subprocess.run(["gcc", "-nostdlib", "-static-pie", "-fPIE", "-O1", "-fno-stack-protector", "-o", made,
                    HERE / "program/loader/loader.c"], check=True)
    return made.read_bytes()


def asking_for(interpreter, folder):
    """A program that asks for this loader."""
    source, made = folder / "empty.c", folder / "asking"
    source.write_text("void _start(void) { for (;;) {} }\n")
    subprocess.run(["gcc", "-nostdlib", "-pie", "-fPIE", "-o", made, source,
                    f"-Wl,--dynamic-linker={interpreter}"], check=True)
    return made.read_bytes()


def run(attacked, folder_of, program, loader, entry, entrypoint="/entry"):
    """Calls a function whose image has that entry point and the loader; gives how that ended, what was said of it,
    and what the loader said, if it ran."""
    entries = [Entry("attack", program.read_bytes()), folder("lib64"), Entry(LOADER[1:], loader), *entry]
    variables = [f"{name}=/attack" for name in ("LD_PRELOAD", "LD_AUDIT")]
    archive = images.image(folder_of / "image.tar", [entries], User="0", Entrypoint=[entrypoint], Env=variables)
    attacked.import_image(archive, "attack/exe:1")
    deploy_anew(attacked, folder_of, one_function("attack/exe:1"))
    ending, detail = attacked.attack("hostile", "privileges")
    # Its own log's end, not what earlier ones of that name left.
    ran = [line for line in detail.splitlines() if "loader of" in line]
    return ending, detail, ran[-1].split("loader of ")[1] if ran else None


def test_the_loader_attacks_what_it_is_loaded_for(attacked, judge, program, loader, tmp_path):
    """Else it would say nothing that it does not run for what waits."""
    entry = Entry("entry", asking_for(LOADER, tmp_path))
    _, detail, line = run(attacked, tmp_path, program, loader, [entry])
    assert line and line.startswith("/entry:"), (line, detail)
    numbers = line.rsplit(":", 1)[1].split()
    answer = "|".join(sorted({REFUSED.get(number, "done") for number in numbers}))
    # Itself by three ways, and pid 1, which it is.
    judge("3-launcher-loader", PLACE, answer, f"{line} {detail}", len(numbers) >= 6 and "done" not in answer,
          "a loader of the image writes each program through `/proc/PID/exe`", 3)


WAYS = {
    "path": ("`/proc/self/exe`", "/proc/self/exe", lambda _: []),
    "link": ("a link to `/proc/self/exe`", "/entry", lambda _: [Entry("entry", link="/proc/self/exe")]),
    "script": ("a script `#!/proc/self/exe`", "/entry", lambda _: [Entry("entry", b"#!/proc/self/exe\n")]),
    "interpreter": ("a program whose loader is `/proc/self/exe`", "/entry",
                    lambda here: [Entry("entry", asking_for("/proc/self/exe", here))]),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_launcher_is_not_overwritten(attacked, judge, program, loader, tmp_path, way):
    """What the kernel executes is what waits, a second time: it ends at once, for want of the launcher's socket."""
    tried, entrypoint, entry = WAYS[way]
    ending, detail, line = run(attacked, tmp_path, program, loader, entry(tmp_path), entrypoint)
    held = line is None and ending == "init_failed" and WAITED in detail
    judge(f"3-launcher-{way}", PLACE, "what waits ended" if held else ending, f"{line} {detail}", held,
          f"an entry point that is {tried}, with a loader of the image", 3)


def below(pid, ancestor):
    while pid > 1 and pid != ancestor:
        with open(f"/proc/{pid}/stat") as about:
            pid = int(about.read().rsplit(")", 1)[1].split()[1])
    return pid == ancestor


def waiting(server):
    """Programs of the processes that wait in the server's sandboxes: path → what it is called."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        path = f"/proc/{pid}/exe"
        try:
            name = os.readlink(path)
            if "rouse-park" in name and below(int(pid), server.process.pid):
                found[path] = name
        except OSError:
            continue
    return found


def asks_for_a_loader(elf):
    """Whether a program header is PT_INTERP (elf(5))."""
    offset, = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    return any(struct.unpack_from("<I", elf, offset + size * n)[0] == PT_INTERP for n in range(count))


def test_what_waits_is_static_and_sealed(attacked, judge):
    """Seen from the host: not even root could write it."""
    assert asks_for_a_loader(e2e.ROUSE.read_bytes()), "the launcher itself would have run the image's loader"
    found = e2e.wait_for("a sandbox that waits", lambda: waiting(attacked))
    path = next(iter(found))
    with open(path, "rb") as program:
        seals, elf = fcntl.fcntl(program, F_GET_SEALS), program.read()
    told = f"{found[path]} of {len(elf)} bytes, seals {seals:#x}"
    held = seals & ALL_SEALS == ALL_SEALS and not asks_for_a_loader(elf)
    judge("3-launcher-program", PLACE, "static and sealed" if held else "open", told, held,
          "what waits in a sandbox until there is work, seen from the host", 3)


@pytest.mark.parametrize("place", [FORK, ZYGOTE])
def test_what_waits_is_met(attacked, zygote, place):
    """Where pid 1 stays what waits, the attack on it, and the one by executing it, have been made."""
    answer, detail = attacked.attack("zygote", "proc-exe", place)
    assert "1 is /memfd:rouse-park" in detail and "it waits for us" in detail, detail
    assert "nothing_gained" in words(answer) and "takes no orders" not in detail, (answer, detail)
