"""PyTorch's files of weights (.pth, .pt, .pyth), read and written without torch.

`read_state_dict` runs no code of the file: it knows by name the few functions and classes of which a state
dict is made, and refuses every other. It reads both forms that torch.save has written: the zip archive
(torch 1.6 and later) and the legacy form. What the file declares is compared with what it holds before room
is made for it.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections import OrderedDict
from contextlib import contextmanager
from math import prod
from typing import BinaryIO, Callable, Dict, Iterator, Mapping, Optional, Tuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..errors import OfaError
from ..system.files import Location, write_atomically
from ..system.unpickler import Refused
from .torch_bytes import MAGIC, PROTOCOL, Item, legacy_form, zip_form
from .torch_pickle import AGAIN, BFLOAT16, STORAGES, Storage, Tensor, read_pickle

_WRITTEN = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage",
            "int64": "LongStorage", "int32": "IntStorage", "uint8": "ByteStorage", "bool": "BoolStorage"}
# The keys under which programs keep a state dict beside other things.
_KEYS = ("state_dict", "model_state", "model_state_dict", "model")
# Tensors may overlap and repeat values. So a small file could ask for any amount of memory.
_GROWTH = 16  # times the file's size; more is refused

Contents = Tuple[object, Callable[[Storage], bytes]]  # what was saved; the bytes of a whole storage


def read_state_dict(path: Location) -> Dict[str, np.ndarray]:
    """The arrays of a file that `torch.save` wrote, in their order.

    The file holds a state dict, or a dictionary with one in it: under "state_dict", "model_state",
    "model_state_dict" or "model", else under the only key whose value has tensors. Everything else in it
    is ignored. "module." is cut off where all names begin with it, as DataParallel writes them.

    Returns:
        Name to array, each in memory of its own. bfloat16 is widened to float32, which is exact.

    Raises:
        Refused: the file asks for a function or class that no state dict needs. It was not called.
        OfaError: the file is missing, damaged, no PyTorch file, or has no state dict or several.
    """
    try:
        with _opened(path) as (file, head, size):
            value, read = (_read_zip if head.startswith(b"PK\3\4") else _read_legacy)(file, size)
            return _arrays(_state_dict(value), read, size)
    except Refused as error:
        raise Refused(error.asked, f"{path} asks for {error.asked}, which no state dict needs and "
                      "which could run code; where you trust the file, save the state_dict() in it "
                      "alone") from error
    except OfaError as error:
        raise OfaError(f"{path}: {' '.join(str(error)[:1000].split())}") from error


def write_state_dict(path: Location, arrays: Mapping[str, np.ndarray], legacy: bool = False,
                     key: Optional[str] = None, beside: Optional[Mapping[str, bytes]] = None) -> None:
    """Write arrays as `torch.save` does, so that `torch.load` reads them, `weights_only` or not.

    Args:
        path: the file. It is whole or absent.
        arrays: name to array; float16, 32 or 64, int32 or 64, uint8 or bool, of any shape.
        legacy: write the form before torch 1.6. Torch reads both; only old programs need this one.
        key: put the state dict under this key of a dictionary, such as once-for-all's "state_dict".
        beside: further entries of the archive in `archive_folder`, by name; torch passes over them, and the
            legacy form has none.

    Raises:
        OfaError: a name or type is none that torch has, or the disk refuses.
    """
    items = []
    for name, array in arrays.items():
        array = np.asarray(array)
        if not isinstance(name, str) or array.dtype.name not in _WRITTEN:
            raise OfaError(f"arrays: {name!r} of {array.dtype} cannot be written to {path}: a name is a "
                           f"text, and a type is one of {', '.join(_WRITTEN)}")
        items.append(Item(name, _WRITTEN[array.dtype.name], array.astype(array.dtype.newbyteorder("<"))))
    write_atomically(path, legacy_form(items, key) if legacy else
                     zip_form(items, archive_folder(path), key, beside or {}))


def archive_folder(path: Location) -> str:
    """The folder within the archive of a file of this name."""
    stem = os.path.splitext(os.path.basename(path))[0]
    return stem if stem.isascii() else "archive"  # torch's own name where there is no file


def is_torch_file(path: Location) -> bool:
    """Whether a file begins as `torch.save` begins one; False where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)).startswith((b"PK\3\4", MAGIC))
    except OSError:
        return False


