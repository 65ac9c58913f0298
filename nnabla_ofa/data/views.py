"""From image numbers to pixels: crop and resize images as training or as evaluation sees them.

Images in files go through a back end, which turns views (a file and a box of it) into pixels. Images in
memory are cropped and resized here, under every back end alike.
"""

from __future__ import annotations

from functools import partial
from typing import Callable, Iterable, Iterator, NamedTuple, Sequence

import numpy as np

from .augment import Augment
from .boxes import Box, cut, resize, train_box, valid_box
from .datasets import Dataset, Indices
from .transforms import augment_image

Chooser = Callable[[int, int], Box]  # (height, width) of an image -> a box of it


class View(NamedTuple):
    """An image file and the box of it that is seen.

    Attributes:
        path: the file.
        box: a function of (height, width) of the image as it is decoded; the box in pixels of that.
        reducible: whether the image may be decoded at 1/2, 1/4 or 1/8 of its size.
    """

    path: str
    box: Chooser
    reducible: bool = True

    def reduction(self, height: int, width: int, size: int) -> int:
        """By how much to divide the image's size when it is decoded.

        Args:
            height: the whole image's height, in pixels.
            width: the whole image's width, in pixels.
            size: the size that the box is resized to, in pixels a side.

        Returns:
            The largest of 1, 2, 4 and 8 by which the box shrinks to no less than `size`.
        """
        side = min(self.box(height, width)[2:]) if self.reducible else 0
        return next((r for r in (8, 4, 2) if side >= r * size), 1)


# A function of views and a size that returns the pixels of each view: uint8 (size, size, 3), RGB
Backend = Callable[[Sequence[View], int], Iterable[np.ndarray]]


def train_images(dataset: Dataset, indices: Indices, size: int, augment: Augment,
                 rows: Sequence[Sequence[float]], backend: Backend) -> Iterator[np.ndarray]:
    """Images as training sees them, but not mixed.

    Args:
        dataset: the images.
        indices: the images to take, in this order.
        size: the size of the result, in pixels a side.
        augment: the settings of augmentation.
        rows: for each image, `row_length(augment)` numbers in [0, 1) (see transforms.py).
        backend: the function that decodes files (`backends.open_backend`).

    Returns:
        An iterator over the images, uint8 (size, size, 3), RGB.

    Raises:
        UnreadableImage: as the iteration reaches a file that cannot be read.
    """
    boxes = [partial(train_box, augment=augment, u=u) for u in rows]
    # not reducible if "padded": `pad` counts pixels of the image as it is stored
    images = _look(dataset, indices, boxes, size, augment.crop != "padded", backend)
    return (augment_image(image, augment, u) for image, u in zip(images, rows))


def valid_images(dataset: Dataset, indices: Indices, size: int, augment: Augment,
                 backend: Backend) -> Iterable[np.ndarray]:
    """Images as evaluation sees them.

    Args:
        dataset: the images.
        indices: the images to take, in this order.
        size: the size of the result, in pixels a side.
        augment: the settings. Its `valid_resize` is used.
        backend: the function that decodes files (`backends.open_backend`).

    Returns:
        The images, uint8 (size, size, 3), RGB.

    Raises:
        UnreadableImage: as the iteration reaches a file that cannot be read.
    """
    boxes = [partial(valid_box, augment=augment)] * len(indices)
    return _look(dataset, indices, boxes, size, True, backend)


def _look(dataset: Dataset, indices: Indices, boxes: Sequence[Chooser], size: int, reducible: bool,
          backend: Backend) -> Iterable[np.ndarray]:
    """The part of each image that its own one of `boxes` chooses, resized."""
    if dataset.images is None:
        return backend([View(dataset.paths[i], box, reducible)
                        for i, box in zip(indices, boxes)], size)
    images = (dataset.images[i] for i in indices)
    return (resize(cut(image, box(*image.shape[:2])), size) for image, box in zip(images, boxes))
