"""The page cache: how much of a file is in memory, and putting it out."""

import ctypes
import mmap
import os

LIBC = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
LIBC.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
FAILED = ctypes.c_void_p(-1).value


def evict(paths):
    """Asks the kernel to drop the files' pages. Pages that a process has mapped or locked stay."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def resident(paths):
    """Share of the files' pages that are in memory, 0 to 1."""
    inside = whole = 0
    for path in paths:
        size = os.path.getsize(path)
        if size == 0:
            continue
        fd = os.open(path, os.O_RDONLY)
        try:
            pages = (size + PAGE - 1) // PAGE
            at = LIBC.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
            if at == FAILED:
                raise OSError(ctypes.get_errno(), f"mapping {path}")
            seen = ctypes.create_string_buffer(pages)
            answer = LIBC.mincore(at, size, seen)
            LIBC.munmap(at, size)
            if answer != 0:
                raise OSError(ctypes.get_errno(), f"asking which pages of {path} are in memory")
            inside += sum(byte & 1 for byte in seen.raw[:pages])
            whole += pages
        finally:
            os.close(fd)
    return inside / whole if whole else 0.0