# The file ----------------------------------------------------------------------------------------

@contextmanager
def _opened(path: Location) -> Iterator[Tuple[BinaryIO, bytes, int]]:
    """(the file, its first bytes, its size); OfaError if they are not those of a PyTorch file."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise OfaError("is no file but a folder or device; name a .pth file")
    try:
        with open(path, "rb") as file:
            head, size = file.read(512), os.fstat(file.fileno()).st_size
            _check_head(head)
            file.seek(0)
            yield file, head, size
    except OSError as error:
        raise OfaError(f"cannot be read ({error.strerror or error})") from error


def _check_head(head: bytes) -> None:
    if not head:
        raise OfaError(f"is empty; {AGAIN}")
    if head.startswith(b"version https://git-lfs"):
        raise OfaError("is a pointer of git-LFS, not the weights; run `git lfs pull` to fetch those")
    if head.lstrip().startswith(b"<"):
        raise OfaError("is a web page, not weights; download the file itself instead of the page about it")
    if not head.startswith((b"PK\3\4", MAGIC)):
        raise OfaError(f"is no file of torch.save, or its beginning is damaged; {AGAIN}")


def _read_zip(file: BinaryIO, size: int) -> Contents:
    """Entries of one folder: data.pkl, data/KEY for each storage, and byteorder in newer files."""
    try:
        archive = zipfile.ZipFile(file)
    except Exception as error:  # a damaged archive may raise anything
        raise OfaError(f"is a damaged or truncated archive ({error}); {AGAIN}") from error
    entries = {entry.filename: entry for entry in archive.infolist()}
    if sum(entry.file_size for entry in entries.values()) > size or any(
            entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise OfaError(f"has entries that are compressed or overlap, which torch.save never writes; {AGAIN}")
    folder = next((name.split("/")[0] for name in entries
                   if name.endswith("/data.pkl") and name.count("/") == 1), None)
    if folder is None:
        raise OfaError("is a zip archive without X/data.pkl, so not one of torch.save; name a .pth file")

    def read(name: str) -> bytes:
        if f"{folder}/{name}" not in entries:
            raise OfaError(f"lacks its entry {name[:80]!r}; {AGAIN}")
        try:
            return archive.read(entries[f"{folder}/{name}"])
        except Exception as error:  # as above
            raise OfaError(f"its entry {name[:80]!r} is damaged ({error}); {AGAIN}") from error

    if f"{folder}/byteorder" in entries and read("byteorder") != b"little":
        raise OfaError("was written on a big-endian machine; save it on a little-endian one")
    value = read_pickle(io.BytesIO(read("data.pkl")), {})
    return value, lambda storage: read(f"data/{storage.key}")


def _read_legacy(file: BinaryIO, size: int) -> Contents:
    """Pickles of a magic number, the form's version, the machine, what was saved and the storages' keys.

    Behind them stands each storage, in the order of the keys: its count of elements, then these.
    """
    header = [read_pickle(file, {}) for _ in range(3)]
    if header[1] != PROTOCOL:
        raise OfaError(f"is of a legacy form other than {PROTOCOL}, or damaged; {AGAIN}")
    storages: Dict[str, Storage] = {}
    value, keys = read_pickle(file, storages), read_pickle(file, {})
    places: Dict[str, Tuple[int, int]] = {}
    for key in keys if isinstance(keys, list) else ():
        storage = storages.get(key) if isinstance(key, str) else None
        count = file.read(8)
        if storage is None or count != struct.pack("<q", storage.whole):
            raise OfaError(f"what stands before a storage does not fit its tensors; {AGAIN}")
        places[storage.key] = file.tell(), storage.whole * np.dtype(STORAGES[storage.kind]).itemsize
        if sum(places[storage.key]) > size:
            raise OfaError(f"ends within its numbers; {AGAIN}")
        file.seek(sum(places[storage.key]))

    def read(storage: Storage) -> bytes:
        if storage.key not in places:
            raise OfaError(f"lacks the storage {storage.key[:80]!r}; {AGAIN}")
        start, length = places[storage.key]
        file.seek(start)
        return file.read(length)

    return value, read


# The state dict ----------------------------------------------------------------------------------

def _state_dict(value: object) -> Dict[str, Tensor]:
    """The tensors of the one state dict in `value`, without DataParallel's prefix."""
    if not isinstance(value, dict):
        raise OfaError(f"holds a {type(value).__name__}, not a state dict; save the network's state_dict()")
    inner = {key: _tensors(part) for key, part in value.items() if _tensors(part)}
    known = [key for key in _KEYS if key in inner]
    found = [inner[key] for key in known] or [_tensors(value)]
    if not known and not found[0]:
        found = list(inner.values())
    if len(found) != 1:
        keys = ", ".join(repr(key[:60]) for key in list(value)[:20] if isinstance(key, str)) or "(none)"
        raise OfaError(f"has {len(found) or 'no'} state dicts, not one; save the state_dict() that is meant "
                       f"alone; the keys at its top level are {keys}")
    tensors, prefix = found[0], "module."
    cut = len(prefix) if all(name.startswith(prefix) for name in tensors) else 0
    return {name[cut:]: tensor for name, tensor in tensors.items()}


