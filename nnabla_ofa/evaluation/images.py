"""A fixed set of images, the same on every run and every number of processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Optional

import numpy as np

from ..data import Augment, Dataset, Key, fixed_batches, normalise
from ..model.population import Batch
from ..system.comm import Communicator, Single


@dataclass(frozen=True)
class Images:
    """A fixed set of images, dealt out in numbered batches; with a key, augmented (`fixed_batches`)."""

    dataset: Dataset
    indices: np.ndarray
    augment: Augment
    batch_size: int
    workers: int = 0
    backend: str = "opencv"
    key: Optional[Key] = None

    def count(self) -> int:
        """The number of batches over all ranks, the last one maybe smaller."""
        return -(-len(self.indices) // self.batch_size)

    def batches(self, size: int, comm: Communicator = Single()) -> Iterator[Batch]:
        """This rank's batches at `size` pixels a side: numbers rank, rank + ranks, ..."""
        for number, images, labels in fixed_batches(
                self.dataset, self.indices, size, self.batch_size, self.augment, comm.rank,
                comm.size, self.workers, self.backend, self.key):
            yield number, normalise(images, self.augment.mean, self.augment.std), labels
