"""Archives made byte by byte, so that they can say what no writer of tars or zips would say."""

import gzip
import io
import stat
import struct
import zipfile
import zlib

END = bytes(1024)
# Of inflated zeros in one member of a gzip file, which may have many (RFC 1952, 2.2).
STRETCH = 100_000_000
# Largest block of a zstd frame, and of a window of 128 KiB (RFC 8878, 3.1.1.2).
ZSTD_BLOCK = 128 * 1024


def header(name, size=0, kind=b"0", link=b"", mode=0o644, major=0, minor=0):
    """One header of a ustar archive (POSIX.1-1988), with the right checksum."""
    name, link = (text.encode() if isinstance(text, str) else text for text in (name, link))
    parts = [
        name[:100].ljust(100, b"\0"), b"%07o\0" % mode, b"0000000\0", b"0000000\0",
        b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big"),
        b"00000000000\0", b" " * 8, kind, link[:100].ljust(100, b"\0"), b"ustar\00000",
        bytes(64), b"%07o\0" % major, b"%07o\0" % minor, bytes(167),
    ]
    made = bytearray(b"".join(parts))
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


def padded(content):
    return content + bytes(-len(content) % 512)


def member(name, content=b"", kind=b"0", **more):
    return header(name, len(content), kind, **more) + padded(content)


def folder(name, mode=0o755):
    return header(name, kind=b"5", mode=mode)


def link(name, target):
    return header(name, kind=b"2", link=target, mode=0o777)


def hard(name, target):
    return header(name, kind=b"1", link=target)


def pax(*records, kind=b"x"):
    """An extended header (POSIX.1-2001) of (keyword, value) pairs, which may come twice."""
    body = b""
    for keyword, value in records:
        rest = b" %s=%s\n" % (keyword.encode(), value.encode() if isinstance(value, str) else value)
        length = len(rest) + 1
        while length != len(rest) + len(str(length)):
            length = len(rest) + len(str(length))
        body += str(length).encode() + rest
    return member("PaxHeaders/x", body, kind)


def long_name(name, kind=b"L"):
    """GNU's way to a long name (`L`) or link target (`K`)."""
    return member("././@LongLink", name.encode() + b"\0", kind)


def gzip_zeros(start, zeros, to):
    """Writes a gzip file that inflates to `start` and then about that many zeros, ten megabytes for ten
    thousand of them."""
    to.write(gzip.compress(start, 1))
    stretch = gzip.compress(bytes(STRETCH), 9)
    for _ in range(zeros // STRETCH):
        to.write(stretch)


def zstd_zeros(start, zeros, to):
    """The same as one zstd frame: blocks as they are, then blocks of one byte repeated."""

    def block(kind, size, content, last=0):
        to.write(struct.pack("<I", last | kind << 1 | size << 3)[:3] + content)

    # No single segment, no checksum, no dictionary, no content size; a window of 128 KiB.
    to.write(b"\x28\xb5\x2f\xfd\x00\x38")
    for at in range(0, len(start), ZSTD_BLOCK):
        piece = start[at : at + ZSTD_BLOCK]
        block(0, len(piece), piece)
    for _ in range(zeros // ZSTD_BLOCK):
        block(1, ZSTD_BLOCK, b"\0")
    block(0, 0, b"", last=1)


def zipped(*entries):
    """A zip of (name, content, mode) with `st_mode`'s type bits."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in entries:
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return out.getvalue()


def zip_file(name, content=b"x", mode=0o644):
    return name, content, stat.S_IFREG | mode


def zip_link(name, target):
    return name, target.encode(), stat.S_IFLNK | 0o777


def zip_of_one_kernel(entries, size):
    """A zip whose entries all are the same compressed bytes, each under a name of its own (as in "A better
    zip bomb", https://www.bamsoftware.com/hacks/zipbomb/)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed, left, checksum = b"", size, 0
    while left:
        piece = bytes(min(left, STRETCH))
        packed += packer.compress(piece)
        checksum = zlib.crc32(piece, checksum)
        left -= len(piece)
    packed += packer.flush()
    fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0x21, checksum, len(packed), size, 5, 0)
    kernel = b"PK\x03\x04" + fields + b"00000" + packed
    directory = b"".join(
        b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, 0)
        + b"%05d" % number
        for number in range(entries)
    )
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, entries, entries, len(directory), len(kernel), 0)
    return kernel + directory + end
