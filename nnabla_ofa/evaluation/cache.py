"""The file in which top-1 of subnets is kept, with what it belongs to.

Its first line says which network and images the figures are of: their identity. Then there is a line a
subnet and image size:

    {"weights": 2907453822, "space": "K357_E0.6+0.8+1_D123", "seed": 0, "data": {...}, ...}
    {"subnet": "XP1 7x7 2, ...", "image_size": 224, "top1": 0.7211}

Lines are appended as figures become known. A process that is killed leaves at worst a torn last line: a line
that is damaged is left out when the file is read, and the others count.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

from ..data.settings import are_sides
from ..errors import OfaError
from ..model import AnyNetwork
from ..system.files import Location, write_atomically

Known = Mapping[Tuple[str, int], float]  # (canonical name of a subnet, image size) -> top-1
Identity = Mapping[str, Any]             # JSON-able


class Kept(NamedTuple):
    """What a file holds.

    identity: what its figures belong to. known: the figures. damaged: the numbers of lines that were left
    out, from 1. whole: whether nothing is left out, and a line can be appended.
    """

    identity: Dict[str, Any]
    known: Dict[Tuple[str, int], float]
    damaged: List[int]
    whole: bool


def checksum(net: AnyNetwork) -> int:
    """CRC-32 of all weights, and of the order of channels; not of BN statistics, which calibration sets."""
    crc, declared = 0, net.declared()
    for name, array in net.arrays().items():
        if not declared[name].statistic:
            crc = zlib.crc32(array.data, crc)
    return crc


def network_identity(net: AnyNetwork) -> Dict[str, Any]:
    """The network's part of an identity, as a file has it."""
    return json.loads(json.dumps({"weights": checksum(net), "space": str(net.space),
                                  "config": asdict(net.config)}))


def write(path: Location, identity: Identity, known: Known) -> None:
    """Write a file, whole or not at all.

    Args:
        path: The file.
        identity: What the figures belong to.
        known: The figures, fractions.

    Raises:
        OfaError: The disk refuses; the file that was there stays.
    """
    write_atomically(Path(path), (line(identity) + "\n").encode() + _lines(known))


def append(path: Location, identity: Identity, known: Known) -> None:
    """Add figures to a file, onto the disk; a file that is not there is written.

    Args:
        path: The file.
        identity: What the figures belong to; the file's own.
        known: The figures, fractions.

    Raises:
        OfaError: The disk refuses; what was in the file stays.
    """
    if not Path(path).exists():
        write(path, identity, known)
        return
    try:
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW), "ab") as file:
            file.write(_lines(known))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OfaError(f"cannot write {path}: {error.strerror or error}; what was evaluated before is kept, "
                       "make room and run the same command again") from error


def read(path: Location) -> Kept:
    """What a file holds. Raises OfaError if it is missing, or its first line is damaged."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise OfaError(f"cannot read {path}: {error.strerror}") from error
    first, *rows = content.split(b"\n")
    try:
        identity = json.loads(first)
        if not isinstance(identity, dict):
            raise ValueError("no identity in its first line")
    except (ValueError, RecursionError) as error:
        raise damaged(path, repr(error)) from error
    known: Dict[Tuple[str, int], float] = {}
    wrong = []
    for number, row in enumerate(rows if rows[-1:] != [b""] else rows[:-1], start=2):
        try:
            known.update([_entry(row)])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            wrong.append(number)
    return Kept(identity, known, wrong, not wrong and content.endswith(b"\n"))


def warning(path: Location, lines: List[int]) -> str:
    """What to say of damaged lines that were left out. lines: their numbers, one or more."""
    named = ", ".join(map(str, lines[:5])) + " ..." * (len(lines) > 5)
    return (f"warning: {path}: {len(lines)} damaged line{'s' * (len(lines) > 1)} left out ({named}); a "
            "search measures again what it misses")


def _entry(row: bytes) -> Tuple[Tuple[str, int], float]:
    """What a line holds; an error if it is damaged."""
    values = json.loads(row)
    top1 = float(values["top1"])
    size = int(values["image_size"])
    if not 0 <= top1 <= 1 or not are_sides([size]):
        raise ValueError(f"top1={top1} at {size} pixels")
    return (str(values["subnet"]), size), top1


def _lines(known: Known) -> bytes:
    return "".join(line({"subnet": name, "image_size": size, "top1": top1}) + "\n"
                   for (name, size), top1 in known.items()).encode()


def damaged(path: Location, why: str) -> OfaError:
    """The error of a file that does not hold what it should."""
    return OfaError(f"{path} is no file of evaluated subnets, or it is damaged ({why}): delete it, they are "
                    "measured anew")


def line(values: Mapping[str, Any]) -> str:
    """A line of a file, the same for equal values."""
    return json.dumps(values, sort_keys=True)
