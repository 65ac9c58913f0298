"""The default back end: each image decoded, cut and resized by OpenCV."""

from __future__ import annotations

from typing import Iterator, Sequence

import numpy as np

from .boxes import cut, resize
from .decode import read_image
from .views import View


def pixels(views: Sequence[View], size: int) -> Iterator[np.ndarray]:
    """The views, each uint8 (size, size, 3), RGB; OfaError, naming the file, for a broken one."""
    return (look(view, size) for view in views)


def look(view: View, size: int) -> np.ndarray:
    """One view, uint8 (size, size, 3), RGB."""
    image = read_image(view.path, lambda height, width: view.reduction(height, width, size))
    return resize(cut(image, view.box(*image.shape[:2])), size)
