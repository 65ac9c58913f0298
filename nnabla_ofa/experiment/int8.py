"""int8 with a recipe's images: ranges from its calibration images, top-1 on its held-out ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Iterator, NamedTuple, Tuple

import numpy as np

from ..errors import OfaError
from ..evaluation import Images
from ..formats import onnx_file
from ..formats.exchange import About
from ..quantize import Outcome, top1, within
from .lab import Lab

CALIBRATION_IMAGES = 256
MAX_DROP = 1.0  # points
AUTOMATIC = "auto"


class Int8(NamedTuple):
    """What may be chosen; see `quantize.within`. keep_float: names of layers, or AUTOMATIC among them."""

    calibrate: str = "minmax"
    calibration_images: int = CALIBRATION_IMAGES
    max_drop: float = MAX_DROP
    keep_float: Tuple[str, ...] = ()


def write_int8(source: Path, target: Path, lab: Lab, about: About, chosen: Int8) -> Outcome:
    """Quantise an exported file, judge it, and print what that cost.

    Args:
        source: The float32 file.
        target: The int8 file.
        lab: Its images.
        about: What the file says of itself.
        chosen: How.

    Raises:
        OfaError: As of `quantize.within`; or the data set has fewer training images than are asked for.
    """
    size = about["image_size"]
    outcome = within(source, target, calibration_images(lab, about, chosen.calibration_images),
                     lambda path: top1(path, batches(lab.valid, size, about)), chosen.max_drop,
                     chosen.calibrate, [name for name in chosen.keep_float if name != AUTOMATIC],
                     AUTOMATIC in chosen.keep_float)
    before, after = (path.stat().st_size for path in (source, target))
    print(f"top-1 on {len(lab.valid.indices)} held-out images: float32 {outcome.float32:.4f}, int8 "
          f"{outcome.int8:.4f}; {before / 1e6:.2f} MB, {after / 1e6:.2f} MB ({after / before:.0%})")
    if outcome.kept:
        print(f"in float32: {', '.join(outcome.kept)}")
    return outcome


def calibration_images(lab: Lab, about: About, count: int) -> np.ndarray:
    """The recipe's calibration images as the file takes them: training images, without augmentation."""
    if count > len(lab.train):
        raise OfaError(f"--calibration-images {count}: there are {len(lab.train)} training images")
    images = replace(lab.with_calibration(count).calibration, key=None)
    return np.concatenate([batch for batch, _ in batches(images, about["image_size"], about)])


def batches(images: Images, size: int, about: About) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Images as a file takes them, with their labels."""
    for _, batch, labels in images.batches(size):
        yield onnx_file.as_input(batch, about), labels
