"""The default back end: OpenCV crops and resizes each image."""

from __future__ import annotations

from typing import Iterator, Sequence

import numpy as np

from .boxes import cut, resize
from .decode import read_image
from .views import View


def pixels(views: Sequence[View], size: int) -> Iterator[np.ndarray]:
    """The pixels of each view, uint8 (size, size, 3), RGB. An OfaError names a file that is damaged."""
    return (look(view, size) for view in views)


def look(view: View, size: int) -> np.ndarray:
    """The pixels of one view, uint8 (size, size, 3), RGB. An OfaError names a file that is damaged."""
    image = read_image(view.path, lambda height, width: view.reduction(height, width, size))
    return resize(cut(image, view.box(*image.shape[:2])), size)
