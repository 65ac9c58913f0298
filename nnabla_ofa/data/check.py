"""Every image of a data set looked at: how many a class, which cannot be read, which come twice."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, List, NamedTuple, Tuple

import numpy as np
from tqdm import tqdm

from ..errors import OfaError
from .datasets import Dataset


class Report(NamedTuple):
    """counts: images of each class; unreadable: what is wrong, an image a line; digests: of the
    files (or pixels in memory), by which equal images are found; sizes: smallest and largest
    (height, width)."""

    counts: np.ndarray
    unreadable: Tuple[str, ...]
    digests: Tuple[str, ...]
    sizes: Tuple[Tuple[int, int], Tuple[int, int]]


def check(dataset: Dataset, threads: int = 2, name: str = "images") -> Report:
    """Decode every image at full size on `threads` threads, with a progress bar."""
    def look(index: int):
        try:
            image = dataset.decode(index)
        except OfaError as error:
            return str(error), "", (0, 0)
        if dataset.images is not None:
            return "", hashlib.md5(image.tobytes()).hexdigest(), image.shape[:2]
        with open(dataset.paths[index], "rb") as file:
            return "", hashlib.md5(file.read()).hexdigest(), image.shape[:2]

    with ThreadPoolExecutor(threads) as pool:
        found = list(tqdm(pool.map(look, range(len(dataset))), total=len(dataset), desc=name,
                          unit=" images", mininterval=1))
    errors, digests, sizes = zip(*found)
    read = [size for size in sizes if size != (0, 0)] or [(0, 0)]
    return Report(np.bincount(dataset.labels, minlength=len(dataset.classes)),
                  tuple(filter(None, errors)), digests,
                  (min(read, key=np.prod), max(read, key=np.prod)))


def equal_images(train: Report, test: Report) -> List[Tuple[int, int]]:
    """(training image, test image) for each test image that is a training image, too."""
    where: Dict[str, int] = {digest: i for i, digest in enumerate(train.digests) if digest}
    return [(where[digest], i) for i, digest in enumerate(test.digests) if digest in where]
