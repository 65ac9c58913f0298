"""Data sets: opened by name or folder, split, and read image by image.

A `Dataset` is a value: labels, and either the pixels of all images or the names of their files, which
are decoded when they are needed.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Optional, Sequence, Tuple, Union

import numpy as np

from ..errors import OfaError
from . import cifar, folders, lists
from .decode import UnreadableImage, read_image
from .unreadable import Unreadable

NAMES = ("cifar10", "cifar100", "tiny_imagenet", "imagenet")
SMALL_SIDE = 64            # pixels; images with a longer side stay on disk
SMALL_BYTES = 256 * 2**20  # of all pixels; a data set that takes more stays on disk

Indices = Union[Sequence[int], np.ndarray]  # numbers of images in a data set


@dataclass(frozen=True, eq=False)
class Dataset:
    """n labelled images, either decoded (`images`) or in files (`paths`).

    Attributes:
        name: says where the images come from, such as "digits", "imagefolder:flowers" or
            "imagelist:imagenet".
        classes: the names of the classes. A label is an index into them.
        labels: int32 (n,).
        images: uint8 (n, H, W, 3), RGB. None: the images are in files.
        paths: n file names. Empty: the images are decoded.
        unreadable: the images that could not be read so far, and how many are allowed. All subsets
            of a data set share it.
    """

    name: str
    classes: Tuple[str, ...]
    labels: np.ndarray
    images: Optional[np.ndarray] = None
    paths: Tuple[str, ...] = ()
    unreadable: Unreadable = field(default_factory=Unreadable)

    def __len__(self) -> int:
        return len(self.labels)

    def decode(self, index: int) -> np.ndarray:
        """Image `index` as it is stored: uint8 (H, W, 3), RGB. `decode.read_image` has the errors."""
        return read_image(self.paths[index]) if self.images is None else self.images[index]

    def subset(self, indices: Indices) -> Dataset:
        """The images at `indices`, in that order."""
        chosen = np.asarray(indices, np.int64)
        return replace(self, labels=self.labels[chosen],
                       images=None if self.images is None else self.images[chosen],
                       paths=tuple(self.paths[i] for i in chosen) if self.paths else ())

    def in_memory(self, threads: int = 4) -> Dataset:
        """The data set with all images decoded, by `threads` threads.

        It is returned as it is if an image cannot be read, if images are large or differ in size, or if
        they are decoded already.
        """
        if self.images is not None:
            return self
        try:
            return self._decoded(self.decode(0).shape, threads)
        except UnreadableImage:  # the loader deals with it when it gets there
            return self

    def _decoded(self, shape: Tuple[int, ...], threads: int) -> Dataset:
        """The data set with all images decoded if they are small and of this shape, else as it is."""
        if max(shape[:2]) > SMALL_SIDE or len(self) * int(np.prod(shape)) > SMALL_BYTES:
            return self
        images = np.empty((len(self),) + shape, np.uint8)

        def fill(indices: range) -> bool:
            for index in indices:
                image = self.decode(index)
                if image.shape != shape:
                    return False
                images[index] = image
            return True

        chunks = [range(start, len(self), threads) for start in range(threads)]
        with ThreadPoolExecutor(threads) as pool:
            same = list(pool.map(fill, chunks))
        return replace(self, images=images, paths=()) if all(same) else self


def open_dataset(where: str, max_unreadable: float = 0.0, in_memory: bool = True
                 ) -> Tuple[Dataset, Dataset]:
    """The training set and the test set of `where`.

    Args:
        where: a name, a folder, or a CIFAR archive.
            The name "digits" needs no files. The other names are NAMES. Each is a folder of that name
            in the folder that the environment variable OFA_DATASETS names (default: datasets), as
            `runners/data.py prepare` makes it.
            A folder holds class folders, ImageNet or Tiny ImageNet as distributed (folders.py),
            unpacked CIFAR (cifar.py), or files `train_label` and `val_label` of lines "path label".
            There a path is relative to the folder, and a label is an integer from 0 (lists.py).
        max_unreadable: the fraction of each set that may turn out to be unreadable later, from 0 up
            to 1 (unreadable.py).
        in_memory: whether to decode images at once if they are small, as CIFAR's.

    Returns:
        (training set, test set).

    Raises:
        OfaError: `where` is nothing of the above, or its files do not fit together.
    """
    where = locate(os.fspath(where))
    if where == "digits":
        return _digits()
    if os.path.isfile(where):
        form, classes, training, testing = cifar.read_archive(where)
        return _from_arrays(form.name, classes, training, testing)
    if not os.path.isdir(where):
        raise OfaError(f"data: {where!r} is neither a folder, nor a CIFAR archive, nor one of "
                       f"{', '.join(('digits',) + NAMES)}; give the folder that holds train/ and val/ "
                       "(or test/), or train_label and val_label")
    found = cifar.form_in(where)
    if found:
        form, folder = found
        return _from_arrays(form.name, *cifar.read_folder(form, folder))
    if os.path.isfile(os.path.join(where, "train_label")):
        layout = lists.listed_files(where)
    elif folders.is_tiny_imagenet(where):
        layout = folders.tiny_imagenet(where)
    else:
        layout = folders.class_folders(where)
    name = f"{layout.kind}:{os.path.basename(os.path.abspath(where))}"
    train, test = (Dataset(name, layout.classes, part.labels, paths=part.paths,
                           unreadable=Unreadable(max_unreadable, len(part.labels)))
                   for part in (layout.train, layout.test))
    return (train.in_memory(), test.in_memory()) if in_memory else (train, test)


def home() -> str:
    """The folder in which the data sets of NAMES lie."""
    return os.environ.get("OFA_DATASETS") or "datasets"


def locate(where: str) -> str:
    """The folder that one of NAMES stands for. Anything else is itself, and so is a path that exists.

    Raises:
        OfaError: the data set of this name has not been prepared.
    """
    if where not in NAMES or os.path.exists(where):
        return where
    folder = os.path.join(home(), where)
    if not os.path.isdir(folder):
        raise OfaError(f"data: {where} is not there: {folder} is no folder; run `python runners/data.py "
                       f"prepare {where} --help`, or give the folder that holds it")
    return folder


def split(dataset: Dataset, fraction: float, seed: int) -> Tuple[Dataset, Dataset]:
    """Hold out a part of a data set, stratified: each class gives its share to within one image.

    The images are shuffled and then sorted by class. From a random start, those at equal distances are
    held out. So their number is exact, too.

    Args:
        dataset: the images.
        fraction: the part of the images to hold out, between 0 and 1. At least one image is held out.
        seed: the seed of the shuffle and of the start.

    Returns:
        (the rest, what is held out), each in the data set's order.

    Raises:
        OfaError: the fraction leaves no image on one side.
    """
    count = max(1, round(fraction * len(dataset)))
    if not 0 < fraction < 1 or count >= len(dataset):
        raise OfaError(f"fraction: {fraction} of {len(dataset)} images cannot be held out; it must "
                       "lie between 0 and 1 and leave an image on each side")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(dataset))
    order = order[np.argsort(dataset.labels[order], kind="stable")]
    places = (np.arange(count) + rng.random()) * (len(dataset) / count)
    held_out = np.zeros(len(dataset), bool)
    held_out[order[places.astype(np.int64)]] = True
    return dataset.subset(np.flatnonzero(~held_out)), dataset.subset(np.flatnonzero(held_out))


def _digits() -> Tuple[Dataset, Dataset]:
    """scikit-learn's 1,797 scanned digits of 8x8 pixels (UCI optical recognition). 20% are the test set."""
    from sklearn.datasets import load_digits  # here: it takes a second

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    images = np.ascontiguousarray(np.broadcast_to(grey[..., None], grey.shape + (3,)))
    everything = Dataset("digits", tuple("0123456789"), digits.target.astype(np.int32), images)
    return split(everything, 0.2, seed=0)


def _from_arrays(name: str, classes: Tuple[str, ...], *parts: cifar.Arrays) -> Tuple[Dataset, Dataset]:
    """(training set, test set) out of arrays, in this order."""
    train, test = (Dataset(name, classes, labels, images) for images, labels in parts)
    return train, test
