"""Files that are whole or absent: one container for networks and for training states.

A file is a text header, padded to a power of two, and an HDF5 file behind it (HDF5's user block),
so that `head -3 FILE` describes it and `nnabla.load_parameters` reads its arrays:

    nnabla_ofa 1 <sha256 of all that follows the first line>
    {"kind": "network", "space": "K357_E0.6+0.8+1_D123", ...}

The checksum is verified before HDF5 sees a byte; nothing in a file is ever executed. Writing goes
to a temporary file that replaces the old one only when it is complete and on disk; what a kill
leaves of one is removed by the next run that holds the folder.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import h5py
import numpy as np

from .errors import OfaError

MAGIC = b"nnabla_ofa 1 "
_FIRST_LINE = len(MAGIC) + 64 + 1

Arrays = Dict[str, np.ndarray]


def save(path, arrays: Arrays, meta: dict) -> None:
    """Write arrays (float32, any shape) and a JSON-able `meta` to `path`, atomically.

    Raises OfaError when the disk refuses (full, read-only); the file that was there stays.
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
            dataset.attrs["need_grad"] = True
    content = bytearray(buffer.getbuffer())
    content[:block] = b" " * (block - 1) + b"\n"
    content[_FIRST_LINE:_FIRST_LINE + len(text)] = text
    digest = hashlib.sha256(memoryview(content)[_FIRST_LINE:]).hexdigest()
    content[:_FIRST_LINE] = MAGIC + digest.encode() + b"\n"
    write_atomically(path, content)


def write_atomically(path, content) -> None:
    """Replace `path` by `content` (bytes); a reader sees the old file or the new one, never half."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        if temporary.exists():
            temporary.unlink()
        raise OfaError(f"cannot write {path}: {error.strerror}; what was there before is unchanged, "
                       "make room or choose another folder and run the same command again") from error


def _sync_folder(folder: Path) -> None:
    """A file's new name is on disk only when its folder is, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder) -> None:
    """Delete the temporary files of killed writers; only for who holds the folder alone."""
    for path in Path(folder).glob(".*.tmp"):
        path.unlink()


def load(path) -> Tuple[Arrays, dict]:
    """The arrays and meta of a file that `save` wrote; OfaError if it is missing or damaged."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise OfaError(f"cannot read {path}: {error.strerror}") from error
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


def read_hdf5(source) -> Arrays:
    """All arrays of an HDF5 file (a path, or a file object), float32; ValueError if it is damaged.

    HDF5 can have data elsewhere: in other files, which are not read, or nowhere at all.
    """
    arrays: Arrays = {}

    def take(name: str, item) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if not isinstance(name, str):  # as h5py gives what is not UTF-8
            raise ValueError(f"{name!r} is not a name")
        if item.dtype.kind != "f" or item.external or item.is_virtual or item.chunks:
            raise ValueError(f"{name} is not a plain array of numbers")
        if item.nbytes != item.id.get_storage_size():
            raise ValueError(f"{name} of shape {item.shape} is not all there")
        arrays[name] = np.asarray(item[()], np.float32)

    try:
        with h5py.File(source, "r") as file:
            file.visititems(take)
    except (OSError, RuntimeError, KeyError, TypeError, MemoryError) as error:  # as h5py puts it
        raise ValueError(f"HDF5: {error}") from error
    return arrays


# Networks ----------------------------------------------------------------------------------------

def network_meta(net) -> dict:
    """The part of a file's meta that describes a network."""
    return {"net": asdict(net.config), "space": str(net.space), "info": net.info}


def save_network(path, net) -> None:
    """Write a `Network` as one self-describing file."""
    save(path, net.arrays(), {"kind": "network", "versions": versions(), **network_meta(net)})


def load_network(path):
    """The `Network` of a file written by `save_network`; strict: names what does not fit."""
    arrays, meta = load(path)
    require_kind(path, meta, "network")
    return network_from(arrays, meta, str(path))


def require_kind(path, meta, kind: str) -> None:
    """OfaError unless a file's meta says that it holds a `kind`."""
    found = meta.get("kind") if isinstance(meta, dict) else None
    if found != kind:
        raise OfaError(f"{path} holds a {found or 'unknown thing'}, not a {kind}: a run's networks are "
                       "weights.h5 and best.h5, its checkpoints checkpoint-<epoch>.h5")


def network_from(arrays: Arrays, meta: dict, source: str):
    """A `Network` of arrays and the meta of `network_meta`."""
    from .nets import net_config
    from .supernet import Network
    try:
        config = net_config(meta["net"])
        net = Network(config, config.space(meta["space"]), info=meta["info"])
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise OfaError(f"{source} does not describe its network as this version of nnabla_ofa does "
                       f"({error!r}): make it again") from error
    net.set_arrays(arrays, source)
    return net


def versions() -> dict:
    """The versions that a file or record names."""
    import nnabla
    return {"python": ".".join(map(str, sys.version_info[:3])), "nnabla": nnabla.__version__,
            "numpy": np.__version__}


# Training states ---------------------------------------------------------------------------------

_CHECKPOINT = re.compile(r"checkpoint-(\d+)\.h5")


def checkpoints(folder) -> List[Tuple[int, Path]]:
    """(epoch, path) of the training checkpoints of a run, newest first."""
    found = [(int(m[1]), p) for p in Path(folder).glob("checkpoint-*.h5")
             for m in [_CHECKPOINT.fullmatch(p.name)] if m]
    return sorted(found, reverse=True)


def save_checkpoint(folder, epoch: int, arrays: Arrays, meta: dict, keep: int = 5) -> None:
    """Write the state after `epoch` epochs and delete all but the newest `keep` checkpoints.

    OfaError, and nothing written, for a state that is not finite: nobody could go on from it.
    """
    bad = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if bad:
        raise OfaError(f"{bad[0]} (and {len(bad) - 1} more) is not finite after epoch {epoch}: the "
                       f"checkpoints in {folder} are good; lower the learning rate or set "
                       "train.clip_grad, and run again with --accept-changes")
    save(Path(folder) / f"checkpoint-{epoch:04d}.h5", arrays, {**meta, "kind": "checkpoint",
                                                               "epoch": epoch})
    for _, path in checkpoints(folder)[keep:]:
        path.unlink()


def newest_checkpoint(folder, log=print) -> Optional[Tuple[Arrays, dict]]:
    """The newest whole checkpoint of a run, None if there is none; says which it passed over.

    OfaError if there are some and none is whole: a run that began anew would delete them.
    """
    found = checkpoints(folder)
    for _, path in found:
        try:
            arrays, meta = load(path)
            require_kind(path, meta, "checkpoint")
            return arrays, meta
        except OfaError as error:
            log(f"{error}; falling back to the checkpoint before it")
    if found:
        raise OfaError(f"none of the {len(found)} checkpoints in {folder} can be read: mend the disk, "
                       "bring a copy back, or delete them to begin this stage anew")
    return None
