"""Augmentation of one image as a pure function of the image and a row of random numbers.

An image is uint8 (H, W, 3), RGB. A row holds uniform numbers in [0, 1), which decide everything that is
random about an image. Its first N_UNIFORM numbers are for crop, flip and colour twist. The crop comes
before this file: it is a box of the stored image (boxes.py), resized at once. Then come the numbers of
the further augmentations that are on (`further`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Callable, Sequence, Tuple

import cv2
import numpy as np

from .augment import Augment
from .colour import turn_hue, twist_colours
from .cover import cutout, erase
from .policies import autoaugment, randaugment

# Places in a row, and what the numbers there are for
AREA, ASPECT, LEFT, TOP, FLIP, BRIGHTNESS, CONTRAST, SATURATION = range(8)
N_UNIFORM = 8


@dataclass(frozen=True)
class Further:
    """An augmentation that follows crop, flip and colour twist.

    Attributes:
        name: the name of the augmentation, and of a stream of random numbers. Each augmentation has
            its own stream, so that it draws the same numbers whatever else is on.
        uniforms: the number of random numbers that it takes for an image.
        apply: a function of an image and its `uniforms` numbers that returns an image of the same shape.
    """

    name: str
    uniforms: int
    apply: Callable[[np.ndarray, Sequence[float]], np.ndarray]


@lru_cache(maxsize=None)
def further(augment: Augment) -> Tuple[Further, ...]:
    """The further augmentations that are on, in the order in which they are applied."""
    a, fill = augment, augment.mean_colour()
    possible = (
        (a.hue > 0, Further("hue", 1, lambda i, u: turn_hue(i, a.hue * (2 * u[0] - 1)))),
        (a.policy.startswith("auto"), Further(
            "autoaugment", 5, lambda i, u: autoaugment(i, a.policy, fill, u))),
        (a.policy == "randaugment", Further(
            "randaugment", 2 * a.rand_operations, lambda i, u: randaugment(i, a.rand_magnitude, fill, u))),
        (a.cutout > 0, Further("cutout", 2, lambda i, u: cutout(i, a.cutout, fill, u))),
        (a.erasing > 0, Further(
            "erasing", 6, lambda i, u: erase(i, a.erasing, a.erasing_scale, a.erasing_ratio, u))))
    return tuple(one for on, one in possible if on)


def row_length(augment: Augment) -> int:
    """How many numbers an image's row has."""
    return N_UNIFORM + sum(f.uniforms for f in further(augment))


def augment_image(image: np.ndarray, augment: Augment, u: Sequence[float]) -> np.ndarray:
    """What training does to an image once it is cropped and resized.

    Args:
        image: uint8 (H, W, 3); it stays as it is.
        augment: the settings.
        u: the image's row of `row_length(augment)` numbers in [0, 1).

    Returns:
        An image of the same shape, maybe the same one.
    """
    if augment.flip and u[FLIP] < 0.5:
        image = cv2.flip(image, 1)
    image = twist_colours(image, _factor(augment.brightness, u[BRIGHTNESS]),
                          _factor(augment.contrast, u[CONTRAST]),
                          _factor(augment.saturation, u[SATURATION]))
    start = N_UNIFORM
    for one in further(augment):
        image = one.apply(image, u[start:start + one.uniforms])
        start += one.uniforms
    return image


IN_CACHE = 1 << 15  # pixels that are normalised at a time


def normalise(images: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """What a network takes: (x / 255 - mean) / std of every value, and channels before rows.

    Training, evaluation and `Network.logits` all call this function, so that an image enters a network
    with the same bits everywhere.

    Args:
        images: uint8 (N, H, W, 3), RGB.
        mean: the mean of R, G and B, as fractions of 255.
        std: the standard deviation of R, G and B, as fractions of 255, above 0.

    Returns:
        float32 (N, 3, H, W), contiguous.
    """
    spread = np.array(std, np.float32).reshape(3)
    scale = np.float32(1 / 255) / spread
    shift = np.array(mean, np.float32).reshape(3) / spread
    out = np.empty((images.shape[0], 3) + images.shape[1:3], np.float32)
    height, width = images.shape[1:3]
    step = max(IN_CACHE // max(height * width, 1), 1)
    for first in range(0, len(images), step):
        planes = out[first:first + step]
        for c, plane in enumerate(cv2.split(images[first:first + step].reshape(-1, width, 3))):
            np.multiply(plane.reshape(-1, height, width), scale[c], out=planes[:, c])
            planes[:, c] -= shift[c]
    return out


def _factor(jitter: float, u: float) -> float:
    """A factor from [1 - jitter, 1 + jitter], as the number `u` in [0, 1) says."""
    return 1 + jitter * (2 * u - 1)
