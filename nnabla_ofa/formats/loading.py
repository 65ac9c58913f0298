"""`load`: one call for every kind of weights file that nnabla_ofa reads."""

from __future__ import annotations

from typing import Any, Optional, Sequence, Union

from ..errors import OfaError
from ..model import FixedNetwork, Network, load_network
from ..system.container import is_container
from ..system.files import Location
from .nnabla_nas import load_nnabla_nas


def load(path: Location, widths: Optional[Sequence[int]] = None, classes: Optional[int] = None,
         **config: Any) -> Union[Network, FixedNetwork]:
    """The network of a file: our own supernets, subnets and fixed networks, or an nnabla-nas checkpoint.

    Our own files describe themselves. An nnabla-nas checkpoint does not, so the arguments do.

    Args:
        path: The file.
        widths: 8 base widths of an nnabla-nas checkpoint.
        classes: Its number of classes.
        config: Further fields of `Xception`.

    Raises:
        OfaError: The file cannot be read, is damaged or does not fit the arguments.
    """
    if is_container(path):
        if widths is not None or classes is not None or config:
            raise OfaError(f"{path} describes itself: leave out widths, classes and other settings")
        return load_network(path)
    if widths is None or classes is None:
        raise OfaError(f"{path} is not a file of nnabla_ofa; if it is an nnabla-nas checkpoint, give "
                       "its widths=[8 integers] and classes=N; if it is ours, it is damaged")
    return load_nnabla_nas(path, widths, classes, **config)
