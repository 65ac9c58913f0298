"""Checksums of data: which images, labels and classes an earlier result was made from."""

from __future__ import annotations

import os
import zlib
from typing import Sequence

import numpy as np

from ..data import Dataset
from ..data.class_names import same_name
from ..system.comm import Communicator

CHUNKS = 64  # the images' checksums are taken in as many parts, which the ranks share


def labels_checksum(labels: np.ndarray) -> int:
    """CRC-32 of the labels of images, in their order."""
    return zlib.crc32(np.ascontiguousarray(labels).tobytes())


def names_checksum(names: Sequence[str]) -> int:
    """CRC-32 of the names of classes, in their order, whatever their spelling in Unicode."""
    return zlib.crc32("\0".join(map(same_name, names)).encode("utf-8", "surrogateescape"))


def images_checksum(dataset: Dataset, comm: Communicator) -> int:
    """CRC-32 of images in their order: of their pixels, or of the names and sizes of their files.

    A file's name is its own and its folder's, in one spelling of Unicode, so that a data set may move. The
    ranks share the work, and any number of them finds the same.
    """
    sums = np.zeros(CHUNKS)
    bounds = np.linspace(0, len(dataset), CHUNKS + 1).astype(np.int64)
    for i in range(comm.rank, CHUNKS, comm.size):
        sums[i] = _part(dataset, int(bounds[i]), int(bounds[i + 1]))
    return zlib.crc32(comm.add(sums).astype(np.int64).tobytes())


def _part(dataset: Dataset, start: int, stop: int) -> int:
    if dataset.images is not None:
        return zlib.crc32(np.ascontiguousarray(dataset.images[start:stop]).tobytes())
    crc = 0
    for path in dataset.paths[start:stop]:
        name = same_name(os.sep.join(path.split(os.sep)[-2:]))
        crc = zlib.crc32(f"{name}\0{_size(path)}\0".encode("utf-8", "surrogateescape"), crc)
    return crc


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
