"""One container for networks and for training states: arrays with a description, and a checksum.

A file is a text header and an HDF5 file behind it. The header is padded to a power of two bytes (HDF5's
user block). So `head -2 FILE` describes it, and `nnabla.load_parameters` reads its arrays:

    nnabla_ofa 1 <sha256 of all that follows the first line>
    {"kind": "network", "space": "K357_E0.6+0.8+1_D123", ...}

The checksum is verified before HDF5 sees a byte; nothing in a file is ever executed.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any, BinaryIO, Collection, Dict, Mapping, Tuple, Union

import h5py
import numpy as np

from ..errors import OfaError
from .files import Location, open_regular, read_regular, write_atomically

MAGIC = b"nnabla_ofa 1 "
_FIRST_LINE = len(MAGIC) + 64 + 1
DEEPEST = 32  # groups of an HDF5 file in each other

Arrays = Dict[str, np.ndarray]
Meta = Dict[str, Any]  # what describes the arrays, JSON-able


def save(path: Location, arrays: Arrays, meta: Mapping[str, Any], trained: Collection[str] = ()) -> None:
    """Write a file, atomically.

    Args:
        path: the file.
        arrays: of any shape, by name; stored as float32.
        meta: JSON-able values that describe them.
        trained: names of the arrays that training moves. NNabla loads the others with
            `need_grad=False`, so that its solvers leave them alone.

    Raises:
        OfaError: the disk refuses; the file that was there stays.
    """
    text = json.dumps(meta, sort_keys=True).encode() + b"\n"
    block = 512
    while block < _FIRST_LINE + len(text):
        block *= 2
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=block) as file:
        for index, (name, array) in enumerate(arrays.items()):
            dataset = file.create_dataset(name, data=np.asarray(array, np.float32))
            dataset.attrs["index"] = index      # as nnabla.save_parameters writes them
            dataset.attrs["need_grad"] = name in trained
    content = bytearray(buffer.getbuffer())
    content[:block] = b" " * (block - 1) + b"\n"
    content[_FIRST_LINE:_FIRST_LINE + len(text)] = text
    digest = hashlib.sha256(memoryview(content)[_FIRST_LINE:]).hexdigest()
    content[:_FIRST_LINE] = MAGIC + digest.encode() + b"\n"
    write_atomically(path, content)


def is_container(path: Location) -> bool:
    """Whether a file begins as `save` begins one. Raises OfaError if it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise OfaError(f"cannot read {path}: {error.strerror}") from error


def load(path: Location) -> Tuple[Arrays, Meta]:
    """The arrays and meta of a file that `save` wrote; OfaError if it is missing or damaged."""
    try:
        content = read_regular(path)
    except OSError as error:
        raise OfaError(f"cannot read {path}: {error.strerror}") from error
    except MemoryError as error:
        raise OfaError(f"cannot read {path}: it is larger than the memory") from error
    if not content.startswith(MAGIC):
        raise OfaError(f"{path} is not a file of nnabla_ofa (or its beginning is damaged)")
    digest = hashlib.sha256(memoryview(content)[_FIRST_LINE:]).hexdigest()
    if content[len(MAGIC):_FIRST_LINE] != digest.encode() + b"\n":
        raise OfaError(f"{path} is damaged or cut short (its checksum does not match): delete it and "
                       "use an older copy, or make it again")
    try:
        meta = json.loads(content[_FIRST_LINE:content.index(b"\n", _FIRST_LINE)])
        arrays = read_hdf5(io.BytesIO(content))
    except (ValueError, RecursionError) as error:
        raise OfaError(f"{path} was not written by nnabla_ofa, though its checksum matches ({error}): "
                       "make it again") from error
    return arrays, meta


def read_hdf5(source: Union[Location, BinaryIO]) -> Arrays:
    """All arrays of an HDF5 file (a path, or a file object), float32; ValueError if it is damaged.

    HDF5 can have data elsewhere: in other files, which are not read, or nowhere at all. It makes room for
    an array of any declared shape before it reads. So the arrays together may be no larger than the file.
    Groups lie at most DEEPEST deep: HDF5 takes time that grows with the square of their depth.
    """
    arrays: Arrays = {}
    left = 0  # bytes of the file that no array has claimed

    def take(name: str, item: Union[h5py.Dataset, h5py.Group]) -> None:
        nonlocal left
        if name.count("/" if isinstance(name, str) else b"/") > DEEPEST:
            raise ValueError(f"groups lie more than {DEEPEST} deep in each other")
        if not isinstance(item, h5py.Dataset):
            return
        if not isinstance(name, str):  # as h5py gives what is not UTF-8
            raise ValueError(f"{name!r} is not a name")
        if item.dtype.kind != "f" or item.external or item.is_virtual or item.chunks:
            raise ValueError(f"{name} is not a plain array of numbers")
        left -= item.nbytes
        if item.nbytes != item.id.get_storage_size() or left < 0:
            raise ValueError(f"{name} of shape {item.shape} is not all there")
        arrays[name] = np.asarray(item[()], np.float32)

    try:
        with h5py.File(source, "r") as file:
            left = file.id.get_filesize()
            file.visititems(take)
    except (OSError, RuntimeError, KeyError, TypeError, MemoryError) as error:  # as h5py puts it
        raise ValueError(f"HDF5: {error}") from error
    return arrays


def require_kind(path: Location, meta: Meta, kind: str) -> None:
    """OfaError unless a file says that it holds what is asked for.

    Args:
        path: The file, for the message.
        meta: Its description; of a file that means harm it may be no dictionary.
        kind: "network" or "checkpoint".
    """
    found = meta.get("kind") if isinstance(meta, dict) else None
    if found != kind:
        raise OfaError(f"{path} holds a {found or 'unknown thing'}, not a {kind}: a run's networks are "
                       "weights.h5 and best.h5, its checkpoints checkpoint-<epoch>.h5")
