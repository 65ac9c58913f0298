"""Mixup and CutMix: each image of a batch is mixed with another one, and so are their labels."""

from __future__ import annotations

import math
from typing import Sequence, Tuple

import cv2
import numpy as np

from .augment import Augment
from .boxes import centred_box
from .cover import seeded

MIX_UNIFORMS = 5  # whether to mix, by which of the two, how much, and the box's place from left and top


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Targets float32 (N, classes): 1 at each image's label, else 0."""
    targets = np.zeros((len(labels), classes), np.float32)
    targets[np.arange(len(labels)), labels] = 1
    return targets


def mix(images: np.ndarray, targets: np.ndarray, augment: Augment, u: Sequence[float]
        ) -> Tuple[np.ndarray, np.ndarray]:
    """Mix each image of a batch with the one before it, and the first one with the last.

    An epoch's order is random already, so the pairs are. One draw serves the whole batch, as in the code
    of both papers: Zhang et al., mixup, ICLR 2018; Yun et al., CutMix, ICCV 2019.

    Args:
        images: uint8 (N, H, W, 3); they stay as they are.
        targets: float32 (N, classes), each row of sum 1.
        augment: the settings. Its `mixup`, `cutmix` and `mix_probability` are used.
        u: MIX_UNIFORMS numbers in [0, 1).

    Returns:
        (images, targets), mixed, or the same ones if `u` says that this batch is not mixed.
    """
    if u[0] >= augment.mix_probability:
        return images, targets
    cutmix_turn = augment.cutmix > 0 and (augment.mixup == 0 or u[1] < 0.5)
    alpha = augment.cutmix if cutmix_turn else augment.mixup
    share = float(seeded(u[2]).beta(alpha, alpha))  # how much of itself an image keeps
    if cutmix_turn:
        images, share = cutmix(images, share, u[3:5])
    else:
        images = mixup(images, share)
    keep = np.float32(share)
    return images, keep * targets + (1 - keep) * np.roll(targets, 1, axis=0)


def mixup(images: np.ndarray, share: float) -> np.ndarray:
    """Each image becomes share * itself + (1 - share) * the one before it, rounded."""
    rows = images.reshape(len(images), -1)
    mixed = cv2.addWeighted(rows, share, np.roll(rows, 1, axis=0), 1 - share, 0)
    return mixed.reshape(images.shape)


def cutmix(images: np.ndarray, share: float, u: Sequence[float]) -> Tuple[np.ndarray, float]:
    """Put a box of each image into the next one, at the same place.

    Args:
        images: uint8 (N, H, W, 3); they stay as they are.
        share: 1 - the box's area, as a fraction of the image's. The box has the image's proportions.
        u: two numbers in [0, 1), for the place of the box's centre from left and top. What reaches beyond
            the border is cut off (`boxes.centred_box`).

    Returns:
        (images, how much of itself an image keeps). That is more than `share` where the box is cut off.
    """
    height, width = images.shape[1:3]
    side = math.sqrt(1 - share)
    x, y, w, h = centred_box(height, width, int(side * height), int(side * width), u)
    mixed = images.copy()
    mixed[:, y:y + h, x:x + w] = np.roll(images[:, y:y + h, x:x + w], 1, axis=0)
    return mixed, 1 - w * h / (height * width)
