"""Boxes: which part of an image training and evaluation see, and cropping and resizing it.

No function draws a random number: each takes uniform numbers `u` in [0, 1) from its caller.
"""

from __future__ import annotations

import math
from typing import Sequence, Tuple

import cv2
import numpy as np

from .augment import Augment

Box = Tuple[int, int, int, int]  # left, top, width, height in pixels


def train_box(height: int, width: int, augment: Augment, u: Sequence[float]) -> Box:
    """The box that training sees of an image.

    Args:
        height: the image's height, in pixels.
        width: the image's width, in pixels.
        augment: the settings. Its `crop`, `scale`, `ratio`, `pad` and `valid_resize` are used.
        u: four numbers in [0, 1), which choose area, aspect ratio, left and top. More are ignored.

    Returns:
        The box. With crop "padded" it may reach beyond the image's border.
    """
    if augment.crop == "resized":
        return random_box(height, width, augment.scale, augment.ratio, u)
    x, y, w, h = valid_box(height, width, augment)
    if augment.crop == "padded":
        x += int(u[2] * (2 * augment.pad + 1)) - augment.pad
        y += int(u[3] * (2 * augment.pad + 1)) - augment.pad
    return x, y, w, h


def valid_box(height: int, width: int, augment: Augment) -> Box:
    """The centre square that evaluation sees of an image.

    Args:
        height: the image's height, in pixels.
        width: the image's width, in pixels.
        augment: the settings. Its `valid_resize` is used.
    """
    side = max(1, round(min(height, width) / augment.valid_resize))
    return (width - side) // 2, (height - side) // 2, side, side


def random_box(height: int, width: int, scale: Tuple[float, float], ratio: Tuple[float, float],
               u: Sequence[float]) -> Box:
    """A box of random area, aspect ratio and place within an image.

    The area is uniform, the logarithm of the aspect ratio is uniform over what fits into the image, and
    the place is uniform. (The usual code draws area and ratio again, up to ten times, until they fit.)

    Args:
        height: the image's height, in pixels.
        width: the image's width, in pixels.
        scale: the range of the box's area, as a fraction of the image's.
        ratio: the range of the box's width / height.
        u: four numbers in [0, 1), which choose area, aspect ratio, left and top. More are ignored.
    """
    low, high = scale
    area = (low + (high - low) * u[0]) * height * width
    low = max(ratio[0], area / height**2)
    high = max(low, min(ratio[1], width**2 / area))
    aspect = low * (high / low) ** u[1]
    w = min(width, max(1, round(math.sqrt(area * aspect))))
    h = min(height, max(1, round(math.sqrt(area / aspect))))
    return int(u[2] * (width - w + 1)), int(u[3] * (height - h + 1)), w, h


def centred_box(height: int, width: int, h: int, w: int, u: Sequence[float]) -> Box:
    """A box whose centre is anywhere in an image, without what reaches beyond the border.

    Args:
        height: the image's height, in pixels.
        width: the image's width, in pixels.
        h: the whole box's height, in pixels.
        w: the whole box's width, in pixels.
        u: two numbers in [0, 1), the centre's distance from the left and from the top border, as
            fractions of the image's width and height.
    """
    left, top = int(u[0] * width) - w // 2, int(u[1] * height) - h // 2
    x, y = max(left, 0), max(top, 0)
    return x, y, min(left + w, width) - x, min(top + h, height) - y


def cut(image: np.ndarray, box: Box) -> np.ndarray:
    """The pixels of `image` within `box`, uint8 (h, w, 3). Beyond the image's border they are black."""
    x, y, w, h = box
    height, width = image.shape[:2]
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    inside = image[top:bottom, left:right]
    if inside.shape[:2] == (h, w):
        return inside
    black = np.zeros((h, w, 3), np.uint8)
    if left < right and top < bottom:
        black[top - y:bottom - y, left - x:right - x] = inside
    return black


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """`image` resized to (size, size, 3).

    The filter is bilinear while the image shrinks by less than a factor of 2, when every pixel still
    counts. Beyond that it is the mean over areas.
    """
    height, width = image.shape[:2]
    if height == width == size:
        return image
    method = cv2.INTER_LINEAR if max(height, width) < 2 * size else cv2.INTER_AREA
    return cv2.resize(image, (size, size), interpolation=method)
