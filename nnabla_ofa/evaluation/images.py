"""A fixed set of images, the same on every run and every number of processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Optional, Tuple

import numpy as np

from ..data import Augment, Dataset, Key, fixed_batches, normalise
from ..system.comm import Communicator, Single

Labelled = Tuple[int, np.ndarray, np.ndarray]  # number, images (N, 3, H, W) float32, labels (N,) integers


@dataclass(frozen=True)
class Images:
    """A fixed set of images, dealt out in numbered batches.

    Args:
        dataset: Where they come from.
        indices: (n,) places in the data set, in the order of the batches.
        augment: How they are resized and normalised; with a key, how they are augmented, too.
        batch_size: Images a batch, 1 or more; the last batch may have fewer.
        workers: Threads that decode; 0: the calling one does.
        backend: What decodes and resizes (data/backends.py).
        key: Of what augmentation draws. None: as validation images, without augmentation.
    """

    dataset: Dataset
    indices: np.ndarray
    augment: Augment
    batch_size: int
    workers: int = 0
    backend: str = "opencv"
    key: Optional[Key] = None

    def count(self) -> int:
        """The number of batches over all ranks."""
        return -(-len(self.indices) // self.batch_size)

    def batches(self, size: int, comm: Communicator = Single()) -> Iterator[Labelled]:
        """This rank's batches at `size` pixels a side: numbers rank, rank + ranks, ..."""
        for number, images, labels in fixed_batches(
                self.dataset, self.indices, size, self.batch_size, self.augment, comm.rank,
                comm.size, self.workers, self.backend, self.key):
            yield number, normalise(images, self.augment.mean, self.augment.std), labels
