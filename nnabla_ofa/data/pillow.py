"""Back end of Pillow: the operations of torchvision's usual transforms.

The pixels of a JPEG are those of `opencv` to the bit, as both decode with libjpeg-turbo; resizing
differs, as Pillow's bilinear filter widens to the pixels that it leaves out. Other formats, and
JPEGs of four inks, are left to OpenCV.
"""

from __future__ import annotations

import io
from typing import Iterator, NamedTuple, Optional, Sequence

import numpy as np
from PIL import Image

from . import opencv
from .views import View


class Jpeg(NamedTuple):
    """A JPEG file: its bytes, and its header as Pillow reads it, not decoded yet."""

    data: bytes
    image: Image.Image


def pixels(views: Sequence[View], size: int) -> Iterator[np.ndarray]:
    """The views, each uint8 (size, size, 3), RGB; OfaError, naming the file, for a broken one."""
    return (_look(view, size) for view in views)


def open_jpeg(path: str) -> Optional[Jpeg]:
    """The file's bytes and header; None if it is no JPEG of one or three colours, or damaged."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        image = Image.open(io.BytesIO(data), formats=("JPEG",))
    except (OSError, SyntaxError, ValueError):
        return None
    return Jpeg(data, image) if image.mode in ("L", "RGB") else None


def _look(view: View, size: int) -> np.ndarray:
    jpeg = open_jpeg(view.path)
    if jpeg is None:
        return opencv.look(view, size)
    image, (width, height) = jpeg.image, jpeg.image.size
    reduction = view.reduction(height, width, size)
    image.draft("RGB", (width // reduction, height // reduction))
    try:
        image = image.convert("RGB")
    except OSError:
        return opencv.look(view, size)  # which says what is wrong
    x, y, w, h = view.box(image.height, image.width)
    part = image.crop((x, y, x + w, y + h))  # black beyond the border
    return np.asarray(part.resize((size, size), Image.BILINEAR))
