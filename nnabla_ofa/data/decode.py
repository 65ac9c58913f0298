"""Read one image file into pixels. A JPEG can be decoded at a fraction of its size, which is faster.

JPEGs are decoded by libjpeg-turbo in its strict mode (the package simplejpeg), which notices damage.
OpenCV decodes to the same pixels as fast, but fills damaged parts with anything and says nothing. Strict
mode notices when the coded data runs out of step. A lost disk block nearly always causes that; a single
changed bit does in one case of six (results/reliability.md has the counts). OpenCV reads everything else:
other formats, and rare kinds of JPEG.
"""

from __future__ import annotations

from typing import Callable, Optional, Tuple

import cv2
import numpy as np
import simplejpeg

from ..errors import OfaError
from .opencv_state import SILENT

Reduction = Callable[[int, int], int]  # (height, width) of an image -> what to divide them by


class UnreadableImage(OfaError):
    """An image file is missing, damaged or not an image.

    Args:
        path: the file.
        wrong: what is wrong with it.
        remedy: the verb for what to do with the file: "restore" or "replace".
    """

    def __init__(self, path: str, wrong: str, remedy: str):
        super().__init__(f"{path}: {wrong}; {remedy} the file, or take it out of the data set")
        self.path = path


def read_image(path: str, reduction: Optional[Reduction] = None) -> np.ndarray:
    """The pixels of an image file as they are stored. EXIF orientation is ignored.

    Args:
        path: the file.
        reduction: a function of a JPEG's (height, width) that returns by which of 1, 2, 4 and 8 to
            divide its size. Other formats come at full size. None: JPEGs do, too.

    Returns:
        uint8 (H, W, 3), RGB, where H = ceil(height / reduction).

    Raises:
        UnreadableImage: the file is missing, truncated, damaged or not an image. It names the file.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (OSError, ValueError) as error:  # ValueError: the name has a NUL
        why = getattr(error, "strerror", None) or error
        raise UnreadableImage(path, f"cannot be read ({why})", "restore") from error
    try:
        return _decode(data, reduction)
    except (ValueError, MemoryError, cv2.error) as error:
        why = " ".join(str(getattr(error, "err", error)).split())
        raise UnreadableImage(path, f"cannot be decoded ({why})", "replace") from error


def _decode(data: bytes, reduction: Optional[Reduction]) -> np.ndarray:
    """The pixels of an image file's content. A ValueError or cv2.error says what is wrong with it."""
    if not data:
        raise ValueError("the file is empty")
    size = _strict_size(data) if data[:2] == b"\xff\xd8" else None  # a JPEG, whatever its name says
    if size:
        factor = reduction(*size) if reduction else 1
        height, width = (-(-side // factor) for side in size)
        return simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False,
                                      min_height=height, min_width=width)
    with SILENT:
        image = cv2.imdecode(np.frombuffer(data, np.uint8),
                             cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ValueError("not an image, or damaged")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _strict_size(data: bytes) -> Optional[Tuple[int, int]]:
    """(height, width) of a JPEG. None: of a rare kind (four inks, odd sampling) that only OpenCV reads."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        if "subsampling" not in str(error):
            raise
        return None
    return (height, width) if colours in ("Gray", "YCbCr", "RGB") else None
