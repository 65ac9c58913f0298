"""Which images, and what is done to them, as settings: a recipe's `data`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Optional, Sequence, Tuple

from ..errors import require
from .augment import Augment
from .backends import BACKENDS
from .datasets import Dataset, open_dataset

LARGEST_SIDE = 2**12  # of an image that a network sees, in pixels
MOST_WORKERS = 2**10


def are_sides(sizes: Sequence[int]) -> bool:
    """Whether these are one or more sides of images that a network can be asked to see."""
    return bool(sizes) and all(1 <= size <= LARGEST_SIDE for size in sizes)


@dataclass(frozen=True)
class Data:
    """Which images, at which sizes.

    source: "digits" or a folder; None: the user names it (--data or OFA_DATA).
    image_sizes: sides in pixels that training draws from; valid_sizes: those reported on.
    held_out: fraction of the training set kept for choosing. train_images: how many of the others to
    learn from, drawn by the seed, classes evenly; None: all. calibration_images: for BN statistics.
    max_unreadable: fraction of the images that may be unreadable before a run stops.
    test_fraction: part of the images that become the test set, where a folder has no test images: the same
    for every seed. None: test images must be there.
    balance: how far training evens out classes of different size, from 0, every image once an epoch, to 1,
    every class equally often (balance.py). BN calibration sees the same proportions, held-out and test
    images stay as they are.
    """

    source: Optional[str] = None
    image_sizes: Tuple[int, ...] = (128, 160, 192, 224)
    valid_sizes: Tuple[int, ...] = (160, 224)
    held_out: float = 0.01
    train_images: Optional[int] = None
    calibration_images: int = 2048
    augment: Augment = field(default_factory=Augment)
    workers: int = 2
    max_unreadable: float = 0.001
    backend: str = "opencv"
    test_fraction: Optional[float] = None
    balance: float = 0.0

    def __post_init__(self):
        sides = f"one or more positive integers up to {LARGEST_SIDE}"
        require(self, "data", {
            "image_sizes": (are_sides(self.image_sizes), sides),
            "valid_sizes": (are_sides(self.valid_sizes), sides),
            "held_out": (0 < self.held_out < 1, "between 0 and 1"),
            "train_images": (self.train_images is None or self.train_images >= 1, "1 or more"),
            "calibration_images": (self.calibration_images >= 1, "1 or more"),
            "workers": (0 <= self.workers <= MOST_WORKERS, f"0 to {MOST_WORKERS}"),
            "max_unreadable": (0 <= self.max_unreadable < 1, "in [0, 1)"),
            "backend": (self.backend in BACKENDS, f"one of {', '.join(BACKENDS)}"),
            "test_fraction": (self.test_fraction is None or 0 < self.test_fraction < 1, "between 0 and 1"),
            "balance": (0 <= self.balance <= 1, "0 to 1")})

    def open(self, partial: bool = False) -> Tuple[Dataset, Dataset]:
        """(training set, test set) of `source`.

        partial: whether one of them may be empty. OfaError if `source` is nothing that `open_dataset`
        understands.
        """
        train, test = open_dataset(str(self.source), self.max_unreadable, test_fraction=self.test_fraction,
                                   partial=partial)
        return replace(train, balance=self.balance), test
