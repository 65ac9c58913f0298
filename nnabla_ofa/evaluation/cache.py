"""Evaluations: top-1 of subnets on images held out of training, each measured once and kept in a file.

Searches, rankings and samples of one network on the same images share them. A file is a line that says
what its figures belong to, then a line a subnet and image size:

    {"weights": 2907453822, "space": "K357_E0.6+0.8+1_D123", "seed": 0, "data": {...}, ...}
    {"subnet": "XP1 7x7 2, ...", "image_size": 224, "top1": 0.7211}
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Sequence, Tuple

from ..errors import OfaError
from ..model import AnyNetwork
from ..nets import Arch
from ..system.comm import Communicator, Single, require_agreement
from ..system.files import Location, write_atomically

Known = Mapping[Tuple[str, int], float]  # (canonical name of a subnet, image size) -> top-1


class Evaluations:
    """(archs, image size in pixels) -> top-1 of each, a fraction; what is known is not measured again.

    identity: what the figures belong to; every identity has a file of its own under `folder`. measure:
    (archs, image size) -> top-1, called with at most `chunk` new ones at a time, the same on every
    rank. A run that is killed loses the chunk it is at. Raises OfaError if the file is damaged.
    """

    def __init__(self, folder: Location, identity: Mapping[str, object],
                 measure: Callable[[Sequence[Arch], int], Sequence[float]],
                 comm: Communicator = Single(), chunk: int = 25):
        self.identity = json.loads(json.dumps(identity))  # as a file has it
        self.path = Path(folder) / f"evaluated-{zlib.crc32(_line(self.identity).encode()):08x}.jsonl"
        self._measure, self._comm, self._chunk = measure, comm, chunk
        self.known: Dict[Tuple[str, int], float] = {}
        if self.path.exists():
            found, known = read(self.path)
            if found != self.identity:
                raise _damaged(self.path, "its first line is of other weights or images")
            self.known.update(known)
        require_agreement(comm, "evaluated subnets", repr(self.known))  # before rank 0 writes more

    def __call__(self, archs: Sequence[Arch], image_size: int) -> List[float]:
        keys = [(str(arch.canonical()), image_size) for arch in archs]
        new = {key: arch for key, arch in zip(keys, archs) if key not in self.known}
        for start in range(0, len(new), self._chunk):
            part = list(new)[start:start + self._chunk]
            top1 = self._measure([new[key] for key in part], image_size)
            self.known.update(zip(part, map(float, top1)))
            if self._comm.rank == 0:
                write(self.path, self.identity, self.known)
        return [self.known[key] for key in keys]

    def count(self, image_size: int) -> int:
        """How many subnets are known at an image size."""
        return sum(size == image_size for _, size in self.known)


def checksum(net: AnyNetwork) -> int:
    """CRC-32 of all that training reads: not of BN statistics, which calibration sets."""
    crc, declared = 0, net.declared()
    for name, array in net.arrays().items():
        if not declared[name].statistic:
            crc = zlib.crc32(array, crc)
    return crc


def network_identity(net: AnyNetwork) -> Dict[str, object]:
    """The network's part of an identity, as a file has it."""
    return json.loads(json.dumps({"weights": checksum(net), "space": str(net.space),
                                  "config": asdict(net.config)}))


def write(path: Location, identity: Mapping[str, object], known: Known) -> None:
    """A file of evaluations, whole or not at all."""
    rows = [_line({"subnet": name, "image_size": size, "top1": top1}) for (name, size), top1 in known.items()]
    write_atomically(Path(path), "\n".join([_line(identity), *rows, ""]).encode())


def read(path: Location) -> Tuple[dict, Dict[Tuple[str, int], float]]:
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
        raise _damaged(path, repr(error)) from error


def _damaged(path: Location, why: str) -> OfaError:
    return OfaError(f"{path} is no file of evaluated subnets, or it is damaged ({why}): delete it, they are "
                    "measured anew")


def _line(values: Mapping[str, object]) -> str:
    return json.dumps(values, sort_keys=True)
