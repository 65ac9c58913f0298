"""Label lists: text files that have a line "name label" for each image."""

from __future__ import annotations

import codecs
import os
import re
from typing import NamedTuple, Optional, Sequence, TextIO, Tuple

import numpy as np

from ..errors import OfaError


class Files(NamedTuple):
    """One split of a data set.

    Attributes:
        paths: n file names.
        labels: int32 (n,).
    """

    paths: Tuple[str, ...]
    labels: np.ndarray


class Layout(NamedTuple):
    """A data set of image files.

    Attributes:
        kind: the name of the layout, with which the data set's name begins.
        classes: the names of the classes.
        train: the training images.
        test: the test images.
    """

    kind: str
    classes: Tuple[str, ...]
    train: Files
    test: Files


def open_text(path: str, newline: Optional[str] = None) -> TextIO:
    """Open a text file as UTF-8, or as UTF-16 if it says so. Its byte order mark is no part of the text.

    Bytes that are not UTF-8 come as surrogates, so that names of files with such bytes stay what they are.

    Args:
        path: the file.
        newline: as of Python's `open`.
    """
    with open(path, "rb") as file:
        start = file.read(2)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):  # as PowerShell writes it
        return open(path, encoding="utf-16", errors="replace", newline=newline)
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def read_labels(path: str, classes: Optional[Sequence[str]] = None, columns: int = 0
                ) -> Tuple[Tuple[str, ...], np.ndarray]:
    """The file names and labels of a list. Empty lines and lines that begin with # are skipped.

    Args:
        path: the list.
        classes: the names of the classes, which may stand for labels. None: a label is a number from 0.
        columns: the number of fields of a line that count; blanks separate fields, and the last one that
            counts is the label. 0: all fields count, and a name may hold blanks.

    Returns:
        (names, labels int32 (n,)).

    Raises:
        OfaError: the list is empty, or a line is wrong. It names the line.
    """
    numbers = {name: number for number, name in enumerate(classes or ())}
    names, labels = [], []
    with open_text(path) as lines:
        for number, line in enumerate(map(str.strip, lines), start=1):
            if not line or line.startswith("#"):
                continue
            fields = line.split()[:columns] if columns else line.rsplit(None, 1)
            label = numbers.get(fields[-1], fields[-1])
            if len(fields) != 2 or "\0" in line or not re.fullmatch("[0-9]{1,6}", str(label)):
                allowed = "an integer label from 0" + (" or a class's name" if classes else "")
                raise OfaError(f"{path}:{number}: {line[:200]!r} is not 'path label' with {allowed}")
            if classes is not None and int(label) >= len(classes):
                raise OfaError(f"{path}:{number}: label {label} is out of range; the training set has "
                               f"labels 0 to {len(classes) - 1}")
            names.append(fields[0])
            labels.append(int(label))
    if not names:
        raise OfaError(f"{path}: lists no images; write lines 'path label'")
    return tuple(names), np.array(labels, np.int32)


def listed_files(where: str) -> Layout:
    """The data set of the lists train_label and val_label in `where` (see `datasets.open_dataset`)."""
    train_list, test_list = (os.path.join(where, f) for f in ("train_label", "val_label"))
    if not os.path.isfile(test_list):
        raise OfaError(f"data: {test_list} is missing; {train_list} needs its counterpart")
    names, labels = read_labels(train_list)
    counts = np.bincount(labels)
    if not counts.all():
        raise OfaError(f"{train_list}: label {int(np.argmin(counts))} has no image; labels must "
                       f"count from 0 to the number of classes - 1, here {len(counts) - 1}")
    classes = tuple(str(label) for label in range(len(counts)))
    test_names, test_labels = read_labels(test_list, classes)
    parts = [Files(tuple(os.path.join(where, name) for name in part), numbers)
             for part, numbers in ((names, labels), (test_names, test_labels))]
    return Layout("imagelist", classes, *parts)
