"""Images that cannot be read: named in the log, counted, and passed over up to a limit.

What takes their place is a function of the files alone, so every rank, and a resumed run, does the
same: in training the next readable image of the same class, in the data set's order; calibration
and evaluation leave the image out, and their count of images says so.
"""

from __future__ import annotations

import sys
import threading
from typing import Callable, Dict

import numpy as np
from tqdm import tqdm

from ..errors import OfaError
from .decode import UnreadableImage

_NAMES = 10  # of this many an error message names


class Unreadable:
    """The unreadable images that this process has met among `total`: at most `fraction` of them.

    The parts of a data set share one. Any thread may call `note`.
    """

    def __init__(self, fraction: float = 0.0, total: int = 0):
        self.fraction, self.total = fraction, total
        self.limit = int(fraction * total)
        self._found: Dict[str, UnreadableImage] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def note(self, error: UnreadableImage) -> None:
        """Count an image, and log it the first time; OfaError, naming all, beyond the limit."""
        with self._lock:
            if error.path in self._found:
                return
            self._found[error.path] = error
            if len(self) > self.limit:
                raise OfaError(self._too_many(error))
            tqdm.write(f"unreadable image {len(self)} of at most {self.limit}, passed over: {error}",
                       file=sys.stderr)

    def _too_many(self, error: UnreadableImage) -> str:
        others = [path for path in self._found if path != error.path]
        named = ", ".join(others[-_NAMES:]) + (f" and {len(others) - _NAMES} more"
                                               if len(others) > _NAMES else "")
        return (f"{error}. Before it, these could not be read: {named or 'none'}; "
                f"data.max_unreadable={self.fraction:g} allows {self.limit} of {self.total} images")


def readable(dataset, index: int, read: Callable[[int], np.ndarray]) -> np.ndarray:
    """`read(index)`, or of the first image of its class after it, round to it, that can be read."""
    try:
        return read(index)
    except UnreadableImage as error:
        dataset.unreadable.note(error)
    same = np.flatnonzero(dataset.labels == dataset.labels[index])
    for other in np.roll(same, -1 - int(np.searchsorted(same, index)))[:-1]:
        try:
            return read(other)
        except UnreadableImage as error:
            dataset.unreadable.note(error)
    raise OfaError(f"no image of class {dataset.classes[dataset.labels[index]]} can be read")
