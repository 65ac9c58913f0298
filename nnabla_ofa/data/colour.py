"""Changes of colour: brightness, contrast, saturation, hue, and the operations of the policies.

Images are uint8 (H, W, 3), RGB. Each function returns a new image, or the same one if nothing changes.
"""

from __future__ import annotations

import math
from typing import Callable

import cv2
import numpy as np

GREY = np.array([0.299, 0.587, 0.114])  # RGB -> luma, by ITU-R BT.601
# RGB -> luma and the colour differences U and V, by the same standard (analogue scaling)
_YUV = np.array([GREY, 0.492 * (np.array([0, 0, 1]) - GREY), 0.877 * (np.array([1, 0, 0]) - GREY)])


def twist_colours(image: np.ndarray, brightness: float, contrast: float, saturation: float
                  ) -> np.ndarray:
    """Change brightness, contrast and saturation by one affine map, so that values are clipped only once.

    A pixel x becomes brightness * (contrast * S(x) + (1 - contrast) * mean). S(x) is
    saturation * x + (1 - saturation) * luma of x, and mean is the image's mean luma.

    Args:
        image: uint8 (H, W, 3).
        brightness: factor from 0; 1 changes nothing.
        contrast: factor from 0; 1 changes nothing.
        saturation: factor from 0; 1 changes nothing.
    """
    if brightness == contrast == saturation == 1:
        return image
    mean = (1 - contrast) * brightness * (GREY @ cv2.mean(image)[:3])
    colours = contrast * brightness * (saturation * np.eye(3) + (1 - saturation) * GREY)
    return cv2.transform(image, np.column_stack([colours, [mean] * 3]))


def turn_hue(image: np.ndarray, turns: float) -> np.ndarray:
    """Turn the colours around the grey axis, red towards yellow and green. One turn is the full circle.

    This rotates the colour differences U and V, as colour television and NVIDIA DALI's color_twist do.
    It is one affine map and keeps luma where nothing is clipped. A shift of HSV's hue changes luma and
    takes twenty times as long.
    """
    if turns == 0:
        return image
    c, s = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return cv2.transform(image, np.linalg.inv(_YUV) @ turn @ _YUV)


def sharpen(image: np.ndarray, factor: float) -> np.ndarray:
    """factor * image + (1 - factor) * smooth, as Pillow's ImageEnhance.Sharpness.

    `smooth` is the mean over 3x3 pixels, where the centre counts five times. The outermost pixels stay.
    """
    if factor == 1 or min(image.shape[:2]) < 3:
        return image
    kernel = np.full((3, 3), (1 - factor) / 13)
    kernel[1, 1] = 5 * (1 - factor) / 13 + factor
    out = cv2.filter2D(image, -1, kernel)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        out[edge] = image[edge]
    return out


def posterize(image: np.ndarray, bits: int) -> np.ndarray:
    """Keep the `bits` (1 to 8) highest bits of every value, and set the others to 0."""
    return image if bits == 8 else image & np.uint8(256 - 2 ** (8 - bits))


def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    """Invert the values from `threshold` (0 to 256) on."""
    values = np.arange(256)
    return cv2.LUT(image, np.where(values < threshold, values, 255 - values).astype(np.uint8))


def invert(image: np.ndarray) -> np.ndarray:
    """Invert every value: 255 - image."""
    return cv2.bitwise_not(image)


def autocontrast(image: np.ndarray) -> np.ndarray:
    """Stretch each channel so that its values reach from 0 to 255."""
    def table(counts: np.ndarray) -> np.ndarray:
        present = np.flatnonzero(counts)
        low, high = present[0], present[-1]
        if low == high:
            return np.arange(256)
        scale = 255 / (high - low)
        return np.clip(np.arange(256) * scale - low * scale, 0, 255)

    return _by_histogram(image, table)


def equalize(image: np.ndarray) -> np.ndarray:
    """Make each channel's values equally frequent, as near as a table can (Pillow's ImageOps.equalize)."""
    def table(counts: np.ndarray) -> np.ndarray:
        step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
        if step == 0:
            return np.arange(256)
        below = np.cumsum(counts) - counts
        return np.minimum((step // 2 + below) // step, 255)

    return _by_histogram(image, table)


def _by_histogram(image: np.ndarray, table: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Replace each channel's values by a table of 256 values, of which fractions are cut off.

    table: makes the table from the channel's histogram, int64 (256,).
    """
    counts = [cv2.calcHist([image], [c], None, [256], [0, 256])[:, 0] for c in range(3)]
    tables = np.stack([table(c.astype(np.int64)) for c in counts], axis=1)
    return cv2.LUT(image, tables.astype(np.uint8)[None])
