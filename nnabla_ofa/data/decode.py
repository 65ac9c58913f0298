"""One image file -> pixels, with OpenCV; a JPEG at a fraction of its size where that is enough."""

from __future__ import annotations

import struct
from typing import Callable, Optional, Tuple

import cv2
import numpy as np

from ..errors import OfaError

# reduction -> flag; libjpeg leaves out the finer coefficients, so that less is computed at all
_FLAGS = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2,
          4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
_NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # among the markers C0..CF: tables, not frame headers


def read_image(path: str, reduction: Optional[Callable[[int, int], int]] = None) -> np.ndarray:
    """The image in `path`: uint8 (H, W, 3), RGB, as stored (EXIF orientation is ignored).

    `reduction(height, width)`, asked once a JPEG's header is read, names the fraction 1/1, 1/2, 1/4
    or 1/8 to decode at: H = ceil(height / reduction). Other formats come at full size.
    Raises OfaError, naming the file, if it is missing, truncated or not an image.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise OfaError(f"{path}: cannot be read ({error.strerror}); restore the file, or take it "
                       "out of the data set") from error
    factor = 1
    if data[:2] == b"\xff\xd8":  # a JPEG, whatever its name says
        height, width = _jpeg_size(data, path)
        factor = reduction(height, width) if reduction else 1
    return cv2.cvtColor(_pixels(data, _FLAGS[factor], path), cv2.COLOR_BGR2RGB)


def _pixels(data: bytes, flag: int, path: str) -> np.ndarray:
    try:
        buffer = np.frombuffer(data, np.uint8)
        image = cv2.imdecode(buffer, flag | cv2.IMREAD_IGNORE_ORIENTATION) if data else None
    except cv2.error as error:
        raise _broken(path, error.err) from error
    if image is None:
        raise _broken(path, "not an image, or damaged" if data else "the file is empty")
    return image


def _jpeg_size(data: bytes, path: str) -> Tuple[int, int]:
    """(height, width) from the frame header (ITU-T T.81, B.2.2); OfaError for a truncated file.

    Some decoders fill what is missing with grey and say nothing, so the end marker FFD9 is looked
    for: it cannot occur within coded data, and thumbnails, which hold one too, precede the frame.
    """
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES:
            if data.rfind(b"\xff\xd9", at) < 0:
                raise _broken(path, "truncated: it has no end marker")
            return struct.unpack_from(">HH", data, at + 5)
        # 0xFF is a fill byte; any other marker is followed by its segment's length
        at += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", data, at + 2)[0]
    raise _broken(path, "truncated or damaged: it has no frame header")


def _broken(path: str, why: str) -> OfaError:
    return OfaError(f"{path}: cannot be decoded ({why}); replace the file, or take it out of the "
                    "data set")
