"""Boxes of an image: where training and evaluation look, and cutting them out."""

from __future__ import annotations

import math
from typing import Sequence, Tuple

import cv2
import numpy as np

from .augment import Augment

Box = Tuple[int, int, int, int]  # left, top, width, height in pixels


def train_box(height: int, width: int, augment: Augment, u: Sequence[float]) -> Box:
    """The box that `u` draws from an image, by its first four numbers in [0, 1): area, aspect ratio,
    left, top. Only a "padded" one may reach beyond the border.
    """
    if augment.crop == "resized":
        return random_box(height, width, augment.scale, augment.ratio, u)
    x, y, w, h = valid_box(height, width, augment)
    if augment.crop == "padded":
        x += int(u[2] * (2 * augment.pad + 1)) - augment.pad
        y += int(u[3] * (2 * augment.pad + 1)) - augment.pad
    return x, y, w, h


def valid_box(height: int, width: int, augment: Augment) -> Box:
    """The centre square that evaluation looks at."""
    side = max(1, round(min(height, width) / augment.valid_resize))
    return (width - side) // 2, (height - side) // 2, side, side


def random_box(height: int, width: int, scale: Tuple[float, float], ratio: Tuple[float, float],
               u: Sequence[float]) -> Box:
    """Area uniform in `scale` x the image's, log aspect ratio uniform in the part of `ratio` that
    fits, place uniform; `u` as for `train_box`.

    The usual code draws again, up to ten times, until a box fits; this one draws from what fits.
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
    """The part within the image of a box of h x w pixels, its centre anywhere in the image; the
    two numbers `u` in [0, 1) are the centre's place from left and top.
    """
    left, top = int(u[0] * width) - w // 2, int(u[1] * height) - h // 2
    x, y = max(left, 0), max(top, 0)
    return x, y, min(left + w, width) - x, min(top + h, height) - y


def cut(image: np.ndarray, box: Box) -> np.ndarray:
    """The pixels in `box`, black where it reaches beyond the border: (height, width, 3)."""
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
    """To (size, size, 3): bilinear, which skips no pixel below a factor of 2; else area means."""
    height, width = image.shape[:2]
    if height == width == size:
        return image
    method = cv2.INTER_LINEAR if max(height, width) < 2 * size else cv2.INTER_AREA
    return cv2.resize(image, (size, size), interpolation=method)
