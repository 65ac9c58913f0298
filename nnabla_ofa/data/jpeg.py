"""Whole JPEGs that the strict decoder refuses: what is odd about them is put right, their pixels stay.

libjpeg warns where a file differs from the standard, and its strict mode stops there. Some warnings speak
of headers only, and every decoder gets the same pixels out of such a file: an unknown version of JFIF,
parameters of a scan or of Adobe's colours that mean nothing, bytes between two segments. Others mean that
coded data are damaged. A file is therefore rewritten as the standard wants its headers, and then decoded
strictly: damage is noticed in it as in any other.
"""

from __future__ import annotations

import re
from typing import Callable, Iterator, NamedTuple, Optional

import numpy as np

SOI, EOI = b"\xff\xd8", b"\xff\xd9"  # how a JPEG begins and ends
_SOS, _APP0, _APP14, _COM = 0xDA, 0xE0, 0xEE, 0xFE
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment: TEM, RST0 to RST7, SOI
_SEQUENTIAL = {0xC0, 0xC1, 0xC9}     # kinds of frame each of whose scans holds all coefficients
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_END_OF_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)  # within coded data 0 or RST follows 0xff
VARIETY = 16  # different values among stray bytes, at most
_STRAY_BEFORE_END = re.compile(r"(\d+) extraneous bytes before marker 0xd9")

Decode = Callable[[bytes], np.ndarray]  # a strict decoder; a ValueError says what is wrong


class Mended(NamedTuple):
    """A JPEG that was put right.

    Attributes:
        data: the file's content as it is now.
        stray: the number of bytes that belonged to nothing and were taken out.
    """

    data: bytes
    stray: int


class Part(NamedTuple):
    """A marker of a JPEG and what belongs to it.

    Attributes:
        kind: the marker's second byte.
        segment: the two bytes of the segment's length and its content. Empty for a marker without one.
        coded: the coded data that follow the header of a scan.
        stray: the number of bytes before the marker that belong to nothing.
    """

    kind: int
    segment: bytearray
    coded: bytes
    stray: int


def parts(data: bytes) -> Iterator[Part]:
    """What a JPEG is made of, after SOI, up to EOI. A ValueError says that it makes no sense."""
    at = len(SOI)
    while True:
        found = _MARKER.search(data, at)
        if found is None:
            raise ValueError("it has no end")
        stray, kind, at = found.start() - at, found[1][0], found.end()
        length = 0 if kind in _ALONE or kind == EOI[1] else int.from_bytes(data[at:at + 2], "big")
        segment, at = bytearray(data[at:at + length]), at + length
        if len(segment) < length or length == 1 or length == 0 and kind not in _ALONE and kind != EOI[1]:
            raise ValueError("a segment has no end")
        end = _END_OF_SCAN.search(data, at) if kind == _SOS else None
        coded = data[at:end.start()] if end else b""
        yield Part(kind, segment, coded, stray)
        at += len(coded)
        if kind == EOI[1]:
            return


def mend_headers(data: bytes) -> Optional[Mended]:
    """The JPEG with what its headers have wrong put right. None: the headers make no sense.

    The version of JFIF becomes 1. A colour transform that Adobe does not know becomes the one that
    decoders assume. A sequential scan says that it holds all coefficients. Bytes between a segment and the
    next marker go. So do comments and the segments of applications (profiles, EXIF): no pixel depends on
    them.
    """
    try:
        found = list(parts(data))
    except ValueError:
        return None
    frame = next((part for part in found if part.kind in FRAMES and len(part.segment) > 7), None)
    if frame is None:
        return None
    rewritten = [SOI]
    for kind, segment, coded, _ in found:
        if kind == _APP0 and segment[2:7] == b"JFIF\0" and len(segment) > 7:
            segment[7] = 1
        elif kind == _APP14 and segment[2:7] == b"Adobe" and len(segment) > 13:
            assumed = 2 if frame.segment[7] == 4 else 1  # YCCK for four colours, else YCbCr
            segment[13] = segment[13] if segment[13] in (0, assumed) else assumed
        elif _APP0 <= kind < _APP0 + 16 or kind == _COM:
            continue
        elif kind == _SOS and frame.kind in _SEQUENTIAL and len(segment) > 5:
            segment[-3:] = b"\x00\x3f\x00"  # from coefficient 0 to 63, all bits
        rewritten += [bytes([0xFF, kind]), bytes(segment), coded]
    return Mended(b"".join(rewritten), sum(part.stray for part in found))


def mend_end(data: bytes, decode: Decode) -> Optional[Mended]:
    """The JPEG without stray bytes between its coded data and EOI. None: it is damaged.

    A decoder that damage put out of step may end too early and leave bytes over, too. Two things tell the
    cases apart. What damage leaves over is coded data, which look random: bytes of more than VARIETY values
    are no stray ones. And an encoder fills the last byte of coded data up with bits of 1, which a decoder
    that stops by accident finds in one case of four.

    Args:
        data: the file's content, up to EOI.
        decode: gives its pixels at full size.
    """
    end = _end_of_coded_data(data, decode)
    stray = data[end:-len(EOI)] if end else b""
    if not stray or len(set(stray)) > VARIETY or not _filled_up(data[:end], decode):
        return None
    return Mended(data[:end] + EOI, len(stray))


def _end_of_coded_data(data: bytes, decode: Decode) -> int:
    """Where the coded data end: nothing is wrong up to there, and with a byte less there is. 0: nowhere."""
    end = len(data) - len(EOI)
    for _ in range(4):  # of the pair 0xff 0, which stands for one byte, libjpeg may count just one
        error = _error(data[:end], decode)
        if not error:
            break
        found = _STRAY_BEFORE_END.search(error)
        end -= int(found[1]) if found else end
        if end < len(SOI):
            return 0
    for _ in range(17):  # libjpeg does not count what it has read ahead, up to eight bytes or such pairs
        if _error(data[:end - 1], decode):
            return end
        end -= 1
    return 0


def _filled_up(coded: bytes, decode: Decode) -> bool:
    """Whether no bit, or nothing but bits of 1, fills the last byte of coded data up.

    The lowest bit of 0 in that byte must belong to an image's data: with a 1 there its pixels differ.
    """
    if coded[-1:] == b"\xff" or coded[-2:] == b"\xff\x00":
        return True
    zero = ~coded[-1] & (coded[-1] + 1)
    if zero == 0x80:  # seven bits of 1: all that can fill up
        return True
    changed = coded[:-1] + bytes([coded[-1] | zero])
    return bool(_error(changed, decode)) or not np.array_equal(decode(changed + EOI), decode(coded + EOI))


def _error(coded: bytes, decode: Decode) -> str:
    """What is wrong with a JPEG that ends after these coded data, or ""."""
    try:
        decode(coded + EOI)
    except ValueError as error:
        return str(error) or "something"
    return ""
