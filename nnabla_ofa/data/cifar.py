"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) as they are distributed: as archives, or unpacked.

Each of them comes in a binary and in a Python version. The Python version holds pickles, of which only
plain values and NumPy arrays of bytes are let in. No function of NumPy runs on a pickle's word: it would make
room for an array of any size.
"""

from __future__ import annotations

import os
from typing import Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np

from ..errors import OfaError
from ..system.files import read_regular
from ..system.unpickler import Allowed, Refused, unpickle
from .archives import DAMAGED, members

_FIVE = tuple(f"data_batch_{i}" for i in range(1, 6))


class Form(NamedTuple):
    """One of the four archives.

    Attributes:
        name: the data set's name.
        folder: the folder within the archive that holds all files.
        train: the files of the training set, in order.
        test: the file of the test set.
        classes: the file of the class names.
        label_bytes: the number of label bytes at the start of a record; the last of them counts. 0: the
            files are pickles.
    """

    name: str
    folder: str
    train: Tuple[str, ...]
    test: str
    classes: str
    label_bytes: int


FORMS = (
    Form("cifar10", "cifar-10-batches-bin", tuple(f"{name}.bin" for name in _FIVE),
         "test_batch.bin", "batches.meta.txt", 1),
    Form("cifar100", "cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt", 2),
    Form("cifar10", "cifar-10-batches-py", _FIVE, "test_batch", "batches.meta", 0),
    Form("cifar100", "cifar-100-python", ("train",), "test", "meta", 0))

MOST_BYTES = 2**28  # of all files together; those of CIFAR-100 have 186 million


class _Described:
    """A part of a NumPy array: what a pickle says of it, and nothing made of it.

    Attributes:
        arguments: what it is called with.
        state: what it is set to.
    """

    def __init__(self, *arguments: object):
        self.arguments = arguments
        self.state: object = ()

    def __setstate__(self, state: object) -> None:
        self.state = state


# What a pickle of NumPy arrays names. `_reconstruct` is NumPy's private name for making an array; Python 3
# writes bytes for Python 2 as a text that is to be encoded.
_ARRAYS: Allowed = {name: _Described for name in (
    ("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype"),
    ("_codecs", "encode"))}

Content = Callable[[str], bytes]  # a file's name -> what the file holds
Arrays = Tuple[np.ndarray, np.ndarray]  # images uint8 (n, 32, 32, 3), RGB; labels int32 (n,)


def form_in(where: str) -> Optional[Tuple[Form, str]]:
    """The form that is unpacked in `where`, or in a folder of the archive's name there, and which folder."""
    return next(((form, folder) for form in FORMS
                 for folder in (where, os.path.join(where, form.folder))
                 if all(os.path.isfile(os.path.join(folder, name))
                        for name in (form.test, form.classes))), None)


def read_folder(form: Form, folder: str) -> Tuple[Tuple[str, ...], Arrays, Arrays]:
    """(class names, training set, test set) of an archive that is unpacked in `folder`.

    Raises:
        OfaError: a file is missing or does not hold what it should.
    """
    def content(name: str) -> bytes:
        try:
            return read_regular(os.path.join(folder, name), MOST_BYTES)
        except OSError as error:
            raise OfaError(f"{os.path.join(folder, name)}: cannot be read ({error.strerror}); unpack "
                           "the archive again") from error

    return _read(form, content, folder)


def read_archive(path: str) -> Tuple[Form, Tuple[str, ...], Arrays, Arrays]:
    """(form, class names, training set, test set) of one of the four archives, a .tar.gz file.

    Raises:
        OfaError: `path` is no such archive, or damaged.
    """
    wanted = {f"{form.folder}/{name}" for form in FORMS for name in (*form.train, form.test, form.classes)}
    files: Dict[str, bytes] = {}
    try:
        for name, file in members(path, MOST_BYTES):
            with file:
                if os.path.normpath(name) in wanted:
                    files[os.path.normpath(name)] = file.read()
    except DAMAGED as error:
        reason = next(iter(str(error).splitlines()), "damaged")  # tarfile says it for every compression
        raise OfaError(f"data: {path} cannot be read as a .tar archive ({reason}); fetch it again") from error
    form = next((f for f in FORMS if f"{f.folder}/{f.test}" in files), None)
    if form is None:
        raise OfaError(f"data: {path} is none of the CIFAR archives; they hold a folder "
                       f"{', '.join(f.folder for f in FORMS)}")

    def content(name: str) -> bytes:
        if f"{form.folder}/{name}" not in files:
            raise OfaError(f"data: {path} has no {form.folder}/{name}; fetch it again")
        return files[f"{form.folder}/{name}"]

    return (form, *_read(form, content, path))


