"""The back end of Pillow: JPEGs are cropped and resized as torchvision's usual transforms do it.

Both Pillow and the back end `opencv` decode with libjpeg-turbo, to the same pixels. Resizing differs:
where an image shrinks, Pillow's bilinear filter widens, so that every pixel counts. OpenCV does the rest:
other formats, and JPEGs of four inks (CMYK).

Pillow's functions for whole images and boxes warn of, or refuse, those of 89 million pixels and more
(Image.MAX_IMAGE_PIXELS, of the whole process). Photographs may be that large, so neither is used for them.
"""

from __future__ import annotations

import io
import math
from typing import Iterator, NamedTuple, Optional, Sequence

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from ..system.files import read_regular
from . import opencv
from .boxes import cut
from .declared import require_room
from .decode import MOST_BYTES
from .views import View


class Jpeg(NamedTuple):
    """A JPEG file whose header is read.

    Attributes:
        data: the file's bytes.
        image: Pillow's image, which is not decoded yet.
    """

    data: bytes
    image: Image.Image


def pixels(views: Sequence[View], size: int) -> Iterator[np.ndarray]:
    """The pixels of each view, uint8 (size, size, 3), RGB. An OfaError names a file that is damaged."""
    return (_look(view, size) for view in views)


def open_jpeg(path: str) -> Optional[Jpeg]:
    """The file's bytes and header. None: it is no JPEG of one or three colours, is damaged, or too large."""
    try:
        data = read_regular(path, MOST_BYTES)
        image = JpegImageFile(io.BytesIO(data))  # Image.open refuses large ones
        require_room(*image.size, len(data))
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
    except (OSError, MemoryError):
        return opencv.look(view, size)  # it says what is wrong
    x, y, w, h = view.box(image.height, image.width)
    if w * h < (Image.MAX_IMAGE_PIXELS or math.inf):
        part = image.crop((x, y, x + w, y + h))  # black beyond the border
    else:  # crop refuses large boxes, too
        part = Image.fromarray(cut(np.asarray(image), (x, y, w, h)))
    return np.asarray(part.resize((size, size), Image.Resampling.BILINEAR))
