"""Images that cannot be read. They are logged, counted, and passed over up to a limit.

In training the next readable image of the same class, in the data set's order, takes the place of such an
image. Calibration and evaluation leave it out and count the others. What happens depends on nothing but
the files, so that it is the same on every rank and in a run that was resumed.
"""

from __future__ import annotations

import sys
import threading
from typing import Callable, Dict, Protocol, Tuple

import numpy as np
from tqdm import tqdm

from ..errors import OfaError
from .decode import UnreadableImage

_NAMES = 10  # how many files an error message names


class Unreadable:
    """The unreadable images that this process has met, and how many it may meet.

    All subsets of a data set share one of these. Its methods may be called from any thread.

    Args:
        fraction: the part of the images that may be unreadable, from 0 up to 1.
        total: the number of images.
    """

    def __init__(self, fraction: float = 0.0, total: int = 0):
        self.fraction, self.total = fraction, total
        self.limit = int(fraction * total)
        self._found: Dict[str, UnreadableImage] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def note(self, error: UnreadableImage) -> None:
        """Count and log an image, unless it has been noted before.

        Raises:
            OfaError: there are more than the limit. It names the last ones.
        """
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


class Labelled(Protocol):
    """What `readable` uses of a data set (`datasets.Dataset`)."""

    @property
    def labels(self) -> np.ndarray:
        """int32 (n,)."""

    @property
    def classes(self) -> Tuple[str, ...]:
        """The names of the classes."""

    @property
    def unreadable(self) -> Unreadable:
        """The images that could not be read so far."""


def readable(dataset: Labelled, index: int, read: Callable[[int], np.ndarray]) -> np.ndarray:
    """An image, or the next one of its class that can be read. After the last image comes the first.

    Args:
        dataset: what `index` counts in. Images that cannot be read are noted in its `unreadable`.
        index: the image.
        read: a function of an index that reads that image, or raises UnreadableImage.

    Raises:
        OfaError: no image of the class can be read, or too many of the data set cannot.
    """
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
