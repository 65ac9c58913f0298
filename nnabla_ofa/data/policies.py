"""AutoAugment and RandAugment: which operations change an image, how strongly and how often.

An operation takes a strength from 0, which changes nothing, to 1, the end of its range in table 6 of
Cubuk et al., AutoAugment, CVPR 2019 (arXiv:1805.09501). Operations that can go either way, such as
rotation, go the other way if the strength is negative; the others ignore the sign. Identity,
AutoContrast, Equalize and Invert ignore the strength.
"""

from __future__ import annotations

import math
from typing import Callable, Dict, Sequence, Tuple

import cv2
import numpy as np

from . import colour

Colour = Tuple[int, int, int]  # R, G, B: what stands for pixels beyond the border
# Where the ranges end, which is strength 1
SHEAR = 0.3        # pixels across for each pixel along
SHIFT = 150 / 331  # of the image's side
ANGLE = 30         # degrees
FACTOR = 0.9       # of colour, contrast, brightness and sharpness: how far from 1
BITS = 4           # of 8 that Posterize drops


def affine(image: np.ndarray, matrix: Sequence[Sequence[float]], fill: Colour) -> np.ndarray:
    """Each pixel of the result is the nearest one to where an affine map leads.

    Args:
        image: uint8 (H, W, 3).
        matrix: 2x3. It takes (x, y, 1) of the result to (x, y) of the image, in pixels from the upper
            left corner; the first pixel's centre is at (0.5, 0.5).
        fill: the colour of pixels that come from beyond the border.
    """
    places = np.array(matrix, float)
    places[:, 2] += places[:, :2] @ [0.5, 0.5] - 0.5  # OpenCV's centres are at whole numbers
    height, width = image.shape[:2]
    return cv2.warpAffine(image, places, (width, height), borderValue=fill,
                          flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)


def rotate(image: np.ndarray, degrees: float, fill: Colour) -> np.ndarray:
    """Turn the image around its centre.

    Args:
        image: uint8 (H, W, 3).
        degrees: the angle, counter-clockwise.
        fill: the colour of pixels that come from beyond the border.
    """
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    y, x = np.array(image.shape[:2]) / 2
    return affine(image, [[c, -s, x - c * x + s * y], [s, c, y - s * x - c * y]], fill)


# name -> function(image, strength, fill)
OPERATIONS: Dict[str, Callable[[np.ndarray, float, Colour], np.ndarray]] = {
    "Identity": lambda i, x, fill: i,
    "ShearX": lambda i, x, fill: affine(i, [[1, SHEAR * x, 0], [0, 1, 0]], fill),
    "ShearY": lambda i, x, fill: affine(i, [[1, 0, 0], [SHEAR * x, 1, 0]], fill),
    "TranslateX": lambda i, x, fill: affine(i, [[1, 0, SHIFT * x * i.shape[1]], [0, 1, 0]], fill),
    "TranslateY": lambda i, x, fill: affine(i, [[1, 0, 0], [0, 1, SHIFT * x * i.shape[0]]], fill),
    "Rotate": lambda i, x, fill: rotate(i, ANGLE * x, fill),
    "AutoContrast": lambda i, x, fill: colour.autocontrast(i),
    "Invert": lambda i, x, fill: colour.invert(i),
    "Equalize": lambda i, x, fill: colour.equalize(i),
    "Solarize": lambda i, x, fill: colour.solarize(i, 256 * (1 - abs(x))),
    "Posterize": lambda i, x, fill: colour.posterize(i, 8 - round(BITS * abs(x))),
    "Contrast": lambda i, x, fill: colour.twist_colours(i, 1, 1 + FACTOR * x, 1),
    "Color": lambda i, x, fill: colour.twist_colours(i, 1, 1, 1 + FACTOR * x),
    "Brightness": lambda i, x, fill: colour.twist_colours(i, 1 + FACTOR * x, 1, 1),
    "Sharpness": lambda i, x, fill: colour.sharpen(i, 1 + FACTOR * x),
}
RANDAUGMENT = tuple(name for name in OPERATIONS if name != "Invert")  # Cubuk et al., 2020, section 3
SubPolicy = Tuple[Tuple[str, float, int], Tuple[str, float, int]]  # operation, probability, magnitude


def _table(text: str) -> Tuple[SubPolicy, ...]:
    def step(words: str) -> Tuple[str, float, int]:
        name, probability, magnitude = words.split()
        return name, float(probability), int(magnitude)

    lines = (line.split(",") for line in text.strip().splitlines())
    return tuple((step(first), step(second)) for first, second in lines)


