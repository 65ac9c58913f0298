"""A check of every image of a data set: images in each class, unreadable ones, and duplicates."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, List, NamedTuple, Tuple

import numpy as np
from tqdm import tqdm

from ..errors import OfaError
from .datasets import Dataset
from .decode import STRAY


class Report(NamedTuple):
    """What `check` finds.

    Attributes:
        counts: the number of images in each class.
        unreadable: for each unreadable image, a text that names the file and says what is wrong with it.
        digests: an MD5 sum for each image, of its file, or of its pixels if the data set is in memory.
            "" for an unreadable one.
        stray: the files that were read although bytes in them belong to nothing.
        sizes: (height, width) of the image with the fewest and of the one with the most pixels.
    """

    counts: np.ndarray
    unreadable: Tuple[str, ...]
    digests: Tuple[str, ...]
    stray: Tuple[str, ...]
    sizes: Tuple[Tuple[int, int], Tuple[int, int]]


def check(dataset: Dataset, threads: int = 2, name: str = "images") -> Report:
    """Decode every image at full size, with a progress bar.

    Args:
        dataset: the images.
        threads: the number of threads that decode, from 1.
        name: the label of the progress bar.
    """
    def look(index: int) -> Tuple[str, str, Tuple[int, int]]:
        try:
            image = dataset.decode(index)
        except OfaError as error:
            return str(error), "", (0, 0)
        height, width = image.shape[:2]
        if dataset.images is not None:
            return "", hashlib.md5(image.tobytes()).hexdigest(), (height, width)
        with open(dataset.paths[index], "rb") as file:
            return "", hashlib.md5(file.read()).hexdigest(), (height, width)

    with ThreadPoolExecutor(threads) as pool:
        found = list(tqdm(pool.map(look, range(len(dataset))), total=len(dataset), desc=name,
                          unit=" images", mininterval=1))
    errors, digests, sizes = zip(*found)
    read = [size for size in sizes if size != (0, 0)] or [(0, 0)]
    return Report(np.bincount(dataset.labels, minlength=len(dataset.classes)),
                  tuple(filter(None, errors)), digests,
                  tuple(path for path in dataset.paths if path in STRAY),
                  (min(read, key=np.prod), max(read, key=np.prod)))


def equal_images(train: Report, test: Report) -> List[Tuple[int, int]]:
    """For each test image that is also a training image: (index in `train`, index in `test`)."""
    where: Dict[str, int] = {digest: i for i, digest in enumerate(train.digests) if digest}
    return [(where[digest], i) for i, digest in enumerate(test.digests) if digest in where]
