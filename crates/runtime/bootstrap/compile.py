"""Compiles the modules of a function's code, once for all of its starts. Executes none of them. What is compiled
goes to standard output as a zip, by the paths at which the interpreter looks for it. Ends with status 75
(`EX_TEMPFAIL`) if not all was looked at: who starts it again has it go on from there.

A child of this process compiles: whatever a source does to the compiler, the others are compiled."""

import marshal
import os
import resource
import signal
import socket
import struct
import sys
import time
import warnings
import zipfile
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash

# Of one source, bytes. Compiling takes up to five hundred times as much memory.
MAX_SOURCE = 512 << 10
# Of what becomes of one source, bytes.
MAX_MODULE = 16 << 20
# Folders beneath each other.
MAX_DEPTH = 32
# What archives may hold: bytes of one name, and of a path.
MAX_NAME, MAX_PATH = 255, 4096
# Of all that is compiled, with what was before, bytes; the rest is left to starts.
MAX_COMPILED = 96 << 20
# What an archive takes for each of its files, beside the content and twice the name.
ENTRY = 128
# Of the child that compiles, bytes of address space.
MEMORY = 400 << 20
# Seconds: for one module, and after which no other is begun, since other functions wait.
MODULE_PATIENCE, PATIENCE = 20, 10
UNFINISHED = 75

COMPILED, REFUSED, UNREADABLE, GIVEN_UP = range(4)
# Laid for a source that the compiler came to no end with: the next turn leaves it alone, and the interpreter takes it
# for nothing, since it is no bytecode of any version.
NOTHING = bytes(16)
ANSWER = struct.Struct(">BI")
REQUEST = struct.Struct(">I")


class UnlistableFolder(Exception):
    """There may be more modules than were seen."""


def unlistable(error):
    raise UnlistableFolder from error


def sources(root):
    """The modules below a folder. Links to folders are not followed: what they lead to is met by itself."""
    for folder, folders, files in os.walk(root, onerror=unlistable):
        if folder.count("/") - root.count("/") >= MAX_DEPTH:
            folders.clear()
        if "__pycache__" in folders:
            folders.remove("__pycache__")
        for name in files:
            if name.endswith(".py") and name != ".py":
                yield os.path.join(folder, name)


def bytecode_of(source, cached):
    """How large it is, if the code has it compiled so that the interpreter takes it (PEP 552): by the hash of its
    source, or by a time, which unpacking has most likely changed. Or if it was given up."""
    try:
        with open(cached, "rb") as file:
            head, size = file.read(16), os.fstat(file.fileno()).st_size
    except OSError:
        return None
    if head == NOTHING:
        return size
    flags, rest = int.from_bytes(head[4:8], "little"), head[8:]
    if head[:4] != MAGIC_NUMBER:
        return None
    holds = flags == 0b01
    if flags == 0b11:
        with open(source, "rb") as file:
            holds = rest == source_hash(file.read())
    if flags == 0:
        about = os.stat(source)
        told = (int(about.st_mtime), about.st_size)
        holds = rest == b"".join((number & 0xFFFFFFFF).to_bytes(4, "little") for number in told)
    return size if holds else None


def name_of(root, source):
    """Its path in the archive, and where that would lie; `None` if it is not to be compiled."""
    try:
        cached = cache_from_source(source)
        name = os.path.relpath(cached, root)
        encoded = name.encode()
    except (UnicodeError, NotImplementedError):
        return None
    if len(encoded) > MAX_PATH or len(os.path.basename(encoded)) > MAX_NAME:
        return None
    if not os.path.isfile(source) or os.path.getsize(source) > MAX_SOURCE:
        return None
    return name, cached


def compiled(source):
    """What the interpreter takes without a look at the source, which nobody changes (PEP 552: an unchecked hash)."""
    with open(source, "rb") as file:
        text = file.read(MAX_SOURCE + 1)
    code = compile(text, source, "exec", dont_inherit=True)
    return MAGIC_NUMBER + (0b01).to_bytes(4, "little") + source_hash(text) + marshal.dumps(code)


def answer(source):
    """To whoever imports it is told why it does not compile."""
    try:
        content = compiled(source)
    except OSError:
        return UNREADABLE, b""
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return REFUSED, b""
    return (COMPILED, content) if len(content) <= MAX_MODULE else (REFUSED, b"")


def exactly(connection, count, end=None):
    """So many bytes, until a time; `EOFError` if the other side is gone."""
    received = bytearray()
    while len(received) < count:
        if end is not None:
            connection.settimeout(max(end - time.monotonic(), 0.001))
        part = connection.recv(min(count - len(received), 1 << 20))
        if not part:
            raise EOFError
        received += part
    return bytes(received)


def serve(connection):
    """What the child does: answers each source with what becomes of it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    while True:
        source = exactly(connection, *REQUEST.unpack(exactly(connection, REQUEST.size)))
        status, content = answer(os.fsdecode(source))
        connection.sendall(ANSWER.pack(status, len(content)))
        connection.sendall(content)


class Compiler:
    """A child that compiles, and another if something becomes of it."""

    def __init__(self):
        self.child = None
        self.connection = None

    def start(self):
        self.connection, theirs = socket.socketpair()
        self.child = os.fork()
        if self.child == 0:
            self.connection.close()
            try:
                serve(theirs)
            finally:
                os._exit(0)
        theirs.close()

    def stop(self):
        if self.child is not None:
            self.connection.close()
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
            self.child = None

    def compile(self, source):
        """Status and content. A source that takes too long, or the child with it, is given up."""
        if self.child is None:
            self.start()
        end = time.monotonic() + MODULE_PATIENCE
        path = os.fsencode(source)
        try:
            self.connection.sendall(REQUEST.pack(len(path)) + path)
            status, length = ANSWER.unpack(exactly(self.connection, ANSWER.size, end))
            return status, exactly(self.connection, length, end)
        except (OSError, EOFError):
            self.stop()
            return GIVEN_UP, NOTHING


class Turn:
    """One look at all sources: what it compiles goes into an archive, until its time is up."""

    def __init__(self, root, archive):
        self.root = root
        self.archive = archive
        self.compiler = Compiler()
        self.left = MAX_COMPILED
        self.all_read = True

    def run(self):
        """Whether there is nothing left to do."""
        end = time.monotonic() + PATIENCE
        try:
            for source in sources(self.root):
                if time.monotonic() > end:
                    return False
                self.look_at(source)
                if self.left < 0:
                    break
        finally:
            self.compiler.stop()
        return self.all_read

    def look_at(self, source):
        try:
            found = name_of(self.root, source)
            size = found and bytecode_of(source, found[1])
        except OSError:
            self.all_read = False
            return
        if found and size is None:
            size = self.add(source, found[0])
        self.left -= size or 0

    def add(self, source, name):
        status, content = self.compiler.compile(source)
        self.all_read &= status != UNREADABLE
        if status not in (COMPILED, GIVEN_UP):
            return 0
        size = len(content) + 2 * len(name.encode()) + ENTRY
        if size <= self.left:
            self.archive.writestr(name, content)
        return size


def main(root, output):
    with zipfile.ZipFile(output, "w") as archive:
        turn = Turn(root, archive)
        try:
            done = turn.run()
        except UnlistableFolder:
            done = False
    return 0 if done else UNFINISHED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.stdout.buffer))
