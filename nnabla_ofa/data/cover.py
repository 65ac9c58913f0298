"""Covering a part of an image: Cutout and random erasing. Both return a new image."""

from __future__ import annotations

from typing import Sequence, Tuple

import numpy as np

from .boxes import centred_box, random_box


def cutout(image: np.ndarray, fraction: float, fill: Tuple[int, int, int], u: Sequence[float]
           ) -> np.ndarray:
    """A square of `fraction` x the shorter side in the colour `fill`, its centre anywhere, so that
    it may reach beyond the border; two numbers `u` in [0, 1).
    """
    height, width = image.shape[:2]
    side = round(fraction * min(height, width))
    return _covered(image, centred_box(height, width, side, side, u), fill)


def erase(image: np.ndarray, probability: float, scale: Tuple[float, float],
          ratio: Tuple[float, float], u: Sequence[float]) -> np.ndarray:
    """With `probability`, a box within the image becomes noise, every value from 0 to 255 alike.

    u: six numbers in [0, 1): whether, four for the box (boxes.random_box), the noise. The aspect
    ratio is uniform in its logarithm, so that tall and wide are alike; in the paper it is not.
    """
    if u[0] >= probability:
        return image
    box = random_box(*image.shape[:2], scale, ratio, u[1:5])
    noise = seeded(u[5]).integers(0, 256, (box[3], box[2], 3), dtype=np.uint8)
    return _covered(image, box, noise)


def seeded(u: float) -> np.random.Generator:
    """A generator whose seed is a uniform number: for what takes more numbers than one can tell."""
    return np.random.Generator(np.random.PCG64(int(u * 2**53)))


def _covered(image: np.ndarray, box, cover) -> np.ndarray:
    x, y, w, h = box
    image = image.copy()  # it may be the data set's own
    image[y:y + h, x:x + w] = cover
    return image
