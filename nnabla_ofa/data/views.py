"""What a batch looks at: for each image a box of it, in pixels of the size asked for.

A back end is what turns views of files into pixels; images in memory need none.
"""

from __future__ import annotations

from functools import partial
from typing import Callable, Iterable, Iterator, NamedTuple, Sequence

import numpy as np

from .augment import Augment
from .boxes import Box, cut, resize, train_box, valid_box
from .datasets import Dataset
from .transforms import augment_image


class View(NamedTuple):
    """A box of an image file.

    box:       (height, width) of the image as it is decoded -> the box in its pixels
    reducible: whether the image may be decoded at 1/2, 1/4 or 1/8 of its size
    """

    path: str
    box: Callable[[int, int], Box]
    reducible: bool = True

    def reduction(self, height: int, width: int, size: int) -> int:
        """The largest of 1, 2, 4, 8 by which the image may shrink and still fill size x size."""
        side = min(self.box(height, width)[2:]) if self.reducible else 0
        return next((r for r in (8, 4, 2) if side >= r * size), 1)


Backend = Callable[[Sequence[View], int], Iterable[np.ndarray]]  # each uint8 (size, size, 3), RGB


def train_images(dataset: Dataset, indices: Sequence[int], size: int, augment: Augment,
                 rows: Sequence[Sequence[float]], backend: Backend) -> Iterator[np.ndarray]:
    """The images at `indices`, augmented as their rows of `row_length(augment)` numbers say."""
    boxes = [partial(train_box, augment=augment, u=u) for u in rows]
    # `pad` counts pixels of the image as it is stored
    images = _look(dataset, indices, boxes, size, augment.crop != "padded", backend)
    return (augment_image(image, augment, u) for image, u in zip(images, rows))


def valid_images(dataset: Dataset, indices: Sequence[int], size: int, augment: Augment,
                 backend: Backend) -> Iterable[np.ndarray]:
    """The images at `indices` as evaluation sees them, each uint8 (size, size, 3)."""
    boxes = [partial(valid_box, augment=augment)] * len(indices)
    return _look(dataset, indices, boxes, size, True, backend)


def _look(dataset: Dataset, indices: Sequence[int], boxes: Sequence[Callable], size: int,
          reducible: bool, backend: Backend) -> Iterable[np.ndarray]:
    if dataset.images is None:
        return backend([View(dataset.paths[i], box, reducible)
                        for i, box in zip(indices, boxes)], size)
    images = (dataset.images[i] for i in indices)
    return (resize(cut(image, box(*image.shape[:2])), size) for image, box in zip(images, boxes))
