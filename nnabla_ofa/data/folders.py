"""Data sets of image files in folders: which file belongs to which class.

No image is opened here, only lists of labels. Three layouts are understood:

    train/<class>/*, val/<class>/* (or test/<class>/*)       class folders
    train/<class>/*, val/*, val_label                        ImageNet as it is distributed
    train/<class>/images/*, val/images/*,
    val/val_annotations.txt, wnids.txt                       Tiny ImageNet as it is distributed
"""

from __future__ import annotations

import os
from typing import List, Sequence, Tuple

import numpy as np

from ..errors import OfaError
from .lists import Files, Layout, open_text, read_labels

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
TRAIN = ("train", "ILSVRC2012_img_train")     # names of the folder of training images
TEST = ("val", "test", "ILSVRC2012_img_val")  # names of the folder of test images; the first there is counts


def class_folders(where: str) -> Layout:
    """The data set in the folder `where`, with its training images in class folders.

    Its test images lie in the same class folders, or all in one folder, with the file `where`/val_label.
    Lines of that are "name label". The name is relative to the folder of the test images. The label is
    the name of a class folder, or its number in alphabetical order, from 0.

    Raises:
        OfaError: a folder is missing or empty, the classes differ, or val_label is wrong.
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
    """Whether the folder `where` is laid out as tiny-imagenet-200.zip is."""
    return os.path.isfile(os.path.join(where, "wnids.txt"))


def tiny_imagenet(where: str) -> Layout:
    """Tiny ImageNet as it is distributed. Its validation images, which have labels, are the test set."""
    with open_text(os.path.join(where, "wnids.txt")) as file:
        classes = tuple(sorted(file.read().split()))
    train = _scan(os.path.join(where, "train"), classes, "images")
    annotations = os.path.join(where, "val", "val_annotations.txt")
    names, labels = read_labels(annotations, classes, columns=2)  # a box follows
    paths = tuple(os.path.join(where, "val", "images", name) for name in names)
    return Layout("tiny-imagenet", classes, train, Files(paths, labels))


def class_names(folder: str) -> Tuple[str, ...]:
    """The names of the class folders in `folder`, in alphabetical order.

    Raises:
        OfaError: there are none.
    """
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    if not names:
        raise OfaError(f"data: {folder} has no class folders; put images into {folder}/<class>/")
    return tuple(names)


def _first(where: str, names: Sequence[str]) -> str:
    """The first of the folders `names` in `where` that exists, or ""."""
    folders = (os.path.join(where, name) for name in names)
    return next(filter(os.path.isdir, folders), "")


def _images(folder: str) -> List[str]:
    """The names of the image files in `folder`, in alphabetical order."""
    return sorted(f for f in os.listdir(folder)
                  if f.lower().endswith(EXTENSIONS) and not f.startswith("."))


def _scan(folder: str, classes: Sequence[str], inside: str = "") -> Files:
    """The images of all classes; those of class c lie in `folder`/c/`inside`.

    Each class folder is listed and no file is looked at, so that 1.28 million files take seconds.
    """
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
    """The images in `folder`, which the file val_label in `where` labels."""
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
