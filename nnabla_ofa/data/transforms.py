"""Image transforms: pure functions of an image and, in training, a row of uniform random numbers.

An image is uint8 (H, W, 3), RGB. Every geometric transform is a box of the image, resized to the
size asked for in one go; the colour twist is one affine map of RGB. So a row of N_UNIFORM numbers
in [0, 1) fixes the result, whoever draws it, and whenever.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Sequence, Tuple

import cv2
import numpy as np

from ..errors import OfaError

# what the numbers of a row are for
AREA, ASPECT, LEFT, TOP, FLIP, BRIGHTNESS, CONTRAST, SATURATION = range(8)
N_UNIFORM = 8
GREY = np.array([0.299, 0.587, 0.114])  # luma of RGB, ITU-R BT.601
Box = Tuple[int, int, int, int]         # left, top, width, height in pixels


@dataclass(frozen=True)
class Augment:
    """How images are cut, coloured and normalised (a recipe's `data.augment`).

    crop          "resized": a random box of `scale` x the image's area and aspect ratio in `ratio`
                  (Szegedy et al., Going deeper with convolutions, CVPR 2015, section 6);
                  "padded": the evaluation box moved by up to `pad` pixels each way, black beyond
                  the border (He et al., Deep residual learning, CVPR 2016, section 4.2);
                  "none": the evaluation box
    flip          left to right, every other image
    brightness, contrast, saturation
                  colour twist: x draws a factor from [1 - x, 1 + x], x in [0, 1], 0 = off; contrast
                  is around the image's mean grey, saturation around each pixel's grey, so that a
                  factor of 1 changes nothing
    mean, std     of R, G, B as fractions of full scale (ImageNet's by default); images come out as
                  (x / 255 - mean) / std
    valid_resize  evaluation: the centre square of short side / valid_resize, which is resizing the
                  short side to size * valid_resize and cutting out the centre; 1 = as much as fits
    """

    crop: str = "resized"
    scale: Tuple[float, float] = (0.08, 1.0)
    ratio: Tuple[float, float] = (3 / 4, 4 / 3)
    pad: int = 4
    flip: bool = True
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    mean: Tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: Tuple[float, float, float] = (0.229, 0.224, 0.225)
    valid_resize: float = 256 / 224

    def __post_init__(self) -> None:
        for name in ("scale", "ratio", "mean", "std"):  # lists out of YAML
            object.__setattr__(self, name, tuple(getattr(self, name)))
        twist = (self.brightness, self.contrast, self.saturation)
        for name, good, allowed in (
                ("crop", self.crop in ("resized", "padded", "none"), "resized, padded or none"),
                ("scale", _is_range(self.scale) and self.scale[1] <= 1, "0 < low <= high <= 1"),
                ("ratio", _is_range(self.ratio), "0 < low <= high"),
                ("pad", self.pad == int(self.pad) and self.pad >= 0, "an integer from 0"),
                ("brightness, contrast, saturation", all(0 <= x <= 1 for x in twist), "0 to 1"),
                ("mean", _is_colour(self.mean), "three numbers from 0 to 1"),
                ("std", _is_colour(self.std) and min(self.std) > 0, "three numbers above 0, to 1"),
                ("valid_resize", self.valid_resize >= 1, "1 or more")):
            if not good:
                value = twist if "," in name else getattr(self, name)
                raise OfaError(f"data.augment.{name}: {value!r} is not {allowed}")


def augment_image(image: np.ndarray, augment: Augment, u: Sequence[float]) -> np.ndarray:
    """What training does to an image once it is cut and resized, as `u` says: same shape."""
    if augment.flip and u[FLIP] < 0.5:
        image = cv2.flip(image, 1)
    return twist_colours(image, _factor(augment.brightness, u[BRIGHTNESS]),
                         _factor(augment.contrast, u[CONTRAST]),
                         _factor(augment.saturation, u[SATURATION]))


def train_box(height: int, width: int, augment: Augment, u: Sequence[float]) -> Box:
    """The box that `u` draws from an image; only a "padded" one may reach beyond the border."""
    if augment.crop == "resized":
        return _resized_box(height, width, augment, u)
    x, y, w, h = valid_box(height, width, augment)
    if augment.crop == "padded":
        x += int(u[LEFT] * (2 * augment.pad + 1)) - augment.pad
        y += int(u[TOP] * (2 * augment.pad + 1)) - augment.pad
    return x, y, w, h


def valid_box(height: int, width: int, augment: Augment) -> Box:
    """The centre square that evaluation looks at."""
    side = max(1, round(min(height, width) / augment.valid_resize))
    return (width - side) // 2, (height - side) // 2, side, side


def _resized_box(height: int, width: int, augment: Augment, u: Sequence[float]) -> Box:
    """Area uniform in `scale`, log aspect ratio uniform in the part of `ratio` that fits the image.

    The usual code draws again, up to ten times, until a box fits; this one draws from what fits.
    """
    low, high = augment.scale
    area = (low + (high - low) * u[AREA]) * height * width
    low = max(augment.ratio[0], area / height**2)
    high = max(low, min(augment.ratio[1], width**2 / area))
    ratio = low * (high / low) ** u[ASPECT]
    w = min(width, max(1, round(math.sqrt(area * ratio))))
    h = min(height, max(1, round(math.sqrt(area / ratio))))
    return int(u[LEFT] * (width - w + 1)), int(u[TOP] * (height - h + 1)), w, h


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


def twist_colours(image: np.ndarray, brightness: float, contrast: float, saturation: float
                  ) -> np.ndarray:
    """All three factors at once: out = brightness * (contrast * S x + (1 - contrast) * mean),
    S = saturation * I + (1 - saturation) * grey. Values are clipped once, at the end.
    """
    if brightness == contrast == saturation == 1:
        return image
    mean = (1 - contrast) * brightness * (GREY @ cv2.mean(image)[:3])
    colours = contrast * brightness * (saturation * np.eye(3) + (1 - saturation) * GREY)
    return cv2.transform(image, np.column_stack([colours, [mean] * 3]))


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


def _is_range(pair: Sequence[float]) -> bool:
    return len(pair) == 2 and 0 < pair[0] <= pair[1]


def _is_colour(values: Sequence[float]) -> bool:
    return len(values) == 3 and all(0 <= v <= 1 for v in values)
