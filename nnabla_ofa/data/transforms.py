"""Image transforms: pure functions of an image and, in training, a row of uniform random numbers.

An image is uint8 (H, W, 3), RGB. A row of numbers in [0, 1) fixes what training sees of it, whoever
draws them, and whenever: first the N_UNIFORM numbers of crop, flip and colour twist, of which the
crop is a box of the image, resized to the size asked for in one go; then those of the further
augmentations that are on (`further`), which work on the image as cut.
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

# what the first numbers of a row are for
AREA, ASPECT, LEFT, TOP, FLIP, BRIGHTNESS, CONTRAST, SATURATION = range(8)
N_UNIFORM = 8


@dataclass(frozen=True)
class Further:
    """An augmentation of the cut image: apply(image, its own `uniforms` numbers) -> image.

    name: also that of its numbers' stream, so that it draws the same whatever else is on.
    """

    name: str
    uniforms: int
    apply: Callable[[np.ndarray, Sequence[float]], np.ndarray]


@lru_cache(maxsize=None)
def further(augment: Augment) -> Tuple[Further, ...]:
    """The further augmentations that are on, in the order in which they are applied."""
    a, fill = augment, augment.mean_colour()
    possible = (
        (a.hue > 0, "hue", 1, lambda i, u: turn_hue(i, a.hue * (2 * u[0] - 1))),
        (a.policy.startswith("auto"), "autoaugment", 5, lambda i, u: autoaugment(i, a.policy, fill, u)),
        (a.policy == "randaugment", "randaugment", 2 * a.rand_operations,
         lambda i, u: randaugment(i, a.rand_magnitude, fill, u)),
        (a.cutout > 0, "cutout", 2, lambda i, u: cutout(i, a.cutout, fill, u)),
        (a.erasing > 0, "erasing", 6,
         lambda i, u: erase(i, a.erasing, a.erasing_scale, a.erasing_ratio, u)))
    return tuple(Further(*rest) for on, *rest in possible if on)


def row_length(augment: Augment) -> int:
    """How many numbers the row of an image has."""
    return N_UNIFORM + sum(f.uniforms for f in further(augment))


def augment_image(image: np.ndarray, augment: Augment, u: Sequence[float]) -> np.ndarray:
    """What training does to an image once it is cut and resized, as the row `u` of
    `row_length(augment)` numbers says: same shape."""
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


def normalise(images: np.ndarray, augment: Augment) -> np.ndarray:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), contiguous: (x / 255 - mean) / std."""
    scale = np.float32(1 / 255) / np.float32(augment.std)
    shift = np.float32(augment.mean) / np.float32(augment.std)
    out = np.empty((images.shape[0], 3) + images.shape[1:3], np.float32)
    for image, planes in zip(images, out):  # a plane at a time stays in the cache
        for c, plane in enumerate(cv2.split(image)):
            np.multiply(plane, scale[c], out=planes[c])
            planes[c] -= shift[c]
    return out


def _factor(jitter: float, u: float) -> float:
    return 1 + jitter * (2 * u - 1)
