"""Augmentations that cover a part of an image: Cutout and random erasing."""

from __future__ import annotations

from typing import Sequence, Tuple, Union

import numpy as np

from .boxes import Box, centred_box, random_box


def cutout(image: np.ndarray, fraction: float, fill: Tuple[int, int, int], u: Sequence[float]
           ) -> np.ndarray:
    """Cover a square whose centre is anywhere in the image. It may reach beyond the border.

    Args:
        image: uint8 (H, W, 3); it stays as it is.
        fraction: the square's side as a fraction of the image's shorter side, from 0 to 1.
        fill: the colour that covers, R, G and B from 0 to 255.
        u: two numbers in [0, 1), for the centre's place from left and top.

    Returns:
        A new image.

    DeVries & Taylor, Improved regularization of convolutional neural networks with Cutout, 2017.
    """
    height, width = image.shape[:2]
    side = round(fraction * min(height, width))
    return _covered(image, centred_box(height, width, side, side, u), fill)


def erase(image: np.ndarray, probability: float, scale: Tuple[float, float],
          ratio: Tuple[float, float], u: Sequence[float]) -> np.ndarray:
    """Turn a random box of the image into noise, uniform from 0 to 255.

    The logarithm of the box's aspect ratio is uniform, so that tall and wide boxes are alike. In the
    paper the ratio itself is uniform.

    Args:
        image: uint8 (H, W, 3); it stays as it is.
        probability: that there is a box at all.
        scale: the range of the box's area, as a fraction of the image's.
        ratio: the range of the box's width / height.
        u: six numbers in [0, 1): one for whether there is a box, four for the box
            (`boxes.random_box`), one that seeds the noise.

    Returns:
        A new image, or the same one if there is no box.

    Zhong et al., Random erasing data augmentation, AAAI 2020.
    """
    if u[0] >= probability:
        return image
    height, width = image.shape[:2]
    box = random_box(height, width, scale, ratio, u[1:5])
    noise = seeded(u[5]).integers(0, 256, (box[3], box[2], 3), dtype=np.uint8)
    return _covered(image, box, noise)


def seeded(u: float) -> np.random.Generator:
    """A generator that a uniform number in [0, 1) seeds, for whatever needs many random numbers."""
    return np.random.Generator(np.random.PCG64(int(u * 2**53)))


def _covered(image: np.ndarray, box: Box, cover: Union[np.ndarray, Tuple[int, int, int]]) -> np.ndarray:
    x, y, w, h = box
    image = image.copy()  # it may be the data set's own
    image[y:y + h, x:x + w] = cover
    return image
