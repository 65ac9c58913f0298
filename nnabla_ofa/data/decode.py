"""One image file -> pixels; a JPEG at a fraction of its size where that is enough.

JPEGs are decoded by libjpeg-turbo in its strict mode (simplejpeg), to the same pixels as OpenCV's and
as fast: OpenCV fills what damage destroyed with anything and says nothing. Strict mode notices when
the coded data runs out of step, which a lost disk block nearly always does and a single changed bit
in six cases only once; results/reliability.md has the counts. OpenCV reads all that is no common JPEG.
"""

from __future__ import annotations

from typing import Callable, Optional, Tuple

import cv2
import numpy as np
import simplejpeg

from ..errors import OfaError

cv2.setLogLevel(0)  # what it says to stderr is in our errors, beside the file's name

Reduction = Callable[[int, int], int]


class UnreadableImage(OfaError):
    """An image file that is missing, damaged or not an image: `path`, what is `wrong`, what to do."""

    def __init__(self, path: str, wrong: str, remedy: str):
        super().__init__(f"{path}: {wrong}; {remedy} the file, or take it out of the data set")
        self.path = path


def read_image(path: str, reduction: Optional[Reduction] = None) -> np.ndarray:
    """The image in `path`: uint8 (H, W, 3), RGB, as stored (EXIF orientation is ignored).

    `reduction(height, width)`, asked once a JPEG's header is read, names the fraction 1/1, 1/2, 1/4
    or 1/8 to decode at: H = ceil(height / reduction). Other formats come at full size.
    Raises UnreadableImage, naming the file, if it is missing, truncated, damaged or not an image.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or error
        raise UnreadableImage(path, f"cannot be read ({why})", "restore") from error
    try:
        return _decode(data, reduction)
    except (ValueError, MemoryError, cv2.error) as error:
        why = " ".join(str(getattr(error, "err", error)).split())
        raise UnreadableImage(path, f"cannot be decoded ({why})", "replace") from error


def _decode(data: bytes, reduction: Optional[Reduction]) -> np.ndarray:
    """Pixels of an image file's content; ValueError or cv2.error says what is wrong with it."""
    if not data:
        raise ValueError("the file is empty")
    size = _strict_size(data) if data[:2] == b"\xff\xd8" else None  # whatever its name says
    if size:
        factor = reduction(*size) if reduction else 1
        height, width = (-(-side // factor) for side in size)
        return simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False,
                                      min_height=height, min_width=width)
    image = cv2.imdecode(np.frombuffer(data, np.uint8),
                         cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ValueError("not an image, or damaged")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _strict_size(data: bytes) -> Optional[Tuple[int, int]]:
    """(height, width) of a JPEG; None for the rare kinds (inks, odd sampling) that OpenCV alone reads."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        if "subsampling" not in str(error):
            raise
        return None
    return (height, width) if colours in ("Gray", "YCbCr", "RGB") else None
