"""Label lists: text files that have a line "name label" for each image."""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, TextIO, Tuple

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


def same_name(name: str) -> str:
    """The name in Unicode's composed form (NFC). Two spellings of one name, as of "café", give one text."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def read_labels(path: str, classes: Optional[Sequence[str]] = None, columns: int = 0
                ) -> Tuple[Tuple[str, ...], np.ndarray]:
    """The file names and labels of a list. Empty lines and lines that begin with # are skipped.

    All labels of a list are read alike. Where each of them is the name of a class, they are names. Else
    they are numbers of classes. So folders "1", "2" and "3" may be listed under their names, or as 0, 1, 2.

    Args:
        path: the list.
        classes: the names of the classes, which may stand for labels. None: a label is a number from 0.
        columns: the number of fields of a line that count; blanks separate fields, and the last one that
            counts is the label. 0: all fields count, a file's name may hold blanks, and so may a class's.

    Returns:
        (names, labels int32 (n,)).

    Raises:
        OfaError: the list is empty, a line is wrong, or labels are read in two ways. It names the line.
    """
    numbers = {same_name(name): number for number, name in enumerate(classes or ())}
    names: List[str] = []
    labels: List[str] = []
    once: Dict[str, str] = {}  # one text for all lines of one label
    for _, _, name, label in _entries(path, numbers, columns):
        names.append(name)
        labels.append(once.setdefault(label, label))
    if not names:
        raise OfaError(f"{path}: lists no images; write lines 'path label'")
    as_names = {label: numbers[same_name(label)] for label in once if same_name(label) in numbers}
    as_numbers = {label: int(label) for label in once
                  if re.fullmatch("[0-9]{1,6}", label) and (classes is None or int(label) < len(classes))}
    for reading in (as_names, as_numbers):
        if len(reading) == len(once):
            return tuple(names), np.array([reading[label] for label in labels], np.int32)
    neither = next((label for label in once if label not in as_names and label not in as_numbers), None)
    wrong = neither or next(label for label in once if label not in as_names)
    number, line = next((number, line) for number, line, _, label in _entries(path, numbers, columns)
                        if label == wrong)
    if neither and (classes is None or not neither.isdecimal()):
        raise _no_entry(path, number, line, numbers)
    if neither:
        raise OfaError(f"{path}:{number}: label {wrong} is out of range; the training set has labels 0 to "
                       f"{len(numbers) - 1}")
    raise OfaError(f"{path}:{number}: label {wrong} is a number, and {next(iter(as_names))} in another line "
                   "is a class's name; write all labels of a list as names, or all as numbers")


def _entries(path: str, classes: Mapping[str, object], columns: int) -> Iterator[Tuple[int, str, str, str]]:
    """(number of the line, line, file name, label) of each entry of a list; see `read_labels`."""
    blanks = sorted({len(name.split()) for name in classes if len(name.split()) > 1}, reverse=True)
    with open_text(path) as lines:
        for number, line in enumerate(map(str.strip, lines), start=1):
            if not line or line.startswith("#"):
                continue
            fields = line.split()[:columns] if columns else line.rsplit(None, 1)
            for words in () if columns else blanks:
                name = line.rsplit(None, words)[0]
                if same_name(line[len(name):].strip()) in classes:
                    fields = [name, line[len(name):].strip()]
                    break
            if len(fields) != 2 or "\0" in line:
                raise _no_entry(path, number, line, classes)
            yield number, line, fields[0], fields[1]


def _no_entry(path: str, number: int, line: str, classes: Mapping[str, object]) -> OfaError:
    allowed = "an integer label from 0" + (" or a class's name" if classes else "")
    return OfaError(f"{path}:{number}: {line[:200]!r} is not 'path label' with {allowed}")


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