def _tensors(value: object) -> Dict[str, Tensor]:
    """The tensors of a dictionary; of anything else none."""
    items = value.items() if isinstance(value, dict) else ()
    return {name: part for name, part in items if isinstance(name, str) and isinstance(part, Tensor)}


def _arrays(tensors: Mapping[str, Tensor], read: Callable[[Storage], bytes],
            size: int) -> Dict[str, np.ndarray]:
    """The values of all tensors. Each storage is read once."""
    needed = sum(prod(max(n, 1) for n in tensor.shape) * np.dtype(STORAGES[tensor.storage.kind]).itemsize
                 for tensor in tensors.values())
    if needed > _GROWTH * size:
        raise OfaError(f"its tensors would take more than {_GROWTH} times the bytes of the file; {AGAIN}")
    found: Dict[str, np.ndarray] = OrderedDict()
    storages: Dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        storage, offset, shape, strides = tensor
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides))
        if last >= storage.size and 0 not in shape:
            raise OfaError(f"{name[:80]!r} reaches beyond its storage of {storage.size} elements; {AGAIN}")
        if storage.key not in storages:
            storages[storage.key] = _numbers(storage, read(storage))
        numbers = storages[storage.key][storage.start + offset:]
        steps = [stride * numbers.itemsize if n > 1 else 0 for n, stride in zip(shape, strides)]
        found[name] = (np.zeros(shape, numbers.dtype) if 0 in shape else
                       as_strided(numbers, shape, steps).copy())
    return found


def _numbers(storage: Storage, data: bytes) -> np.ndarray:
    """The elements of a whole storage, as a type that NumPy has."""
    dtype = np.dtype(STORAGES[storage.kind])
    if len(data) != storage.whole * dtype.itemsize:
        raise OfaError(f"its storage {storage.key[:80]!r} has {len(data)} bytes, not {storage.whole} x "
                       f"{dtype.itemsize}; {AGAIN}")
    numbers = np.frombuffer(data, dtype) if data else np.zeros(0, dtype)
    if storage.kind == BFLOAT16:
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.view(np.uint8) != 0 if storage.kind == "BoolStorage" else numbers