def _read(form: Form, content: Content, where: str) -> Tuple[Tuple[str, ...], Arrays, Arrays]:
    read = _binary if form.label_bytes else _pickled
    if form.label_bytes:
        classes = tuple(content(form.classes).decode("utf-8-sig", "replace").split())
    else:
        names = _unpickle(content(form.classes), f"{where}/{form.classes}")
        found = names.get("label_names") or names.get("fine_label_names")
        classes = tuple(found) if isinstance(found, (list, tuple)) else ()

    def part(files: Tuple[str, ...]) -> Arrays:
        images, labels = zip(*(read(form, content(name), f"{where}/{name}") for name in files))
        pixels, numbers = np.concatenate(images), np.concatenate(labels).astype(np.int32)
        if len(numbers) == 0 or numbers.min() < 0 or numbers.max() >= len(classes):
            raise OfaError(f"{where}: labels do not fit the {len(classes)} names in {form.classes}; "
                           "unpack the archive again")
        pixels = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(pixels), numbers

    return classes, part(form.train), part((form.test,))


def _binary(form: Form, data: bytes, path: str) -> Arrays:
    """(pixels (n, 3072), labels) of records: label bytes, then 1024 red, green and blue values each."""
    size = form.label_bytes + 3072
    if len(data) % size or not data:
        raise OfaError(f"{path}: {len(data)} bytes are not records of {size}; unpack the archive again")
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    return records[:, form.label_bytes:], records[:, form.label_bytes - 1]


def _pickled(form: Form, data: bytes, path: str) -> Arrays:
    """(pixels (n, 3072), labels) of a pickled dictionary."""
    batch = _unpickle(data, path)
    pixels = _array(batch.get("data"))
    labels = batch.get("labels", batch.get("fine_labels"))
    if not (isinstance(labels, list) and pixels.shape == (len(labels), 3072)
            and all(isinstance(n, int) and 0 <= n < 256 for n in labels)):
        raise OfaError(f"{path}: does not hold data (n, 3072) and n labels; unpack the archive again")
    return pixels, np.array(labels, np.int64)


def _array(described: object) -> np.ndarray:
    """The array of bytes that a pickle describes; an empty one if it describes anything else."""
    try:
        _, shape, dtype, by_column, data = described.state  # type: ignore[attr-defined]
        if isinstance(data, _Described):
            data, _ = data.arguments
        if isinstance(data, str):  # of Python 2, or as _codecs.encode gets it
            data = data.encode("latin1")
        if dtype.arguments[0] != "u1" or not isinstance(data, bytes):
            return np.empty(0, np.uint8)
        return np.frombuffer(data, np.uint8).reshape(shape, order="F" if by_column else "C")
    except (AttributeError, TypeError, ValueError, IndexError, OverflowError):
        return np.empty(0, np.uint8)


def _unpickle(data: bytes, path: str) -> Dict[str, object]:
    try:
        found = unpickle(data, _ARRAYS, encoding="latin1")
    except Refused as error:
        raise OfaError(f"{path}: cannot be read (it asks for {error.asked}, which no CIFAR file does); "
                       "unpack the archive again") from error
    except OfaError as error:
        raise OfaError(f"{path}: cannot be read ({error}); unpack the archive again") from error
    if not isinstance(found, dict):
        raise OfaError(f"{path}: holds a {type(found).__name__}, not a dictionary; unpack the archive again")
    return found
