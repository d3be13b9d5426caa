"""The disk below a server: every change in the order in which it was asked for, what of it was synced, and
what a loss of power may leave of it.

The model is stricter than most file systems. What was written to a file and not synced may be there or
not, sector by sector, in any combination. A name is durable when its folder was synced after it was made,
changed or taken away; of the changes of names that were not synced any number may have happened, in their
order, since file systems keep a journal of them.
"""

import os
import random
import shutil
import struct
import subprocess
from pathlib import Path, PurePosixPath

import e2e

SOURCE = e2e.REPO / "tests/crash/disk/disk.c"
HEAD = struct.Struct("<B3xIIQQ")
SECTOR = 512
# What the next start makes anew, whatever is there: SQLite's shared memory, the sandboxes' folders.
ANEW = ("state.db-shm", "runtime", "launcher")


def compiled(to):
    command = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Wno-format-truncation", "-o", to, SOURCE, "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the disk does not compile:\n{done.stderr}")
    return to


def records(log):
    """Gives (position after it, operation, file, offset, first name, second name or bytes)."""
    data, at = Path(log).read_bytes(), 0
    while at + HEAD.size <= len(data):
        op, first, second, file, offset = HEAD.unpack_from(data, at)
        names = at + HEAD.size
        end = names + first + second
        if end > len(data):
            return
        name = data[names:names + first].decode()
        yield end, chr(op), file, offset, name, data[names + first:end]
        at = end


class File:
    """One file, whatever its names are."""

    def __init__(self, content=b"", mode=0o600):
        self.synced, self.current, self.pending = content, bytearray(content), []
        self.mode, self.is_changed = mode, False

    def write(self, offset, data):
        self.pending.append((offset, bytes(data)))
        self.is_changed = True
        place(self.current, offset, data)

    def truncate(self, size):
        self.pending.append((size, None))
        self.is_changed = True
        cut(self.current, size)

    def sync(self):
        self.synced, self.pending = bytes(self.current), []

    def torn(self, chance):
        """What was synced, and some sectors of what was not."""
        content = bytearray(self.synced)
        for offset, data in self.pending:
            if data is None:
                if chance.random() < 0.5:
                    cut(content, offset)
                continue
            for at in range(0, len(data), SECTOR):
                if chance.random() < 0.5:
                    place(content, offset + at, data[at:at + SECTOR])
        return bytes(content)

    def prefix(self, chance):
        """What was synced, then what was written up to some moment, the last write torn at a sector."""
        content, count = bytearray(self.synced), chance.randint(0, len(self.pending))
        for number, (offset, data) in enumerate(self.pending[:count]):
            if data is None:
                cut(content, offset)
            elif number == count - 1:
                place(content, offset, data[:chance.randrange(0, len(data) + 1, SECTOR)])
            else:
                place(content, offset, data)
        return bytes(content)


def place(content, offset, data):
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset:offset + len(data)] = data


def cut(content, size):
    del content[size:]
    content.extend(bytes(size - len(content)))


FOLDER = object()


def moved(names, op, name, other, file):
    """Does to `names` what one change of a name does."""
    if op in "CM":
        names[name] = file
    elif op == "L":
        names[other] = file
    elif op == "U":
        names.pop(name, None)
    elif op == "R":
        below = [path for path in names if path == name or path.startswith(name + "/")]
        for path in below:
            names[other + path[len(name):]] = names.pop(path)


def parent(name):
    found = str(PurePosixPath(name).parent)
    return "" if found == "." else found


class Disk:
    """A folder as it was, and what has been done to it since by a log."""

    def __init__(self, base):
        self.base, self.files = Path(base), {}
        self.current, self.changes = {}, []
        for path in sorted(self.base.rglob("*")):
            name = str(path.relative_to(self.base))
            if name.split("/")[0] in ANEW or path.is_symlink():
                continue
            regular = path.is_file()
            self.current[name] = File(path.read_bytes(), path.stat().st_mode & 0o7777) if regular else FOLDER
        self.durable = dict(self.current)
        # Every name that was ever changed.
        self.touched = set()

    def do(self, op, file, offset, name, rest):
        if name.split("/")[0] in ANEW:
            return
        if op in "CMLUR":
            other = rest.decode() if op in "LR" else ""
            if op == "C":
                self.files[file] = File()
                self.files[file].is_changed = True
            found = {"C": self.files.get(file), "M": FOLDER, "L": self.current.get(name)}.get(op)
            change = (op, name, other, found)
            moved(self.current, *change)
            self.changes.append((change, {parent(name), parent(other)} if op in "LR" else {parent(name)}))
            self.touched |= {name, other} - {""}
            return
        if op == "S" and self.current.get(name, FOLDER) is FOLDER:
            kept = []
            for change, folders in self.changes:
                if name in folders:
                    moved(self.durable, *change)
                else:
                    kept.append((change, folders))
            self.changes = kept
            return
        # A file may be written that has lost its name: then nothing of it will be seen.
        target = self.files.get(file) or self.current.get(name)
        if not isinstance(target, File):
            return
        self.files[file] = target
        if op == "W":
            target.write(offset, rest)
        elif op == "T":
            target.truncate(offset)
        elif op == "S":
            target.sync()

    def left(self, how, seed=0):
        """The names and contents that a loss of power leaves now, in one of its ways."""
        chance = random.Random(seed)
        if how == "everything":
            return self.current, lambda file: bytes(file.current)
        if how == "nothing":
            return self.durable, lambda file: file.synced
        if how == "names":
            return self.current, lambda file: file.synced
        names = dict(self.durable)
        for change, _ in self.changes[:chance.randint(0, len(self.changes))]:
            moved(names, *change)
        if how == "torn":
            return names, lambda file: file.torn(chance)
        assert how == "prefix", how
        return names, lambda file: file.prefix(chance)

    def write_out(self, to, how, seed=0):
        """Makes the folder that a loss of power leaves. What was never touched is as it was."""
        subprocess.run(["cp", "-a", self.base, to], check=True)
        for name in ANEW:
            path = to / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        names, content = self.left(how, seed)
        for name in sorted(self.touched, reverse=True):
            path = to / name
            if name not in names and os.path.lexists(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name, file in sorted(names.items(), key=lambda item: item[0]):
            path = to / name
            if file is FOLDER:
                path.mkdir(mode=0o700, exist_ok=True)
            elif file.is_changed or name in self.touched:
                if not path.parent.is_dir():
                    continue  # its folder's name was lost, and so is it
                path.unlink(missing_ok=True)  # it may share its bytes with another name
                path.write_bytes(content(file))
                path.chmod(file.mode)
