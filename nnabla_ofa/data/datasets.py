"""Data sets as values: labels and where the images are; images are decoded on demand."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Optional, Sequence, Tuple

import numpy as np

from ..errors import OfaError
from . import cifar, folders, lists
from .decode import UnreadableImage, read_image
from .unreadable import Unreadable

NAMES = ("cifar10", "cifar100", "tiny_imagenet", "imagenet")
SMALL_SIDE = 64             # pixels; larger images stay on disk
SMALL_BYTES = 256 * 2**20   # decoded; a larger data set stays on disk


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images, either decoded (`images`) or files (`paths`).

    name:    "digits", "imagefolder:cifar10" or "imagelist:imagenet"
    classes: the class names; a label is an index into them
    labels:  int32 (n,)
    images:  uint8 (n, H, W, 3), RGB, or None
    paths:   n file names, or empty
    unreadable: those that could not be read so far, and how many may
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
        """Image `index` as it is stored: uint8 (H, W, 3), RGB; see `decode.read_image` for errors."""
        return read_image(self.paths[index]) if self.images is None else self.images[index]

    def subset(self, indices: Sequence[int]) -> Dataset:
        """The images at `indices`, in that order."""
        indices = np.asarray(indices, np.int64)
        return replace(self, labels=self.labels[indices],
                       images=None if self.images is None else self.images[indices],
                       paths=tuple(self.paths[i] for i in indices) if self.paths else ())

    def in_memory(self, threads: int = 4) -> Dataset:
        """Itself with every image decoded, if all are readable, small and of one size; else itself."""
        if self.images is not None:
            return self
        try:
            return self._decoded(self.decode(0).shape, threads)
        except UnreadableImage:  # the loader knows what to do about it
            return self

    def _decoded(self, shape: Tuple[int, ...], threads: int) -> Dataset:
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
    """(training, test) data set of `where`: a name, a folder, or a CIFAR archive.

    Names: digits, which need no files; NAMES, which lie in folders of these names in the folder
    OFA_DATASETS (default: datasets), as `runners/data.py prepare` makes them.
    Folders: class folders, ImageNet or Tiny ImageNet as distributed (see folders.py), CIFAR unpacked
    (cifar.py), or lists: files `train_label` and `val_label` of lines "path label", the path
    relative to the folder, the label an integer from 0.
    max_unreadable: the fraction of either set that may turn out unreadable later (see unreadable.py);
    in_memory: decode small images (CIFAR) at once. Raises OfaError for what does not fit.
    """
    where = locate(os.fspath(where))
    if where == "digits":
        return _digits()
    if os.path.isfile(where):
        form, *content = cifar.read_archive(where)
        return _from_arrays(form.name, *content)
    if not os.path.isdir(where):
        raise OfaError(f"data: {where!r} is neither a folder, nor a CIFAR archive, nor one of "
                       f"{', '.join(('digits',) + NAMES)}; give the folder that holds train/ and val/ "
                       "(or test/), or train_label and val_label")
    found = cifar.form_in(where)
    if found:
        return _from_arrays(found[0].name, *cifar.read_folder(*found))
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
    """The folder of the data sets that have a name."""
    return os.environ.get("OFA_DATASETS") or "datasets"


def locate(where: str) -> str:
    """The folder that a name stands for; anything else, a folder of that name too, is itself."""
    if where not in NAMES or os.path.exists(where):
        return where
    folder = os.path.join(home(), where)
    if not os.path.isdir(folder):
        raise OfaError(f"data: {where} is not there: {folder} is no folder; run `python runners/data.py "
                       f"prepare {where} --help`, or give the folder that holds it")
    return folder


def split(dataset: Dataset, fraction: float, seed: int) -> Tuple[Dataset, Dataset]:
    """(the rest, held out): `fraction` of the images, at least one, drawn by `seed`.

    Stratified: each class gives its share to within one image, and the total is exact: the images,
    shuffled and then sorted by class, are taken at equal distances from a random start.
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
    """scikit-learn's 1,797 scanned digits, 8x8 (UCI optical recognition); 20% are the test set."""
    from sklearn.datasets import load_digits  # takes a second: only when asked for

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    images = np.ascontiguousarray(np.broadcast_to(grey[..., None], grey.shape + (3,)))
    everything = Dataset("digits", tuple("0123456789"), digits.target.astype(np.int32), images)
    return split(everything, 0.2, seed=0)


def _from_arrays(name: str, classes: Tuple[str, ...], *parts: cifar.Arrays) -> Tuple[Dataset, Dataset]:
    train, test = (Dataset(name, classes, labels, images) for images, labels in parts)
    return train, test
