"""Top-1 of subnets on images held out of training: each is measured once, then known.

Searches, rankings and samples of one network on the same images share what is known. It is kept in a
file (cache.py) as soon as it is known, so that a run which was killed goes on. Subnets are measured in
groups, which is several times as fast as one by one (results/population.md), and all of a group are known
when it is done: a run that is killed loses the group that it was at.
"""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path
from typing import Callable, Dict, List, Sequence, Tuple

from ..nets import Arch
from ..system.comm import Communicator, Single, require_agreement
from ..system.files import Location
from . import cache

GROUP = 10  # subnets: 25 together would be a fifth faster, and as many could be lost


class Evaluations:
    """(archs, image size in pixels) -> top-1 of each, a fraction; what is known is not measured again.

    Args:
        folder: Where the files are, one for each identity.
        identity: What the figures belong to: the network (`cache.network_identity`) and the images.
        measure: (archs, image size) -> top-1 of each. It is called with new subnets only.
        comm: The ranks. All ask for the same, and know the same.
        chunk: How many subnets `measure` gets at a time, 1 or more.

    Attributes:
        known: (canonical name of a subnet, image size) -> top-1.
        path: The file of this identity.

    Raises:
        OfaError: The file's first line is damaged, or the ranks know different things.
    """

    def __init__(self, folder: Location, identity: cache.Identity,
                 measure: Callable[[Sequence[Arch], int], Sequence[float]],
                 comm: Communicator = Single(), chunk: int = GROUP):
        self.identity = json.loads(json.dumps(identity))  # as a file has it
        self.path = Path(folder) / f"evaluated-{zlib.crc32(cache.line(self.identity).encode()):08x}.jsonl"
        self._measure, self._comm, self._chunk = measure, comm, chunk
        kept = cache.read(self.path) if self.path.exists() else None
        if kept and kept.identity != self.identity:
            raise cache.damaged(self.path, "its first line is of other weights or images")
        self.known: Dict[Tuple[str, int], float] = kept.known if kept else {}
        require_agreement(comm, "evaluated subnets", repr(self.known))  # before rank 0 writes more
        if kept and not kept.whole and comm.rank == 0:
            if kept.damaged:
                print(cache.warning(self.path, kept.damaged), file=sys.stderr, flush=True)
            cache.write(self.path, self.identity, self.known)

    def __call__(self, archs: Sequence[Arch], image_size: int) -> List[float]:
        keys = [(str(arch.canonical()), image_size) for arch in archs]
        new = {key: arch for key, arch in zip(keys, archs) if key not in self.known}
        for start in range(0, len(new), self._chunk):
            part = list(new)[start:start + self._chunk]
            top1 = self._measure([new[key] for key in part], image_size)
            found = dict(zip(part, map(float, top1)))
            if self._comm.rank == 0:
                cache.append(self.path, self.identity, found)
            self.known.update(found)
        return [self.known[key] for key in keys]

    def count(self, image_size: int) -> int:
        """How many subnets are known at an image size."""
        return sum(size == image_size for _, size in self.known)
