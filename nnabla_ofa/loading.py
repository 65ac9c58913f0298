"""`load`: one call for every kind of weights file."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Sequence

from .checkpoint import MAGIC, load_network
from .errors import OfaError
from .nnabla_nas import load_nnabla_nas
from .supernet import Network


def load(path, widths: Optional[Sequence[int]] = None, classes: Optional[int] = None,
         **config) -> Network:
    """The network of a file: our own supernets and subnets, or an nnabla-nas checkpoint.

    widths (8 base widths), classes and other `Xception` fields describe an nnabla-nas checkpoint,
    which does not say them itself; our own files describe themselves. Raises OfaError.
    """
    try:
        with open(Path(path), "rb") as file:
            ours = file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise OfaError(f"cannot read {path}: {error.strerror}") from error
    if ours:
        if widths is not None or classes is not None or config:
            raise OfaError(f"{path} describes itself: leave out widths, classes and other settings")
        return load_network(path)
    if widths is None or classes is None:
        raise OfaError(f"{path} is not a file of nnabla_ofa; if it is an nnabla-nas checkpoint, give "
                       "its widths=[8 integers] and classes=N; if it is ours, it is damaged")
    return load_nnabla_nas(path, widths, classes, **config)
