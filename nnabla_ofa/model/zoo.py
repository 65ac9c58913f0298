"""The zoo from Python: its names, what a network costs, and weights that PyTorch trained.

    ofa.zoo.names("res*")
    ofa.zoo.entry("resnet18_cifar").sources
    ofa.zoo.cost("resnet18_cifar", classes=100, image_size=32)
    ofa.zoo.from_torch("resnet18_cifar", state_dict, classes=100)
"""

from __future__ import annotations

from collections import OrderedDict
from fnmatch import fnmatchcase
from typing import Dict, List, Mapping, Optional, Tuple

import numpy as np

from ..errors import OfaError
from ..layers import Cost, Parameter
from ..nets import Fixed
from ..nets.registry import unknown
from ..nets.zoo import ZOO, Entry, torch_keys
from .fixed import FixedNetwork, trace
from .inputs import require_image_size


def names(pattern: str = "*") -> List[str]:
    """The networks whose name fits a pattern such as "res*", sorted."""
    return sorted(name for name in ZOO if fnmatchcase(name, pattern))


def entry(name: str) -> Entry:
    """The row of a network. Raises OfaError, which names the nearest ones."""
    if name not in ZOO:
        raise unknown(name)
    return ZOO[name]


def cost(name: str, classes: Optional[int] = None, image_size: Optional[int] = None) -> Cost:
    """Parameters, BN statistics, MACs and activations of a network on one image.

    Args:
        name: In the zoo.
        classes: How many scores; None: as it was made for.
        image_size: Pixels a side; None: as it was made for.

    Raises:
        OfaError: There is no such network, or it does not take such images.
    """
    row = entry(name)
    config = Fixed(name, classes=row.classes if classes is None else classes)
    side = row.image_size if image_size is None else image_size
    require_image_size(side)
    return trace(config, side).cost


def declared(name: str) -> Dict[str, Parameter]:
    """Every array that a network stores, by name. Raises OfaError for a name that is not in the zoo."""
    row = entry(name)
    return trace(Fixed(name, classes=row.classes), row.image_size).declared()


def from_torch(name: str, state_dict: Mapping[str, np.ndarray], classes: Optional[int] = None
               ) -> FixedNetwork:
    """A network of the zoo with the weights of a PyTorch implementation of it; strict.

    Args:
        name: In the zoo.
        state_dict: Arrays by the names of one of the network's `sources`. Counters of batches are left out.
        classes: How many scores; None: as many as the state dict has.

    Raises:
        OfaError: An array is missing, unknown or misshapen; the message names it.
    """
    row = entry(name)
    given = {key: np.asarray(array) for key, array in state_dict.items()
             if not key.endswith("num_batches_tracked")}
    stored = declared(name)
    keys = _keys(name, row, tuple(stored), given)
    head = next(n for n, p in stored.items() if p.scores is not None)
    if classes is None:
        scores = given[keys[head]]
        if not scores.ndim:
            raise OfaError(f"the state dict has one number for {keys[head]}, not a row for each class")
        classes = len(scores)
    net = FixedNetwork.blank(Fixed(name, classes=classes))
    net.set_arrays({n: _fitted(given[keys[n]], p.shape) for n, p in net.declared().items()}, "the state dict")
    return net


def to_torch(net: FixedNetwork, source: Optional[str] = None) -> "OrderedDict[str, np.ndarray]":
    """The weights of a network by the names of one of its sources (None: the first); see `from_torch`."""
    name, row = net.config.family, net.config.entry
    if not row.sources:
        raise OfaError(f"no PyTorch implementation of {name} is known")
    source = next(iter(row.sources), "") if source is None else source
    if source not in row.sources:
        raise OfaError(f"source {source!r} of {name} is not one of {', '.join(row.sources)}")
    keys = torch_keys(tuple(net.declared()), row.sources[source])
    return OrderedDict((keys[n], _torch_form(array)) for n, array in net.arrays().items())


def _keys(name: str, row: Entry, arrays: Tuple[str, ...], given: Mapping[str, np.ndarray]) -> Dict[str, str]:
    """Our arrays' names -> keys, of the source that names the state dict's arrays best; strict."""
    if not row.sources:
        raise OfaError(f"no PyTorch implementation of {name} is known")
    tables = [torch_keys(arrays, rules) for rules in row.sources.values()]
    keys = max(tables, key=lambda table: len(given.keys() & set(table.values())))
    wanted = set(keys.values())
    for what, wrong in (("lacks", [key for key in keys.values() if key not in given]),
                        ("has unknown", [key for key in given if key not in wanted])):
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise OfaError(f"the state dict {what} {', '.join(wrong[:3])}{more}: it is not that of {name} as "
                           f"{' or '.join(row.sources)} has it")
    return keys


def _fitted(array: np.ndarray, shape: Tuple[int, ...]) -> np.ndarray:
    """An array of PyTorch as ours: those of a BN are (1, C, 1, 1), affine weights are transposed."""
    if array.ndim == 1 and len(shape) == 4:
        return array.reshape(1, -1, 1, 1)
    if len(shape) == 2 and array.ndim in (2, 4) and array.size == array.shape[0] * array.shape[1]:
        return array.reshape(array.shape[:2]).T
    return array


def _torch_form(array: np.ndarray) -> np.ndarray:
    """The inverse of `_fitted`."""
    if array.ndim == 2:
        return np.ascontiguousarray(array.T)
    return array.ravel() if array.shape == (1, array.size, 1, 1) else array
