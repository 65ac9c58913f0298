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
from .walk import Notes

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
        summary: one line that says how many images were found where, and what was left out. It is that of
            the whole data set in a subset, too.
        balance: how far training evens out classes of different size, from 0 to 1 (balance.py).
    """

    name: str
    classes: Tuple[str, ...]
    labels: np.ndarray
    images: Optional[np.ndarray] = None
    paths: Tuple[str, ...] = ()
    unreadable: Unreadable = field(default_factory=Unreadable)
    summary: str = ""
    balance: float = 0.0

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
        if self.images is not None or not len(self):
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


def open_dataset(where: str, max_unreadable: float = 0.0, in_memory: bool = True,
                 test_fraction: Optional[float] = None, partial: bool = False) -> Tuple[Dataset, Dataset]:
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
        test_fraction: where the folder has no test images, the part of its images that becomes the test
            set, between 0 and 1. It is the same on every call.
        partial: whether `where` may have training images or test images alone. The other set is empty.

    Returns:
        (training set, test set).

    Raises:
        OfaError: `where` is nothing of the above, or its files do not fit together.
    """
    where = locate(os.fspath(where))
    notes = Notes(where)
    train, test, sources = _open(where, notes, max_unreadable, partial or test_fraction is not None)
    if test_fraction is not None:
        if len(test) or not len(train):
            raise OfaError(f"data.test_fraction: {test_fraction} is for training images without test images; "
                           f"{where} has {len(train):,} and {len(test):,}")
        train, test = split(train, test_fraction, seed=0)
        sources = sources[0], f"{test_fraction:g} of {sources[0]}"
    if in_memory:
        train, test = train.in_memory(), test.in_memory()
    summary = _summary(train, test, sources, notes)
    return replace(train, summary=summary), replace(test, summary=summary)


def _open(where: str, notes: Notes, max_unreadable: float, partial: bool
          ) -> Tuple[Dataset, Dataset, Tuple[str, str]]:
    """(training set, test set, what each comes from) of `where`; see `open_dataset`."""
    if where == "digits":
        return (*_digits(), ("", ""))
    if os.path.isfile(where):
        form, classes, training, testing = cifar.read_archive(where)
        return (*_from_arrays(form.name, classes, training, testing), ("", ""))
    if not os.path.isdir(where):
        raise OfaError(f"data: {where!r} is neither a folder, nor a CIFAR archive, nor one of "
                       f"{', '.join(('digits',) + NAMES)}; give the folder that holds train/ and val/ "
                       "(or test/), or train_label and val_label")
    found = cifar.form_in(where)
    if found:
        form, folder = found
        return (*_from_arrays(form.name, *cifar.read_folder(form, folder)), ("", ""))
    layout = _layout(where, notes, partial)
    name = f"{layout.kind}:{os.path.basename(os.path.abspath(where))}"
    train, test = (Dataset(name, layout.classes, part.labels, paths=part.paths,
                           unreadable=Unreadable(max_unreadable, len(part.labels)))
                   for part in (layout.train, layout.test))
    return train, test, (layout.train.source, layout.test.source)


def _layout(where: str, notes: Notes, partial: bool) -> lists.Layout:
    """The files of the folder `where`; see `open_dataset`."""
    alone = partial and not any(os.path.isdir(os.path.join(where, name)) for name in folders.TRAIN)
    if any(os.path.isfile(os.path.join(where, name))
           for name in ("train_label", *(["val_label"] if alone else []))):
        return lists.listed_files(where, notes, partial)
    if folders.is_tiny_imagenet(where):
        return folders.tiny_imagenet(where, notes)
    return folders.class_folders(where, notes, partial)


def _summary(train: Dataset, test: Dataset, sources: Tuple[str, str], notes: Notes) -> str:
    """What was read, and what was left out, in one line."""
    counts = [f"{len(part) or 'no'} {what} images" + (f" ({source})" if source else "")
              for part, what, source in zip((train, test), ("training", "test"), sources)]
    return printable("; ".join(filter(None, (
        f"{train.name}: {', '.join(counts)}, {len(train.classes)} classes", str(notes)))))


def printable(text: str) -> str:
    """The text with escapes for what no terminal shows: line breaks, and bytes that are not UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii")
                   for c in text)


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
