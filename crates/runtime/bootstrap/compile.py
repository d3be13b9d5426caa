"""Compiles the modules of a function's code, once for all of its starts. Executes none of them. What is compiled
goes to standard output as a zip, by the paths at which the interpreter looks for it. Ends with status 75
(`EX_TEMPFAIL`) if the time was too short for all: it can go on from there."""

import os
import py_compile
import sys
import time
import warnings
import zipfile
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash

COMPILED = "/tmp/compiled.pyc"
# Of one module, bytes. Compiling takes up to five hundred times as much memory.
MAX_SOURCE = 512 << 10
# Folders beneath each other.
MAX_DEPTH = 32
# What archives may hold: bytes of one name, and of a path.
MAX_NAME, MAX_PATH = 255, 4096
# Of all that is compiled, bytes; the rest is left to starts.
MAX_COMPILED = 96 << 20
# Seconds.
PATIENCE = 40
UNFINISHED = 75


def sources(root):
    """The modules below a folder. Links to folders are not followed: what they lead to is met by itself."""
    for folder, folders, files in os.walk(root):
        if folder.count("/") - root.count("/") >= MAX_DEPTH:
            folders.clear()
        if "__pycache__" in folders:
            folders.remove("__pycache__")
        for name in files:
            if name.endswith(".py") and name != ".py":
                yield os.path.join(folder, name)


def is_compiled(source, cached):
    """Whether the code brings it compiled so that the interpreter takes it (PEP 552): by the hash of its source, or by
    a time, which unpacking has most likely changed."""
    try:
        with open(cached, "rb") as file:
            head = file.read(16)
    except OSError:
        return False
    flags, rest = int.from_bytes(head[4:8], "little"), head[8:]
    if head[:4] != MAGIC_NUMBER:
        return False
    if flags == 0b11:
        with open(source, "rb") as file:
            return rest == source_hash(file.read())
    if flags == 0:
        about = os.stat(source)
        told = (int(about.st_mtime), about.st_size)
        return rest == b"".join((number & 0xFFFFFFFF).to_bytes(4, "little") for number in told)
    return flags == 0b01


def compiled(source):
    """What the interpreter takes without a look at the source, which nobody changes."""
    py_compile.compile(
        source, COMPILED, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    with open(COMPILED, "rb") as file:
        return file.read()


def entry(root, source):
    """The name in the archive, and the content; `None` if there is nothing to be laid. What does not compile is told
    to whoever imports it."""
    try:
        cached = cache_from_source(source)
        name = os.path.relpath(cached, root)
        if len(name.encode()) > MAX_PATH or len(os.path.basename(name).encode()) > MAX_NAME:
            return None
        if not os.path.isfile(source) or os.path.getsize(source) > MAX_SOURCE or is_compiled(source, cached):
            return None
        return name, compiled(source)
    except Exception:
        return None


def main(root, output):
    left, end = MAX_COMPILED, time.monotonic() + PATIENCE
    warnings.simplefilter("ignore")
    with zipfile.ZipFile(output, "w") as archive:
        for source in sources(root):
            if time.monotonic() > end:
                return UNFINISHED
            found = entry(root, source)
            if found is None:
                continue
            left -= len(found[1])
            if left < 0:
                break
            archive.writestr(*found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.stdout.buffer))
