"""Read one image file into pixels. A JPEG can be decoded at a fraction of its size, which is faster.

JPEGs are decoded by libjpeg-turbo in its strict mode (the package simplejpeg), which notices damage.
OpenCV decodes to the same pixels as fast, but fills damaged parts with anything and says nothing. Strict
mode notices when the coded data runs out of step. A lost disk block nearly always causes that; a single
changed bit does in one case of six (results/reliability.md has the counts). Strict mode also stops at odd
headers and at stray bytes of files that are whole: jpeg.py puts those right. OpenCV reads everything else:
other formats, and rare kinds of JPEG. Pillow reads GIFs, which many builds of OpenCV do not.
"""

from __future__ import annotations

import io
import sys
import threading
from typing import Callable, Dict, Optional, Tuple

import cv2
import numpy as np
import simplejpeg
from PIL.GifImagePlugin import GifImageFile
from tqdm import tqdm

from ..errors import OfaError
from ..system.files import read_regular
from .declared import require_known, require_room
from .jpeg import SOI, mend_end, mend_headers
from .opencv_state import SILENT

Reduction = Callable[[int, int], int]  # (height, width) of an image -> what to divide them by
MOST_BYTES = 2**30  # of an image file


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


class Stray:
    """The files that were read although bytes in them belong to nothing. The first one is logged.

    Its methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._found: Dict[str, int] = {}
        self._lock = threading.Lock()

    def __contains__(self, path: str) -> bool:
        return path in self._found

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._found.clear()

    def note(self, path: str, count: int) -> None:
        """Keep that `count` bytes of a file were left out."""
        with self._lock:
            first, self._found[path] = not self._found, count
        if first:
            tqdm.write(f"{path}: read without {count} stray bytes in it; runners/data.py check counts "
                       "such files", file=sys.stderr)


STRAY = Stray()  # of this process


def read_image(path: str, reduction: Optional[Reduction] = None) -> np.ndarray:
    """The pixels of an image file as they are stored. EXIF orientation is ignored.

    Args:
        path: the file.
        reduction: a function of a JPEG's (height, width) that returns by which of 1, 2, 4 and 8 to
            divide its size. Other formats come at full size. None: JPEGs do, too.

    Returns:
        uint8 (H, W, 3), RGB, where H = ceil(height / reduction). Of several frames, the first.

    Raises:
        UnreadableImage: the file is missing, truncated, damaged or not an image, or declares more pixels
            than it can hold (declared.py). It names the file.
    """
    try:
        data = read_regular(path, MOST_BYTES)
    except (OSError, ValueError) as error:  # ValueError: the name has a NUL
        why = getattr(error, "strerror", None) or error
        raise UnreadableImage(path, f"cannot be read ({why})", "restore") from error
    try:
        image, stray = _decode(data, reduction)
    except (ValueError, MemoryError, cv2.error) as error:
        why = " ".join(str(getattr(error, "err", error)).split())
        raise UnreadableImage(path, f"cannot be decoded ({why})", "replace") from error
    if stray:
        STRAY.note(path, stray)
    return image


def _decode(data: bytes, reduction: Optional[Reduction]) -> Tuple[np.ndarray, int]:
    """The pixels of an image file's content, and the number of stray bytes that were left out.

    The format is that of the content, whatever the file's name says. A ValueError or cv2.error says what
    is wrong with it.
    """
    if not data:
        raise ValueError("the file is empty")
    if data.startswith(SOI):
        return _jpeg(data, reduction)
    return (_gif(data) if data.startswith(b"GIF8") else _other(data)), 0


def _jpeg(data: bytes, reduction: Optional[Reduction]) -> Tuple[np.ndarray, int]:
    """The pixels of a JPEG and the number of stray bytes. A ValueError says how it is damaged."""
    try:
        return _strictly(data, reduction), 0
    except ValueError:
        mended = mend_headers(data)
        if mended is None:
            raise
    try:
        return _strictly(mended.data, reduction), mended.stray
    except ValueError:
        whole = mend_end(mended.data, _strictly)
        if whole is None:
            raise
    return _strictly(whole.data, reduction), mended.stray + whole.stray


def _strictly(data: bytes, reduction: Optional[Reduction] = None) -> np.ndarray:
    """The pixels of a JPEG in which nothing is wrong. A ValueError says what is."""
    size = _strict_size(data)
    if size is None:
        return _other(data)
    require_room(size[1], size[0], len(data))
    factor = reduction(*size) if reduction else 1
    height, width = (-(-side // factor) for side in size)
    return simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False,
                                  min_height=height, min_width=width)


def _strict_size(data: bytes) -> Optional[Tuple[int, int]]:
    """(height, width) of a JPEG. None: of a rare kind (four inks, odd sampling) that only OpenCV reads."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        if "subsampling" not in str(error):
            raise
        return None
    return (height, width) if colours in ("Gray", "YCbCr", "RGB") else None


def _other(data: bytes) -> np.ndarray:
    """The pixels of whatever OpenCV reads."""
    require_known(data)
    with SILENT:
        image = cv2.imdecode(np.frombuffer(data, np.uint8),
                             cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ValueError("not an image, or damaged")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _gif(data: bytes) -> np.ndarray:
    """The pixels of a GIF's first frame, which Pillow reads."""
    try:
        image = GifImageFile(io.BytesIO(data))
        require_room(image.width, image.height, len(data))
        return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow lets out whatever its parser stumbles over
        raise ValueError(f"a GIF, damaged: {error}") from error