# The policies in the appendix of Cubuk et al., 2019. A line is a sub-policy: two operations, each with its
# probability and its magnitude, from 0 to 9.
AUTOAUGMENT = {
    "autoaugment-cifar10": _table("""
        Invert 0.1 7, Contrast 0.2 6
        Rotate 0.7 2, TranslateX 0.3 9
        Sharpness 0.8 1, Sharpness 0.9 3
        ShearY 0.5 8, TranslateY 0.7 9
        AutoContrast 0.5 8, Equalize 0.9 2
        ShearY 0.2 7, Posterize 0.3 7
        Color 0.4 3, Brightness 0.6 7
        Sharpness 0.3 9, Brightness 0.7 9
        Equalize 0.6 5, Equalize 0.5 1
        Contrast 0.6 7, Sharpness 0.6 5
        Color 0.7 7, TranslateX 0.5 8
        Equalize 0.3 7, AutoContrast 0.4 8
        TranslateY 0.4 3, Sharpness 0.2 6
        Brightness 0.9 6, Color 0.2 8
        Solarize 0.5 2, Invert 0.0 3
        Equalize 0.2 0, AutoContrast 0.6 0
        Equalize 0.2 8, Equalize 0.6 4
        Color 0.9 9, Equalize 0.6 6
        AutoContrast 0.8 4, Solarize 0.2 8
        Brightness 0.1 3, Color 0.7 0
        Solarize 0.4 5, AutoContrast 0.9 3
        TranslateY 0.9 9, TranslateY 0.7 9
        AutoContrast 0.9 2, Solarize 0.8 3
        Equalize 0.8 8, Invert 0.1 3
        TranslateY 0.7 9, AutoContrast 0.9 1"""),
    "autoaugment-imagenet": _table("""
        Posterize 0.4 8, Rotate 0.6 9
        Solarize 0.6 5, AutoContrast 0.6 5
        Equalize 0.8 8, Equalize 0.6 3
        Posterize 0.6 7, Posterize 0.6 6
        Equalize 0.4 7, Solarize 0.2 4
        Equalize 0.4 4, Rotate 0.8 8
        Solarize 0.6 3, Equalize 0.6 7
        Posterize 0.8 5, Equalize 1.0 2
        Rotate 0.2 3, Solarize 0.6 8
        Equalize 0.6 8, Posterize 0.4 6
        Rotate 0.8 8, Color 0.4 0
        Rotate 0.4 9, Equalize 0.6 2
        Equalize 0.0 7, Equalize 0.8 8
        Invert 0.6 4, Equalize 1.0 8
        Color 0.6 4, Contrast 1.0 8
        Rotate 0.8 8, Color 1.0 2
        Color 0.8 8, Solarize 0.8 7
        Sharpness 0.4 7, Invert 0.6 8
        ShearX 0.6 5, Equalize 1.0 9
        Color 0.4 0, Equalize 0.6 3
        Equalize 0.4 7, Solarize 0.2 4
        Solarize 0.6 5, AutoContrast 0.6 5
        Invert 0.6 4, Equalize 1.0 8
        Color 0.6 4, Contrast 1.0 8
        Equalize 0.8 8, Equalize 0.6 3"""),
}
POLICIES = (*AUTOAUGMENT, "randaugment")


def autoaugment(image: np.ndarray, name: str, fill: Colour, u: Sequence[float]) -> np.ndarray:
    """Apply a random sub-policy: both of its operations, each with its own probability.

    Args:
        image: uint8 (H, W, 3).
        name: the policy, a key of AUTOAUGMENT.
        fill: the colour of pixels that come from beyond the border.
        u: five numbers in [0, 1): one for the sub-policy, then two for each operation, whether it is
            applied and which way it goes.
    """
    policy = AUTOAUGMENT[name]
    chosen = policy[int(u[0] * len(policy))]
    for (operation, probability, magnitude), whether, way in zip(chosen, u[1::2], u[2::2]):
        if whether < probability:
            image = OPERATIONS[operation](image, _signed(magnitude / 9, way), fill)
    return image


def randaugment(image: np.ndarray, magnitude: float, fill: Colour, u: Sequence[float]) -> np.ndarray:
    """Apply random operations, each drawn from all of RANDAUGMENT at even chances.

    Args:
        image: uint8 (H, W, 3).
        magnitude: the strength of every operation, from 0 to 10.
        fill: the colour of pixels that come from beyond the border.
        u: two numbers in [0, 1) for each operation: which one it is, and which way it goes. Their
            count says how many operations there are.
    """
    for which, way in zip(u[::2], u[1::2]):
        operation = RANDAUGMENT[int(which * len(RANDAUGMENT))]
        image = OPERATIONS[operation](image, _signed(magnitude / 10, way), fill)
    return image


def _signed(strength: float, way: float) -> float:
    return strength if way < 0.5 else -strength
