"""Data sets of image files in folders: which file belongs to which class.

No image is opened here, only lists of labels. These layouts are understood:

    train/<class>/*, val/<class>/*                           class folders, with sub-folders
    train/<class>/*, val/*, val_label                        ImageNet as it is distributed
    train/<class>/images/*, val/images/*,
    val/val_annotations.txt, wnids.txt                       Tiny ImageNet as it is distributed
    <class>/*, train/<class>/* or val/<class>/* alone        one of the two sets, or one that is to be split

The names in TRAIN and TEST may stand for train/ and val/.
"""

from __future__ import annotations

import os
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..errors import OfaError
from .class_names import same_name
from .lists import NO_FILES, Files, Layout, open_text, read_labels
from .walk import BROKEN, EXTENSIONS, Content, Notes, content, image_files

TRAIN = ("train", "ILSVRC2012_img_train")  # names of the folder of training images
# Names of the folder of test images. The first that is there counts.
TEST = ("val", "test", "ILSVRC2012_img_val", "valid", "validation")


def class_folders(where: str, notes: Notes, partial: bool = False) -> Layout:
    """The data set in the folder `where`, with its training images in class folders.

    Its test images lie in the same class folders, or all in one folder, with the file `where`/val_label.
    Lines of that are "name label". The name is relative to the folder of the test images. The labels are
    the names of class folders, or their numbers in alphabetical order, from 0. Where there are class
    folders, images beside them are left out.

    Args:
        where: the folder.
        notes: what is left out is noted there.
        partial: whether training images or test images may be absent, or test images have no labels. Then
            class folders in `where` itself are training images.

    Raises:
        OfaError: a folder is missing or empty, the test images are of other classes, or val_label is wrong.
    """
    train, test = (_first(where, names, notes) for names in (TRAIN, TEST))
    if not (train and test or partial):
        raise OfaError(needs(where))
    if not train and not test:
        return _unsplit(where, notes)
    if not train:
        classes = _class_names(test, content(test), notes)
        return Layout("imagefolder", classes, NO_FILES, _scan(test, classes, notes))
    classes = _class_names(train, content(train), notes)
    files = _scan(train, classes, notes)
    tests = _test_files(where, train, test, classes, notes, partial) if test else NO_FILES
    return Layout("imagefolder", classes, files, tests)


def needs(where: str) -> str:
    """What is wrong with the folder `where`, in which class folders or lists are missing."""
    return (f"data: {where} needs class folders train/<class>/ and val/<class>/ (or test/<class>/), or lists "
            f"train_label and val_label; it holds {', '.join(sorted(os.listdir(where))[:8]) or 'nothing'}. "
            "Of a set of class folders or a train_label alone, --set data.test_fraction=0.2 makes a fifth "
            "the test images")


def is_tiny_imagenet(where: str) -> bool:
    """Whether the folder `where` is laid out as tiny-imagenet-200.zip is, its test images in one folder."""
    images = os.path.join(where, "val", "images")
    return os.path.isfile(os.path.join(where, "wnids.txt")) and os.path.isdir(images) and \
        bool(os.listdir(images))


def tiny_imagenet(where: str, notes: Notes) -> Layout:
    """Tiny ImageNet as it is distributed. Its validation images, which have labels, are the test set."""
    with open_text(os.path.join(where, "wnids.txt")) as file:
        classes = tuple(sorted(file.read().split()))
    train = _scan(os.path.join(where, "train"), classes, notes, "images")
    val = _first(where, TEST, notes)
    names, labels = read_labels(os.path.join(val, "val_annotations.txt"), classes, columns=2)  # a box follows
    paths = tuple(os.path.join(val, "images", name) for name in names)
    return Layout("tiny-imagenet", classes, train, Files(paths, labels, _shown(val)))


def class_names(folder: str) -> Tuple[str, ...]:
    """The names of the class folders in `folder`, in alphabetical order, whatever their spelling in Unicode.

    Raises:
        OfaError: there are none, one is a link to nothing, or two have the same name but for its spelling
            in Unicode.
    """
    return _class_names(folder, content(folder))


def _class_names(folder: str, inside: Content, notes: Optional[Notes] = None) -> Tuple[str, ...]:
    """See `class_names`; `inside` is what lies in `folder`. Images beside the class folders are noted."""
    broken = [name for name, kind in inside.others if kind == BROKEN]
    if broken:
        raise OfaError(f"data: {os.path.join(folder, broken[0])} is a link to nothing: mend it, or remove it")
    if not inside.folders:
        raise OfaError(f"data: {folder} has no class folders; put images into {folder}/<class>/")
    once: Dict[str, str] = {}
    for name in inside.folders:
        if once.setdefault(same_name(name), name) != name:
            raise OfaError(f"data: {folder} holds the class folder {name} twice, in two spellings of "
                           "Unicode: make them one")
    if notes and inside.images:
        notes.leave_out("images beside class folders", os.path.join(folder, inside.images[0]),
                        len(inside.images))
    return tuple(sorted(inside.folders, key=same_name))


def _first(where: str, names: Sequence[str], notes: Notes) -> str:
    """The first of the folders `names` in `where` that exists, or "". The others that exist are noted."""
    there = [name for name in names if os.path.isdir(os.path.join(where, name))]
    for name in there[1:]:
        notes.say(f"{name}/ is not used, as {there[0]}/ is there")
    return os.path.join(where, there[0]) if there else ""


