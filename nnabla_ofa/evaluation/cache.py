"""The file in which top-1 of subnets is kept, with what it belongs to.

Its first line says which network and images the figures are of: their identity. Then there is a line a
subnet and image size:

    {"weights": 2907453822, "space": "K357_E0.6+0.8+1_D123", "seed": 0, "data": {...}, ...}
    {"subnet": "XP1 7x7 2, ...", "image_size": 224, "top1": 0.7211}
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

from ..errors import OfaError
from ..model import AnyNetwork
from ..system.files import Location, write_atomically

Known = Mapping[Tuple[str, int], float]  # (canonical name of a subnet, image size) -> top-1
Identity = Mapping[str, Any]             # JSON-able


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
    rows = [line({"subnet": name, "image_size": size, "top1": top1}) for (name, size), top1 in known.items()]
    write_atomically(Path(path), "\n".join([line(identity), *rows, ""]).encode())


def read(path: Location) -> Tuple[Dict[str, Any], Dict[Tuple[str, int], float]]:
    """(identity, {(subnet, image size): top-1}) of a file. Raises OfaError if it is missing or damaged."""
    try:
        identity, *rows = map(json.loads, Path(path).read_text(encoding="utf-8").splitlines())
        known = {(str(row["subnet"]), int(row["image_size"])): float(row["top1"]) for row in rows}
        if not isinstance(identity, dict) or not all(0 <= top1 <= 1 for top1 in known.values()):
            raise ValueError("no identity in its first line, or a top-1 outside 0 to 1")
        return identity, known
    except OSError as error:
        raise OfaError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(path, repr(error)) from error


def damaged(path: Location, why: str) -> OfaError:
    """The error of a file that does not hold what it should."""
    return OfaError(f"{path} is no file of evaluated subnets, or it is damaged ({why}): delete it, they are "
                    "measured anew")


def line(values: Mapping[str, Any]) -> str:
    """A line of a file, the same for equal values."""
    return json.dumps(values, sort_keys=True)
