"""How many pixels an image file declares, known before any of them is decoded.

A decoder makes room for as many pixels as a file's header says. Formats compress nothing but one colour a
thousand times and more, so a few kilobytes can ask for gigabytes. A photograph has at most about ten pixels
a byte. So a file may declare `PLENTY` of pixels, and `PER_BYTE` more for each of its bytes.
"""

from __future__ import annotations

import re
import struct
from typing import Callable, Dict, Iterator, Optional, Tuple

from .jpeg import FRAMES, SOI, parts

PLENTY = 2**24    # 16.8 million
PER_BYTE = 128
MOST = 2**28      # whatever the size of the file: 0.8 GB as RGB

Size = Tuple[int, int]  # (width, height)
_SIZ = re.compile(rb"\xff\x4f\xff\x51..(?=(.{36}))", re.DOTALL)  # JPEG 2000: image and tile size
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # TIFF's kinds of them
_PNM = re.compile(rb"P[1-6](?:\s+|#[^\n]*\n)+(\d{1,9})(?:\s+|#[^\n]*\n)+(\d{1,9})\s")


def require_room(width: int, height: int, size: int) -> None:
    """ValueError for more pixels than a file of `size` bytes may declare."""
    if width * height > min(PLENTY + PER_BYTE * size, MOST):
        raise ValueError(f"{width}x{height} pixels in {size:,} bytes are too many")


def require_known(data: bytes) -> None:
    """ValueError for a file of a format not listed here, or that declares too many pixels.

    Args:
        data: the content of the file.
    """
    reader = next((reader for start, reader in _READERS.items() if data.startswith(start)), None)
    try:
        size = reader(data) if reader else None
    except (struct.error, LookupError, ValueError):
        size = None
    if size is None:
        raise ValueError("not an image, or damaged")
    require_room(*size, len(data))


def _jpeg(data: bytes) -> Optional[Size]:
    frame = next((part for part in parts(data) if part.kind in FRAMES), None)
    return struct.unpack(">HH", frame.segment[3:7])[::-1] if frame else None


def _png(data: bytes) -> Size:
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _bmp(data: bytes) -> Size:
    old = data[14:18] == b"\x0c\0\0\0"  # of OS/2
    width, height = struct.unpack("<HH", data[18:22]) if old else struct.unpack("<ii", data[18:26])
    return abs(width), abs(height)  # a negative height: the first row is the upper one


def _webp(data: bytes) -> Optional[Size]:
    kind = data[12:16]
    if data[8:12] != b"WEBP":
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _tiff(data: bytes) -> Optional[Size]:
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack(order + "H", data[2:4])[0] == 43
    start, = struct.unpack(order + ("Q" if big else "I"), data[8:16] if big else data[4:8])
    head, entry = (8, 20) if big else (2, 12)
    count = int.from_bytes(data[start:start + head], "little" if order == "<" else "big")
    tags: Dict[int, int] = {}
    for at in range(start + head, min(start + head + count * entry, len(data)), entry):
        tag, kind = struct.unpack(order + "HH", data[at:at + 4])
        if tag in (256, 257):  # width, height
            number, = struct.unpack_from(order + _INTEGERS[kind], data, at + (12 if big else 8))
            tags[tag] = max(number, tags.get(tag, 0))
    return (tags[256], tags[257]) if len(tags) == 2 else None


def _jpeg2000(data: bytes) -> Optional[Size]:
    """The largest size that a header may declare, with four bytes or more for each value of a pixel."""
    sizes = list(_siz(data))
    return max(sizes, key=lambda size: size[0] * size[1]) if sizes else None


def _siz(data: bytes) -> Iterator[Size]:
    for found in _SIZ.finditer(data):
        _, right, bottom, left, top = struct.unpack(">HIIII", found[1][:18])
        colours, = struct.unpack(">H", found[1][34:36])
        yield max(right - left, 0) * -(-colours // 4), max(bottom - top, 0)


def _pnm(data: bytes) -> Optional[Size]:
    found = _PNM.match(data)
    return (int(found[1]), int(found[2])) if found else None


# How a file begins, and what reads the size in it. GIFs: decode.py.
_READERS: Dict[bytes, Callable[[bytes], Optional[Size]]] = {
    SOI: _jpeg, b"\x89PNG\r\n\x1a\n": _png, b"BM": _bmp, b"RIFF": _webp,
    b"II*\0": _tiff, b"MM\0*": _tiff, b"II+\0": _tiff, b"MM\0+": _tiff,
    b"\0\0\0\x0cjP  \r\n\x87\n": _jpeg2000, b"\xff\x4f\xff\x51": _jpeg2000,
    **{b"P%d" % kind: _pnm for kind in range(1, 7)}}
