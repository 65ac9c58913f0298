"""Label lists: text files that have a line "name label" for each image."""

from __future__ import annotations

import codecs
import os
import re
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, TextIO, Tuple

import numpy as np

from ..errors import OfaError
from .class_names import numbers, same_name
from .walk import Notes


class Files(NamedTuple):
    """One split of a data set.

    Attributes:
        paths: n file names.
        labels: int32 (n,).
        source: the folder or list that they come from, as messages name it.
    """

    paths: Tuple[str, ...]
    labels: np.ndarray
    source: str


NO_FILES = Files((), np.empty(0, np.int32), "")


class Layout(NamedTuple):
    """A data set of image files.

    Attributes:
        kind: the name of the layout, with which the data set's name begins.
        classes: the names of the classes.
        train: the training images. NO_FILES: there is no place for them.
        test: the test images, likewise.
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


def read_labels(path: str, classes: Optional[Sequence[str]] = None, columns: int = 0,
                folder: Optional[str] = None, notes: Optional[Notes] = None
                ) -> Tuple[Tuple[str, ...], np.ndarray]:
    """The file names and labels of a list. Empty lines and comments are skipped.

    A comment begins with # and a blank. A line that begins with # and another character is one, too, unless
    it names a file that is there, as of a folder "#selfie".

    All labels of a list are read alike. Where each of them is the name of a class, they are names. Else
    they are numbers of classes. So folders "1", "2" and "3" may be listed under their names, or as 0, 1, 2.

    Args:
        path: the list.
        classes: the names of the classes, which may stand for labels. None: a label is a number from 0.
        columns: the number of fields of a line that count; blanks separate fields, and the last one that
            counts is the label. 0: all fields count, a file's name may hold blanks, and so may a class's.
        folder: the folder that file names are relative to. None: every line that begins with # is a comment.
        notes: what may surprise is noted there.

    Returns:
        (names, labels int32 (n,)).

    Raises:
        OfaError: the list is empty, a line is wrong, or labels are read in two ways. It names the line.
    """
    known = numbers(classes or ())
    names: List[str] = []
    labels: List[str] = []
    once: Dict[str, str] = {}  # one text for all lines of one label
    for entry in _entries(path, known, columns, folder, notes):
        names.append(entry.name)
        labels.append(once.setdefault(entry.label, entry.label))
    if not names:
        raise OfaError(f"{path}: lists no images; write lines 'path label'")
    as_names = {label: known[same_name(label)] for label in once if same_name(label) in known}
    as_numbers = {label: int(label) for label in once
                  if re.fullmatch("[0-9]{1,6}", label) and (classes is None or int(label) < len(classes))}
    for reading, what in ((as_names, "names of classes"), (as_numbers, "numbers of classes, from 0")):
        if len(reading) == len(once):
            if notes and any(as_names[label] != as_numbers.get(label, as_names[label]) for label in as_names):
                notes.say(f"the labels in {os.path.basename(path)} are read as {what}")
            return tuple(names), np.array([reading[label] for label in labels], np.int32)
    neither = next((label for label in once if label not in as_names and label not in as_numbers), None)
    wrong = neither or next(label for label in once if label not in as_names)
    entry = next(entry for entry in _entries(path, known, columns, folder) if entry.label == wrong)
    if neither and (classes is None or not neither.isdecimal()):
        raise _no_entry(path, entry.number, entry.line, known)
    if neither:
        raise OfaError(f"{path}:{entry.number}: label {wrong} is out of range; the training set has labels 0 "
                       f"to {len(known) - 1}")
    raise OfaError(f"{path}:{entry.number}: label {wrong} is a number, and {next(iter(as_names))} in another "
                   "line is a class's name; write all labels of a list as names, or all as numbers")


class _Entry(NamedTuple):
    """A line of a list that names an image.

    Attributes:
        number: the line's number, from 1.
        line: the line.
        name: the image's file.
        label: its label, as text.
    """

    number: int
    line: str
    name: str
    label: str


def _entries(path: str, classes: Mapping[str, object], columns: int, folder: Optional[str],
             notes: Optional[Notes] = None) -> Iterator[_Entry]:
    """The entries of a list; see `read_labels`. The names of `classes` are as `same_name` gives them."""
    words = sorted({len(name.split()) for name in classes if len(name.split()) > 1}, reverse=True)
    with open_text(path) as lines:
        for number, line in enumerate(map(str.strip, lines), start=1):
            if not line or line.startswith("#") and (folder is None or not line[1:2].strip()):
                continue
            fields = line.split()[:columns] if columns else line.rsplit(None, 1)
            for count in () if columns else words:  # a class's name may hold blanks
                name = line.rsplit(None, count)[0]
                if same_name(line[len(name):].strip()) in classes:
                    fields = [name, line[len(name):].strip()]
                    break
            if line.startswith("#") and not os.path.exists(os.path.join(folder or "", fields[0])):
                if notes and len(fields) == 2:
                    notes.leave_out("lines that begin with #", os.path.join(folder or "", fields[0]))
                continue
            if len(fields) != 2 or "\0" in line:
                raise _no_entry(path, number, line, classes)
            yield _Entry(number, line, fields[0], fields[1])


def _no_entry(path: str, number: int, line: str, classes: Mapping[str, object]) -> OfaError:
    allowed = "an integer label from 0" + (" or a class's name" if classes else "")
    return OfaError(f"{path}:{number}: {line[:200]!r} is not 'path label' with {allowed}")


def listed_files(where: str, notes: Notes, partial: bool = False) -> Layout:
    """The data set of the lists train_label and val_label in `where`.

    Args:
        where: the folder, which paths are relative to. A label is a number from 0.
        notes: what is left out is noted there.
        partial: whether one of the lists may be absent.

    Raises:
        OfaError: a list is absent or wrong.
    """
    train_list, test_list = (os.path.join(where, f) for f in ("train_label", "val_label"))
    if not partial and not os.path.isfile(test_list):
        raise OfaError(f"data: {test_list} is missing; {train_list} needs its counterpart, or "
                       "--set data.test_fraction=0.2 makes a fifth of its images the test images")
    train, test, classes = NO_FILES, NO_FILES, None
    if os.path.isfile(os.path.join(where, "train_label")):
        train, classes = _listed(where, "train_label", None, notes)
    if os.path.isfile(os.path.join(where, "val_label")):
        test, classes = _listed(where, "val_label", classes, notes)
    return Layout("imagelist", classes or (), train, test)


def _listed(where: str, name: str, classes: Optional[Tuple[str, ...]], notes: Notes
            ) -> Tuple[Files, Tuple[str, ...]]:
    """The images in the list `name`, and the classes: those given, else as many as it has labels."""
    path = os.path.join(where, name)
    names, labels = read_labels(path, classes, folder=where, notes=notes)
    if classes is None:
        counts = np.bincount(labels)
        if not counts.all():
            raise OfaError(f"{path}: label {int(np.argmin(counts))} has no image; labels must count from 0 "
                           f"to the number of classes - 1, here {len(counts) - 1}")
        classes = tuple(str(label) for label in range(len(counts)))
    return Files(tuple(os.path.join(where, name) for name in names), labels, name), classes
