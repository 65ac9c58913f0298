"""Data sets of image files in folders: who lies where, and nothing is read but label lists.

    train/<class>/*, val/<class>/* (or test/<class>/*)       class folders
    train/<class>/*, val/* and val_label                     ImageNet as it is distributed
    wnids.txt, train/<class>/images/*, val/images/*          Tiny ImageNet, val/val_annotations.txt
"""

from __future__ import annotations

import os
from typing import List, Sequence, Tuple

import numpy as np

from ..errors import OfaError
from .lists import Files, Layout, read_labels

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
TRAIN = ("train", "ILSVRC2012_img_train")
TEST = ("val", "test", "ILSVRC2012_img_val")


def class_folders(where: str) -> Layout:
    """The data set in `where`; its test images in class folders, too, or flat with `val_label`.

    Lines of val_label are "name label", the name relative to the folder of the test images, the
    label a class's folder or its number in alphabetical order, from 0. Raises OfaError.
    """
    train, test = (_first(where, names) for names in (TRAIN, TEST))
    if not train or not test:
        raise OfaError(f"data: {where} needs class folders train/<class>/ and val/<class>/ (or "
                       f"test/<class>/), or lists train_label and val_label; it holds "
                       f"{', '.join(sorted(os.listdir(where))[:8]) or 'nothing'}")
    classes = class_names(train)
    if _images(test):
        return Layout("imagefolder", classes, _scan(train, classes), _flat(where, test, classes))
    test_classes = class_names(test)
    if classes != test_classes:
        odd = sorted(set(classes) ^ set(test_classes))
        raise OfaError(f"data: {train} and {test} must hold the same class folders; only one of "
                       f"them has {', '.join(odd[:8])}{' ...' if len(odd) > 8 else ''}")
    return Layout("imagefolder", classes, _scan(train, classes), _scan(test, classes))


def is_tiny_imagenet(where: str) -> bool:
    """Whether `where` is laid out as tiny-imagenet-200.zip is."""
    return os.path.isfile(os.path.join(where, "wnids.txt"))


def tiny_imagenet(where: str) -> Layout:
    """Tiny ImageNet as it is distributed; its labelled validation images are the test set."""
    with open(os.path.join(where, "wnids.txt"), encoding="utf-8") as file:
        classes = tuple(sorted(file.read().split()))
    train = _scan(os.path.join(where, "train"), classes, "images")
    annotations = os.path.join(where, "val", "val_annotations.txt")
    names, labels = read_labels(annotations, classes, columns=2)  # then a box
    paths = tuple(os.path.join(where, "val", "images", name) for name in names)
    return Layout("tiny-imagenet", classes, train, Files(paths, labels))


def class_names(folder: str) -> Tuple[str, ...]:
    """The names of the class folders in `folder`, in alphabetical order; OfaError for none."""
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    if not names:
        raise OfaError(f"data: {folder} has no class folders; put images into {folder}/<class>/")
    return tuple(names)


def _first(where: str, names: Sequence[str]) -> str:
    folders = (os.path.join(where, name) for name in names)
    return next(filter(os.path.isdir, folders), "")


def _images(folder: str) -> List[str]:
    return sorted(f for f in os.listdir(folder)
                  if f.lower().endswith(EXTENSIONS) and not f.startswith("."))


def _scan(folder: str, classes: Sequence[str], inside: str = "") -> Files:
    """A listing a class and no look at the files: 1.28 million take seconds, not minutes."""
    paths: List[str] = []
    counts = []
    for class_folder in (os.path.join(folder, c, inside) if inside else os.path.join(folder, c)
                         for c in classes):
        try:
            files = _images(class_folder)
        except OSError as error:
            raise OfaError(f"data: class folder {class_folder} cannot be read ({error.strerror})"
                           ) from error
        if not files:
            raise OfaError(f"data: class folder {class_folder} has no images "
                           f"({' '.join(EXTENSIONS)}); fill it, or remove it from every split")
        paths += [os.path.join(class_folder, f) for f in files]
        counts.append(len(files))
    return Files(tuple(paths), np.repeat(np.arange(len(classes), dtype=np.int32), counts))


def _flat(where: str, folder: str, classes: Sequence[str]) -> Files:
    """Test images that lie in one folder, labelled by the file val_label in `where`."""
    labels_file = os.path.join(where, "val_label")
    if not os.path.isfile(labels_file):
        raise OfaError(f"data: the images in {folder} have no labels; write {labels_file} with lines "
                       "'name label', or let runners/data.py prepare imagenet write it")
    names, labels = read_labels(labels_file, classes)
    unlisted = sorted(set(_images(folder)) - set(names))
    if unlisted:
        raise OfaError(f"{labels_file}: {len(unlisted)} images in {folder} are not listed, for "
                       f"example {unlisted[0]}")
    return Files(tuple(os.path.join(folder, name) for name in names), labels)
