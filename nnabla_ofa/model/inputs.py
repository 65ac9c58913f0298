"""What comes from Python's side, checked before anything is computed with it: images and image sizes."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Mapping

import numpy as np

from ..data import normalise
from ..errors import OfaError


def network_input(images: Any, info: Mapping[str, Any]) -> np.ndarray:
    """Images as a network takes them: float32 (N, 3, H, W), normalised.

    Args:
        images: An array, or nested lists, (N, 3, H, W), where N may be 0. Floating-point numbers are
            normalised already. Integers of any type are pixels from 0 to 255.
        info: Of the network's file. Its `mean` and `std` normalise pixels, as in training.

    Raises:
        OfaError: The shape, the type or a pixel is none of these, or `info` lacks mean and std.
    """
    array = _array(images)
    if array.ndim != 4 or array.shape[1] != 3 or 0 in array.shape[2:]:
        raise OfaError(f"images of shape {array.shape} are not (N, 3, H, W) with H and W of 1 or more")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
            return array.astype(np.float32)
    pixels = _pixels(array)
    if "mean" not in info or "std" not in info:
        raise OfaError(f"{array.dtype} images need the normalisation of the training data, which this "
                       "file does not carry: pass normalised float32 images")
    return normalise(pixels.transpose(0, 2, 3, 1), info["mean"], info["std"])


def _array(images: Any) -> np.ndarray:
    try:
        return np.asarray(images)
    except (ValueError, TypeError) as error:  # lists of unequal lengths, and what is no number at all
        raise OfaError(f"images are not an array (N, 3, H, W): {error}") from error


def _pixels(array: np.ndarray) -> np.ndarray:
    """Integers as uint8. Raises OfaError for other types, and for an integer that is no pixel's value."""
    if array.dtype.kind not in "iu":
        raise OfaError(f"images of type {array.dtype} are neither floating-point numbers, normalised, nor "
                       "integers, pixels from 0 to 255")
    if array.size and not (array.min() >= 0 and array.max() <= 255):
        raise OfaError(f"images of type {array.dtype} with values from {array.min()} to {array.max()} are "
                       "not pixels from 0 to 255: scale them to those, or pass normalised float32 images")
    return array.astype(np.uint8)


def require_calibration(images: np.ndarray, batch_size: int) -> None:
    """OfaError unless BN statistics can come from normalised `images` (N, ...) in such batches."""
    if not len(images):
        raise OfaError(f"images of shape {images.shape}: BN statistics need at least one image")
    if not np.isfinite(images).all():
        raise OfaError("images hold NaN or infinite values, which BN statistics cannot be taken of")
    if not _positive(batch_size):
        raise OfaError(f"batch_size={batch_size!r} is not an integer of 1 or more")


def require_image_size(image_size: int) -> None:
    """OfaError unless `image_size` is a side of an image in pixels: an integer of 1 or more."""
    if not _positive(image_size):
        raise OfaError(f"image_size={image_size!r} is not a positive integer, in pixels")


def _positive(number: Any) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool) and int(number) >= 1
