"""Files that are whole or absent: one container for networks and for training states.

A file is a text header, padded to a power of two, and an HDF5 file behind it (HDF5's user block),
so that `head -3 FILE` describes it and `nnabla.load_parameters` reads its arrays:

    nnabla_ofa 1 <sha256 of all that follows the first line>
    {"kind": "network", "space": "K357_E0.6+0.8+1_D123", ...}

The checksum is verified before HDF5 sees a byte; nothing in a file is ever executed. Writing goes
to a temporary file that replaces the old one only when it is complete and on disk.
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
    except OSError as error:
        if temporary.exists():
            temporary.unlink()
        raise OfaError(f"cannot write {path}: {error.strerror}; what was there before is unchanged, "
                       "make room or choose another folder and run the same command again") from error


def load(path) -> Tuple[Arrays, dict]:
    """The arrays and meta of a file that `save` wrote; OfaError if it is missing or damaged."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise OfaError(f"cannot read {path}: {error.strerror}") from error
    if not content.startswith(MAGIC):
        raise OfaError(f"{path} is not a file of nnabla_ofa (or its beginning is damaged)")
    digest = content[len(MAGIC):_FIRST_LINE - 1].decode("ascii", "replace")
    if hashlib.sha256(memoryview(content)[_FIRST_LINE:]).hexdigest() != digest:
        raise OfaError(f"{path} is damaged or cut short (its checksum does not match): delete it and "
                       "use an older copy, or make it again")
    meta = json.loads(content[_FIRST_LINE:content.index(b"\n", _FIRST_LINE)])
    arrays: Arrays = {}
    with h5py.File(io.BytesIO(content), "r") as file:
        file.visititems(lambda name, item: arrays.__setitem__(name, item[()])
                        if isinstance(item, h5py.Dataset) else None)
    return arrays, meta


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
    if meta.get("kind") != "network":
        raise OfaError(f"{path} holds a {meta.get('kind', 'unknown thing')}, not a network: use "
                       "weights.h5 or best.h5 of the same run")
    return network_from(arrays, meta, str(path))


def network_from(arrays: Arrays, meta: dict, source: str):
    """A `Network` of arrays and the meta of `network_meta`."""
    from .nets import net_config
    from .supernet import Network
    config = net_config(meta["net"])
    net = Network(config, config.space(meta["space"]), info=meta["info"])
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
    """Write the state after `epoch` epochs and delete all but the newest `keep` checkpoints."""
    save(Path(folder) / f"checkpoint-{epoch:04d}.h5", arrays, {**meta, "kind": "checkpoint",
                                                               "epoch": epoch})
    for _, path in checkpoints(folder)[keep:]:
        path.unlink()


def newest_checkpoint(folder, log=print) -> Optional[Tuple[Arrays, dict]]:
    """The newest whole checkpoint of a run, None if there is none; says which it passed over."""
    for _, path in checkpoints(folder):
        try:
            return load(path)
        except OfaError as error:
            log(f"{error}; falling back to the checkpoint before it")
    return None