def _unsplit(where: str, notes: Notes) -> Layout:
    """The data set of the class folders in `where` itself. Folders without images are no classes."""
    names = _class_names(where, content(where), notes)
    for name in names:
        if any(os.path.isdir(os.path.join(where, name, part)) for part in TRAIN + TEST):
            raise OfaError(f"data: {where} holds data sets, as {name}: give the folder of one of them")
    found = {name: _class_images(where, name, notes) for name in names}
    for name in names:
        if not found[name]:
            notes.leave_out("folders without images", os.path.join(where, name))
    classes = tuple(name for name in names if found[name])
    if not classes:
        raise OfaError(needs(where))
    return Layout("imagefolder", classes, _files(where, [(name, found[name]) for name in classes]), NO_FILES)


def _test_files(where: str, train: str, test: str, classes: Sequence[str], notes: Notes, partial: bool
                ) -> Files:
    """The test images in the folder `test`; see `class_folders`."""
    inside = content(test)
    own = {same_name(name): name for name in inside.folders}
    names = [own.get(same_name(name), "") for name in classes]
    if any(names) or not inside.images:
        every = _class_names(test, inside, notes)
        others = [n for n in every if n not in names and not (n == "images" and _is_empty(test, n))]
        if others or not any(names):
            odd = sorted({*others, *(name for name, found in zip(classes, names) if not found)})
            raise OfaError(f"data: {train} and {test} must hold the same class folders; only one of them has "
                           f"{', '.join(odd[:8])}{' ...' if len(odd) > 8 else ''}")
        return _some_classes(test, names, classes, notes)
    if partial and not os.path.isfile(_labels_file(where)):
        notes.say(f"{os.path.basename(test)}/ is not used, as its images have no labels")
        return NO_FILES
    return _flat(where, test, classes, inside.images, notes)


def _is_empty(folder: str, name: str) -> bool:
    """Whether the folder `name` in `folder` is empty, as Tiny ImageNet's is once its images are sorted."""
    return not os.listdir(os.path.join(folder, name))


def _some_classes(test: str, names: Sequence[str], classes: Sequence[str], notes: Notes) -> Files:
    """The test images in the class folders `names`, one a class. A class may have none ("" or empty)."""
    images = [(name, _class_images(test, name, notes) if name else []) for name in names]
    absent = [classes[i] for i, (_, found) in enumerate(images) if not found]
    if len(absent) == len(classes):
        raise OfaError(f"data: class folder {os.path.join(test, max(names))} has no images, and no other in "
                       f"{test} has ({' '.join(EXTENSIONS)})")
    if absent:
        notes.say(f"{len(absent)} of {len(classes)} classes have no test images ({', '.join(absent[:3])}"
                  f"{' ...' if len(absent) > 3 else ''})")
    return _files(test, images)


def _scan(folder: str, classes: Sequence[str], notes: Notes, inside: str = "") -> Files:
    """The images of all classes; those of c lie in `folder`/c/`inside`. OfaError if a class has none."""
    images = []
    for name in (os.path.join(c, inside) if inside else c for c in classes):
        found = _class_images(folder, name, notes)
        if not found:
            raise OfaError(f"data: class folder {os.path.join(folder, name)} has no images "
                           f"({' '.join(EXTENSIONS)}); fill it, or remove it from every split")
        images.append((name, found))
    return _files(folder, images)


def _class_images(folder: str, name: str, notes: Notes) -> List[str]:
    """The names of the images in the class folder `name` of `folder`, relative to it."""
    class_folder = os.path.join(folder, name)
    try:
        above = (os.path.realpath(folder),) if os.path.islink(class_folder) else ()
        return image_files(class_folder, notes, above)
    except OSError as error:
        raise OfaError(f"data: class folder {error.filename or class_folder} cannot be read "
                       f"({error.strerror})") from error


def _files(folder: str, images: Sequence[Tuple[str, List[str]]]) -> Files:
    """The files of classes 0, 1 and so on: (class folder in `folder`, names of its images) of each."""
    paths = [os.path.join(folder, name, image) for name, found in images for image in found]
    counts = [len(found) for _, found in images]
    return Files(tuple(paths), np.repeat(np.arange(len(images), dtype=np.int32), counts), _shown(folder))


def _shown(folder: str) -> str:
    return f"{os.path.basename(os.path.abspath(folder))}/"


def _labels_file(where: str) -> str:
    return os.path.join(where, "val_label")


def _flat(where: str, folder: str, classes: Sequence[str], images: Sequence[str], notes: Notes) -> Files:
    """The images in `folder`, which the file val_label in `where` labels."""
    labels_file = _labels_file(where)
    if not os.path.isfile(labels_file):
        raise OfaError(f"data: the images in {folder} have no labels; write {labels_file} with lines "
                       "'name label', or let runners/data.py prepare imagenet write it")
    names, labels = read_labels(labels_file, classes, folder=folder, notes=notes)
    unlisted = sorted(set(images) - set(names))
    if unlisted:
        raise OfaError(f"{labels_file}: {len(unlisted)} images in {folder} are not listed, for "
                       f"example {unlisted[0]}")
    return Files(tuple(os.path.join(folder, name) for name in names), labels, _shown(folder))
