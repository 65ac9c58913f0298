"""Mixup and CutMix: the images of a batch, and their labels, mixed in pairs."""

from __future__ import annotations

import math
from typing import Sequence, Tuple

import cv2
import numpy as np

from .augment import Augment
from .boxes import centred_box
from .cover import seeded

MIX_UNIFORMS = 5  # whether, which way, how much, where from left, from top


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Targets float32 (N, classes): 1 at each label."""
    targets = np.zeros((len(labels), classes), np.float32)
    targets[np.arange(len(labels)), labels] = 1
    return targets


def mix(images: np.ndarray, targets: np.ndarray, augment: Augment, u: Sequence[float]
        ) -> Tuple[np.ndarray, np.ndarray]:
    """A batch mixed as `augment` and the MIX_UNIFORMS numbers `u` in [0, 1) say.

    images: uint8 (N, H, W, 3); targets: float32 (N, classes), each row of sum 1. Every image meets
    the one before it, the first the last: an epoch's order is random already. One draw serves the
    whole batch, as in both papers' own code.
    """
    if u[0] >= augment.mix_probability:
        return images, targets
    cutmix_turn = augment.cutmix > 0 and (augment.mixup == 0 or u[1] < 0.5)
    alpha = augment.cutmix if cutmix_turn else augment.mixup
    share = float(seeded(u[2]).beta(alpha, alpha))  # that an image keeps of itself
    if cutmix_turn:
        images, share = cutmix(images, share, u[3:5])
    else:
        images = mixup(images, share)
    keep = np.float32(share)
    return images, keep * targets + (1 - keep) * np.roll(targets, 1, axis=0)


def mixup(images: np.ndarray, share: float) -> np.ndarray:
    """share * image + (1 - share) * the one before it, rounded."""
    rows = images.reshape(len(images), -1)
    mixed = cv2.addWeighted(rows, share, np.roll(rows, 1, axis=0), 1 - share, 0)
    return mixed.reshape(images.shape)


def cutmix(images: np.ndarray, share: float, u: Sequence[float]) -> Tuple[np.ndarray, float]:
    """(images with a box of the one before, the share that is left of each).

    The box has 1 - share of the area and the image's proportions; its centre is anywhere (`u`, as
    boxes.centred_box has it), and what reaches beyond the border is left to the image.
    """
    height, width = images.shape[1:3]
    side = math.sqrt(1 - share)
    x, y, w, h = centred_box(height, width, int(side * height), int(side * width), u)
    mixed = images.copy()
    mixed[:, y:y + h, x:x + w] = np.roll(images[:, y:y + h, x:x + w], 1, axis=0)
    return mixed, 1 - w * h / (height * width)
