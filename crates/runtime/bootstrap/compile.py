"""Compiles the modules of a function's code, once for all of its starts. Executes none of them. What is compiled
goes to standard output as a zip, by the paths at which the interpreter looks for it."""

import os
import py_compile
import sys
import time
import warnings
import zipfile
from importlib.util import MAGIC_NUMBER, cache_from_source

COMPILED = "/tmp/compiled.pyc"
# Of one module, bytes. Compiling takes about two hundred times as much memory.
MAX_SOURCE = 1 << 20
# Folders beneath each other.
MAX_DEPTH = 32
# Of all that is compiled, bytes.
MAX_COMPILED = 96 << 20
# Seconds. What is not compiled by then, each start compiles.
PATIENCE = 40


def sources(root):
    """The modules below a folder. Links to folders are not followed: what they lead to is met by itself."""
    for folder, folders, files in os.walk(root):
        if folder.count("/") - root.count("/") >= MAX_DEPTH:
            folders.clear()
        if "__pycache__" in folders:
            folders.remove("__pycache__")
        for name in files:
            if name.endswith(".py"):
                yield os.path.join(folder, name)


def is_compiled(source, cached):
    """Whether the code brings it compiled so that the interpreter takes it: by the hash of its source, or by a
    time, which unpacking has most likely changed."""
    try:
        with open(cached, "rb") as file:
            head = file.read(16)
    except OSError:
        return False
    if head[:4] != MAGIC_NUMBER:
        return False
    if head[4:8] != bytes(4):
        return True
    about = os.stat(source)
    return head[8:12] == (int(about.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little")


def compiled(source):
    """What the interpreter takes without a look at the source, which nobody changes; `None` if it does not
    compile: whoever imports it is told."""
    try:
        if not os.path.isfile(source) or os.path.getsize(source) > MAX_SOURCE:
            return None
        py_compile.compile(
            source, COMPILED, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
        with open(COMPILED, "rb") as file:
            return file.read()
    except Exception:
        return None


def main(root, output):
    left, end = MAX_COMPILED, time.monotonic() + PATIENCE
    warnings.simplefilter("ignore")
    with zipfile.ZipFile(output, "w") as archive:
        for source in sources(root):
            cached = cache_from_source(source)
            content = None if is_compiled(source, cached) else compiled(source)
            left -= len(content or b"")
            if left < 0 or time.monotonic() > end:
                break
            if content:
                archive.writestr(os.path.relpath(cached, root), content)


if __name__ == "__main__":
    main(sys.argv[1], sys.stdout.buffer)
