"""Which layers lose most when they are quantised: each alone, all others in float32."""

from __future__ import annotations

from pathlib import Path
from typing import List, NamedTuple

import numpy as np

from .int8 import calibrated, layers, opened, quantised

IMAGES = 32  # that a layer's error is measured on, and calibrated with: logits tell more than top-1


class Cost(NamedTuple):
    """A layer and the error of the logits that it causes, of how much these differ between images.

    Both are roots of mean squares.
    """

    layer: str
    error: float


def costs(source: Path, images: np.ndarray, calibrate: str = "minmax") -> List[Cost]:
    """The layers of an ONNX file, the costliest first.

    Args:
        source: The float32 file.
        images: As of `int8`; the first IMAGES serve.
        calibrate: As of `int8`.
    """
    images = images[:IMAGES]
    ready = calibrated(source, images, calibrate)
    names, expected = layers(ready.model), opened(str(source))(images)
    spread = np.sqrt(np.mean((expected - expected.mean(axis=0)) ** 2))
    found = []
    for name in names:
        alone = opened(quantised(ready, [other for other in names if other != name]))
        error = np.sqrt(np.mean((alone(images) - expected) ** 2))
        found.append(Cost(name, float(error / spread)))
    return sorted(found, key=lambda cost: -cost.error)
