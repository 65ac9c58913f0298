"""Data sets as values: labels and where the images are; images are decoded on demand."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import List, Optional, Sequence, Tuple

import numpy as np

from ..errors import OfaError
from .decode import UnreadableImage, read_image
from .unreadable import Unreadable

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
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


def open_dataset(where: str, max_unreadable: float = 0.0) -> Tuple[Dataset, Dataset]:
    """(training, test) data set of `where`: "digits", or a folder in one of two layouts.

    Class folders: `train/<class>/*` and `val/<class>/*` (or `test/<class>/*` if there is no `val`).
    Lists: files `train_label` and `val_label` of lines "path label", the path relative to the
    folder, the label an integer from 0; blank lines and lines that begin with # are skipped.
    Small images (CIFAR) are decoded into memory at once. max_unreadable: the fraction of either set
    that may turn out unreadable later (see unreadable.py). Raises OfaError for what does not fit.
    """
    where = os.fspath(where)
    if where == "digits":
        return _digits()
    if not os.path.isdir(where):
        raise OfaError(f"data: {where!r} is neither 'digits' nor a folder; give the folder that "
                       "holds train/ and val/ (or test/), or train_label and val_label")
    listed = os.path.isfile(os.path.join(where, "train_label"))
    train, test = _open_lists(where) if listed else _open_folders(where)
    train, test = (replace(part, unreadable=Unreadable(max_unreadable, len(part)))
                   for part in (train, test))
    return train.in_memory(), test.in_memory()


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


def _open_folders(where: str) -> Tuple[Dataset, Dataset]:
    name = "imagefolder:" + os.path.basename(os.path.abspath(where))
    train = os.path.join(where, "train")
    tests = [os.path.join(where, part) for part in ("val", "test")]
    test = next(filter(os.path.isdir, tests), None)
    if not os.path.isdir(train) or test is None:
        raise OfaError(f"data: {where} needs class folders train/<class>/ and val/<class>/ (or "
                       f"test/<class>/), or lists train_label and val_label; it holds "
                       f"{', '.join(sorted(os.listdir(where))[:8]) or 'nothing'}")
    classes, test_classes = _class_names(train), _class_names(test)
    if classes != test_classes:
        odd = sorted(set(classes) ^ set(test_classes))
        raise OfaError(f"data: {train} and {test} must hold the same class folders; only one of "
                       f"them has {', '.join(odd[:8])}{' ...' if len(odd) > 8 else ''}")
    return _scan(name, train, classes), _scan(name, test, classes)


def _class_names(folder: str) -> Tuple[str, ...]:
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    if not names:
        raise OfaError(f"data: {folder} has no class folders; put images into {folder}/<class>/")
    return tuple(names)


def _scan(name: str, folder: str, classes: Tuple[str, ...]) -> Dataset:
    """A listing a class and no look at the files: 1.28 million take seconds, not minutes."""
    paths: List[str] = []
    counts = []
    for class_folder in (os.path.join(folder, c) for c in classes):
        files = sorted(f for f in os.listdir(class_folder)
                       if f.lower().endswith(EXTENSIONS) and not f.startswith("."))
        if not files:
            raise OfaError(f"data: class folder {class_folder} has no images "
                           f"({' '.join(EXTENSIONS)}); fill it, or remove it from every split")
        paths += [os.path.join(class_folder, f) for f in files]
        counts.append(len(files))
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), counts)
    return Dataset(name, classes, labels, paths=tuple(paths))


def _open_lists(where: str) -> Tuple[Dataset, Dataset]:
    name = "imagelist:" + os.path.basename(os.path.abspath(where))
    train_list, test_list = (os.path.join(where, f) for f in ("train_label", "val_label"))
    if not os.path.isfile(test_list):
        raise OfaError(f"data: {test_list} is missing; {train_list} needs its counterpart")
    paths, labels = _read_list(train_list, where, None)
    counts = np.bincount(labels)
    if not counts.all():
        raise OfaError(f"{train_list}: label {int(np.argmin(counts))} has no image; labels must "
                       f"count from 0 to the number of classes - 1, here {len(counts) - 1}")
    classes = tuple(str(label) for label in range(len(counts)))
    test_paths, test_labels = _read_list(test_list, where, len(classes))
    return (Dataset(name, classes, labels, paths=paths),
            Dataset(name, classes, test_labels, paths=test_paths))


def _read_list(path: str, where: str, classes: Optional[int]
               ) -> Tuple[Tuple[str, ...], np.ndarray]:
    """(paths, labels) of a list file; with `classes` given, labels must be below it."""
    paths, labels = [], []
    with open(path, encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(map(str.strip, lines), start=1):
            if not line or line.startswith("#"):
                continue
            fields = line.rsplit(None, 1)  # a path may hold blanks
            if len(fields) != 2 or "\0" in line or not re.fullmatch("[0-9]{1,6}", fields[1]):
                raise OfaError(f"{path}:{number}: {line[:200]!r} is not 'path label' with an integer "
                               "label from 0")
            if classes is not None and int(fields[1]) >= classes:
                raise OfaError(f"{path}:{number}: label {fields[1]} is out of range; the training "
                               f"list has labels 0 to {classes - 1}")
            paths.append(os.path.join(where, fields[0]))
            labels.append(int(fields[1]))
    if not paths:
        raise OfaError(f"{path}: lists no images; write lines 'path label'")
    return tuple(paths), np.array(labels, np.int32)
