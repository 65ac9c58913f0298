"""Weights as plain arrays: a subnet's slice of a supernet's, channels sorted by importance.

Pure functions of {parameter name: array} and of layers (ops.py); nothing here knows NNabla.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

from . import ops
from .errors import OfaError
from .ops import ConvBn, Layer, Linear, Residual, Separable

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
        found.update(_SLICE[type(layer)](own, layer))
    return found


def active_rows(arrays: Mapping[str, np.ndarray], layer: Layer):
    """Index of the stored output channels that a layer uses, in the order of its output."""
    if getattr(layer, "restore", False):
        return arrays[f"{layer.name}/order"].astype(np.int64)
    return slice(layer.w_out)


def _slice_separable(own: Arrays, layer: Separable) -> Arrays:
    name, rows = layer.name, active_rows(own, layer)
    return {f"{name}/depthwise/W": folded_kernel(own, layer),
            f"{name}/pointwise/W": own[f"{name}/pointwise/W"][rows][:, :layer.w_in],
            **_slice_bn(own, layer)}


def _slice_conv_bn(own: Arrays, layer: ConvBn) -> Arrays:
    weight = own[f"{layer.name}/conv/W"]
    return {f"{layer.name}/conv/W": weight[:layer.w_out, :layer.w_in], **_slice_bn(own, layer)}


def _slice_bn(own: Arrays, layer) -> Arrays:
    names = [f"{layer.name}/bn/{key}" for key in _BN]
    return {name: own[name][:, active_rows(own, layer)] for name in names}


def _slice_linear(own: Arrays, layer: Linear) -> Arrays:
    weight = f"{layer.name}/affine/W"
    return {**own, weight: own[weight][:layer.w_in]}


_SLICE = {Separable: _slice_separable, ConvBn: _slice_conv_bn, Linear: _slice_linear}
_BN = ("gamma", "beta", "mean", "var")


def folded_kernel(own: Arrays, layer: Separable) -> np.ndarray:
    """The depthwise weights (w_in, 1, k, k) of the active kernel, matrices multiplied in."""
    weight = own[f"{layer.name}/depthwise/W"][:layer.w_in]
    for large, small in ops.shrinks(layer.kernels, layer.kernel):
        edge = (large - small) // 2
        centre = weight[:, :, edge:edge + small, edge:edge + small].reshape(layer.w_in, small ** 2)
        matrix = own[f"{layer.name}/depthwise/{large}to{small}"]
        weight = (centre @ matrix).reshape(layer.w_in, 1, small, small)
    return weight


def folded_convolution(own: Arrays, layer, eps: float) -> Tuple[np.ndarray, np.ndarray]:
    """Weights and bias of a stand-alone layer's convolution with its BN: W' x + b = BN(W x).

    Of a `Separable` it is the pointwise one. eps: what BN adds to the variance.
    """
    gamma, beta, mean, var = (own[f"{layer.name}/bn/{key}"].ravel().astype(np.float64) for key in _BN)
    scale = gamma / np.sqrt(var + eps)
    weight = own[f"{layer.name}/{convolution(layer)}/W"] * scale.astype(np.float32).reshape(-1, 1, 1, 1)
    return weight, (beta - mean * scale).astype(np.float32)


def fold_bn(arrays: Arrays, layers: Sequence[Layer], eps: float) -> Arrays:
    """A stand-alone network's arrays with a bias `<convolution>/b` in place of each BN."""
    folded = {name: array for name, array in arrays.items() if "/bn/" not in name}
    for layer in flat(layers):
        if not isinstance(layer, Linear):
            name = f"{layer.name}/{convolution(layer)}"
            folded[f"{name}/W"], folded[f"{name}/b"] = folded_convolution(arrays, layer, eps)
    return folded


def convolution(layer: Layer) -> str:
    """The convolution that a layer's BN follows."""
    return "conv" if isinstance(layer, ConvBn) else "pointwise"


# Sorting ---------------------------------------------------------------------------------------

class Group(NamedTuple):
    """Elastic channels: the layers that give them, those that take them, the widths subnets use."""

    producers: List[Layer]
    consumers: List[Layer]
    segments: Tuple[int, ...]


def sorted_arrays(arrays: Arrays, layers: Sequence[Layer]) -> Arrays:
    """The same network with the elastic channels in order of importance.

    Importance of a channel is the L1 norm of the weights that consume it (Cai et al., ICLR 2020,
    section 3.3). A middle layer of Xception that also ends its block at a smaller depth keeps in
    `order` where each output row went, so that every arch of full width computes what it did.
    Channels move only within the segments between the widths that subnets already use, so trained
    narrower subnets are unchanged, too.
    """
    result = dict(arrays)
    for group in groups(layers):
        importance = sum(_importance(result, layer) for layer in group.consumers)
        bounds = (0, *group.segments)
        order = np.concatenate([start + np.argsort(-importance[start:stop], kind="stable")
                                for start, stop in zip(bounds, bounds[1:])])
        for layer in group.producers:
            _permute_rows(result, layer, order)
        for layer in group.consumers:
            _permute_columns(result, layer, order)
    return result


def groups(layers: Sequence[Layer]) -> List[Group]:
    """What sorting may permute: between the separable layers of a block, and channels with a name."""
    blocks = [layer for layer in layers if isinstance(layer, Residual)]
    found = [Group([producer], [consumer], producer.segments)
             for block in blocks for producer, consumer in zip(block.units, block.units[1:])
             if isinstance(producer, Separable) and producer.segments]
    stored = [*flat(layers), *(block.idle for block in blocks if block.idle)]
    for name in dict.fromkeys(layer.writes for layer in stored if getattr(layer, "writes", "")):
        producers = [layer for layer in stored if getattr(layer, "writes", "") == name]
        consumers = [layer for layer in stored if getattr(layer, "reads", "") == name]
        widths = {width for layer in producers for width in layer.segments}
        found.append(Group(producers, consumers, tuple(sorted(widths))))
    return found


def _importance(arrays: Arrays, layer: Layer) -> np.ndarray:
    if isinstance(layer, Linear):
        return np.abs(arrays[f"{layer.name}/affine/W"]).sum(axis=1)
    return np.abs(arrays[f"{layer.name}/{convolution(layer)}/W"]).sum(axis=(0, 2, 3))


def _permute_columns(arrays: Arrays, layer: Layer, order: np.ndarray) -> None:
    """The weights that read channels, which now come in `order`; in place, like the next."""
    if isinstance(layer, Linear):
        arrays[f"{layer.name}/affine/W"] = arrays[f"{layer.name}/affine/W"][order]
    elif isinstance(layer, ConvBn):
        arrays[f"{layer.name}/conv/W"] = arrays[f"{layer.name}/conv/W"][:, order]
    else:
        arrays[f"{layer.name}/pointwise/W"] = arrays[f"{layer.name}/pointwise/W"][:, order]
        arrays[f"{layer.name}/depthwise/W"] = arrays[f"{layer.name}/depthwise/W"][order]


def _permute_rows(arrays: Arrays, layer: Layer, order: np.ndarray) -> None:
    """The weights that write channels, to give them in `order`; rows beyond it stay where they are."""
    weight = f"{layer.name}/{convolution(layer)}/W"
    order = np.concatenate([order, np.arange(len(order), len(arrays[weight]))])
    arrays[weight] = arrays[weight][order]
    for key in _BN:
        name = f"{layer.name}/bn/{key}"
        arrays[name] = arrays[name][:, order]
    if getattr(layer, "ordered", False):
        name = f"{layer.name}/order"
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
