"""Weights as plain arrays: a subnet's slice of a supernet's, channels sorted by importance.

Pure functions of {parameter name: array} and of layers (ops.py); nothing here knows NNabla.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, Sequence, Tuple

import numpy as np

from . import ops
from .errors import OfaError
from .ops import Layer, Residual, Separable

Arrays = Dict[str, np.ndarray]


def flat(layers: Sequence[Layer]) -> List[Layer]:
    """The layers with residual blocks opened up: only those that own parameters."""
    return [part for layer in layers for part in
            ((*layer.units, *((layer.skip,) if layer.skip else ())) if isinstance(layer, Residual)
             else (layer,))]


def segments(layers: Sequence[Layer]) -> Dict[str, Tuple[int, ...]]:
    """The output widths that the space's subnets use, ascending, of each layer elastic in it."""
    return {layer.name: layer.segments for layer in flat(layers) if getattr(layer, "segments", ())}


def slice_arrays(arrays: Arrays, layers: Sequence[Layer]) -> Arrays:
    """The arrays of a stand-alone subnet, out of a supernet's; layers: the subnet's over the latter."""
    found: Arrays = {}
    for layer in flat(layers):
        own = {name: arrays[name] for name in ops.parameters(layer)}
        found.update(_slice_separable(own, layer) if isinstance(layer, Separable) else own)
    return found


def active_rows(arrays: Mapping[str, np.ndarray], layer: Layer):
    """Index of the stored output channels that a layer uses, in the order of its output."""
    if getattr(layer, "restore", False):
        return arrays[f"{layer.name}/order"].astype(np.int64)
    return slice(layer.w_out)


def _slice_separable(own: Arrays, layer: Separable) -> Arrays:
    name, rows = layer.name, active_rows(own, layer)
    found = {f"{name}/depthwise/W": folded_kernel(own, layer),
             f"{name}/pointwise/W": own[f"{name}/pointwise/W"][rows][:, :layer.w_in]}
    for key in ("gamma", "beta", "mean", "var"):
        found[f"{name}/bn/{key}"] = own[f"{name}/bn/{key}"][:, rows]
    return found


def folded_kernel(own: Arrays, layer: Separable) -> np.ndarray:
    """The depthwise weights (w_in, 1, k, k) of the active kernel, matrices multiplied in."""
    weight = own[f"{layer.name}/depthwise/W"][:layer.w_in]
    for large, small in ops.shrinks(layer.kernels, layer.kernel):
        edge = (large - small) // 2
        centre = weight[:, :, edge:edge + small, edge:edge + small].reshape(layer.w_in, small ** 2)
        matrix = own[f"{layer.name}/depthwise/{large}to{small}"]
        weight = (centre @ matrix).reshape(layer.w_in, 1, small, small)
    return weight


def sorted_arrays(arrays: Arrays, layers: Sequence[Layer]) -> Arrays:
    """The same network with the inner channels of each middle block in order of importance.

    Importance of an inner channel is the L1 norm of the weights that consume it (Cai et al., ICLR
    2020, section 3.3). A layer that also ends its block at a smaller depth keeps in `order` where
    each output row went, so that every arch of full width computes what it did. Channels move only
    within the segments between the widths that subnets already use, so trained narrower subnets
    are unchanged, too.
    """
    result = dict(arrays)
    for block in (layer for layer in layers if isinstance(layer, Residual)):
        for producer, consumer in zip(block.units, block.units[1:]):
            if producer.segments:
                _sort_between(result, producer, consumer)
    return result


def _sort_between(arrays: Arrays, producer: Separable, consumer: Separable) -> None:
    """Permute the channels from `producer` to `consumer`, most important first, in place."""
    columns = f"{consumer.name}/pointwise/W"
    importance = np.abs(arrays[columns]).sum(axis=(0, 2, 3))
    bounds = (0, *producer.segments)
    order = np.concatenate([start + np.argsort(-importance[start:stop], kind="stable")
                            for start, stop in zip(bounds, bounds[1:])])
    arrays[columns] = arrays[columns][:, order]
    arrays[f"{consumer.name}/depthwise/W"] = arrays[f"{consumer.name}/depthwise/W"][order]
    arrays[f"{producer.name}/pointwise/W"] = arrays[f"{producer.name}/pointwise/W"][order]
    for key in ("gamma", "beta", "mean", "var"):
        name = f"{producer.name}/bn/{key}"
        arrays[name] = arrays[name][:, order]
    if producer.ordered:
        name = f"{producer.name}/order"
        # Output row j was stored row old[j]; stored row order[i] is now row i.
        arrays[name] = np.argsort(order)[arrays[name].astype(np.int64)].astype(np.float32)


def check_names(declared: Mapping[str, ops.Parameter], arrays: Mapping[str, np.ndarray],
                source: str) -> None:
    """OfaError unless `arrays` holds exactly the declared names and shapes."""
    missing = [name for name in declared if name not in arrays]
    unknown = [name for name in arrays if name not in declared]
    shapes = [f"{name} {tuple(np.shape(arrays[name]))} instead of {p.shape}"
              for name, p in declared.items()
              if name in arrays and tuple(np.shape(arrays[name])) != p.shape]
    for what, names in (("lacks", missing), ("has unknown", unknown), ("has the wrong shape for", shapes)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise OfaError(f"{source} {what} {', '.join(names[:3])}{more}: the file belongs to "
                           "another network, search space or configuration")
