"""Elastic parametric functions, each with its parameters and its cost beside it.

A network is a tuple of layer values (`nets/`), and three things are done with a layer: `parameters`
names its arrays, `build` makes its graph under the current `nn.parameter_scope`, `cost` counts it.
A layer knows its full widths (the shape of the stored weights) and its active ones; the active
channels are the first ones, so a subnet reads W[:w_out, :w_in] of the shared weights.

    ConvBn     convolution kxk / stride, BN, [+ residual], [ReLU]
    Separable  [ReLU], depthwise kxk, pointwise, BN, [+ residual], [ReLU]
    Residual   units of one of these, [max-pool 3x3/2], + (skip convolution or identity)
    Linear     global mean, dropout, affine

On the CPU the fused functions of `kernels/` do the same work, channel-major; `Mode.fast` chooses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Dict, NamedTuple, Optional, Tuple, Union

import nnabla as nn
import nnabla.functions as F
import numpy as np
from nnabla.parameter import get_current_parameter_scope, get_parameter_or_create

from . import kernels


@dataclass(frozen=True)
class Mode:
    """How a graph is built.

    batch_stat: BN normalises by the batch's statistics (training, calibration), else by stored ones;
                then the graph has no gradient, and a fast one reads the weights once, when it is built.
    track:      with batch_stat, running statistics follow the batches (one-arch networks only).
    fast:       the fused CPU functions, channel-major (C, H, W, N) between images and global mean.
    folded:     convolutions have a bias `b` that stands for their BN (`weights.fold_bn`); not with fast.
    """

    batch_stat: bool
    track: bool = False
    fast: bool = False
    bn_eps: float = 1e-5
    bn_decay: float = 0.9
    folded: bool = False


def fast_by_default() -> bool:
    """Whether the fused functions can serve: the default context is the CPU and they compiled."""
    return on_cpu() and kernels.unavailable_reason() is None


def on_cpu() -> bool:
    """Whether NNabla's current context computes on the CPU."""
    return all(backend.startswith("cpu") for backend in nn.get_current_context().backend)


class Parameter(NamedTuple):
    """Declaration of one stored array. init: "he", "ones", "zeros", "identity" or "range"."""

    shape: Tuple[int, ...]
    init: str
    trained: bool = True


class Cost(NamedTuple):
    """Trainable parameters, BN statistics, multiply-adds and convolution outputs of one image.

    MACs are those of convolutions and affine layers; activations are the elements of their outputs
    (the conventions of pycls, Radosavovic et al., CVPR 2020).
    """

    parameters: int = 0
    statistics: int = 0
    macs: int = 0
    activations: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(a + b for a, b in zip(self, other)))


@dataclass(frozen=True)
class ConvBn:
    """Convolution kernel x kernel / stride with "same" padding, BN; elastic in both widths.

    full_in, full_out: stored widths, 0 for those that are active. segments: as of `Separable`.
    reads, writes: names of the elastic channels that it takes and gives, "" for fixed ones; layers
    that read or write the same channels have them in the same order.
    """

    name: str
    w_in: int
    w_out: int
    kernel: int
    stride: int = 1
    relu_out: bool = False
    full_in: int = 0
    full_out: int = 0
    segments: Tuple[int, ...] = ()
    reads: str = ""
    writes: str = ""

    def __post_init__(self):
        object.__setattr__(self, "full_in", self.full_in or self.w_in)
        object.__setattr__(self, "full_out", self.full_out or self.w_out)


@dataclass(frozen=True)
class Separable:
    """Depthwise and pointwise convolution with BN; elastic in kernel and in both widths.

    kernels: every kernel size that the stored weights serve, ascending; `kernel` is the active one.
    full_in, full_out: stored widths. ordered: an `order` index is stored beside the weights
    (channel sorting moved their rows); restore: this layer is its block's output now, so row j of
    its output is row order[j] of the stored weights. segments: the output widths that subnets of the
    space use while this layer is inner, ascending, () where it never is elastic.
    """

    name: str
    w_in: int
    w_out: int
    full_in: int
    full_out: int
    kernels: Tuple[int, ...] = (3,)
    kernel: int = 3
    relu_in: bool = True
    relu_out: bool = False
    ordered: bool = False
    restore: bool = False
    segments: Tuple[int, ...] = ()


@dataclass(frozen=True)
class Residual:
    """units, then max-pool 3x3/2 where `pool`, plus the input (through `skip` where given).

    Without `pool` the last unit's final ReLU comes after the addition. idle: a skip convolution that
    only other subnets of the space use: its weights are stored, this subnet has an identity instead.
    """

    units: Tuple[Union[ConvBn, Separable], ...]
    skip: Optional[ConvBn] = None
    pool: bool = False
    idle: Optional[ConvBn] = None


@dataclass(frozen=True)
class Linear:
    """Global mean over the image, dropout, affine to the class scores; elastic in its input.

    full_in: stored width, 0 for the active one. reads: as of `ConvBn`.
    """

    name: str
    w_in: int
    classes: int
    full_in: int = 0
    reads: str = ""

    def __post_init__(self):
        object.__setattr__(self, "full_in", self.full_in or self.w_in)


Layer = Union[ConvBn, Separable, Residual, Linear]
Statistics = Dict[str, Tuple[nn.Variable, nn.Variable]]


# Parameters ------------------------------------------------------------------------------------

@lru_cache(maxsize=None)
def parameters(layer: Layer) -> Dict[str, Parameter]:
    """The stored arrays of a layer, by name, in full shape."""
    if isinstance(layer, Residual):
        parts = [*layer.units, *filter(None, (layer.skip, layer.idle))]
        return {name: p for part in parts for name, p in parameters(part).items()}
    if isinstance(layer, Linear):
        return {f"{layer.name}/affine/W": Parameter((layer.full_in, layer.classes), "he"),
                f"{layer.name}/affine/b": Parameter((layer.classes,), "zeros")}
    if isinstance(layer, ConvBn):
        shape = (layer.full_out, layer.full_in, layer.kernel, layer.kernel)
        return {f"{layer.name}/conv/W": Parameter(shape, "he"), **_bn_parameters(layer, layer.full_out)}
    largest = layer.kernels[-1]
    found = {f"{layer.name}/depthwise/W": Parameter((layer.full_in, 1, largest, largest), "he")}
    for large, small in shrinks(layer.kernels, layer.kernels[0]):
        matrix = Parameter((small ** 2, small ** 2), "identity")
        found[f"{layer.name}/depthwise/{large}to{small}"] = matrix
    found[f"{layer.name}/pointwise/W"] = Parameter((layer.full_out, layer.full_in, 1, 1), "he")
    found.update(_bn_parameters(layer, layer.full_out))
    if layer.ordered:
        found[f"{layer.name}/order"] = Parameter((layer.full_out,), "range", trained=False)
    return found


def _bn_parameters(layer, width: int) -> Dict[str, Parameter]:
    shape = (1, width, 1, 1)
    return {f"{layer.name}/bn/gamma": Parameter(shape, "ones"),
            f"{layer.name}/bn/beta": Parameter(shape, "zeros"),
            f"{layer.name}/bn/mean": Parameter(shape, "zeros", trained=False),
            f"{layer.name}/bn/var": Parameter(shape, "ones", trained=False)}


def is_statistic(name: str) -> bool:
    """Whether a stored array is the mean or the variance of a BN."""
    return name.endswith(("bn/mean", "bn/var"))


def initial_value(parameter: Parameter, rng: np.random.Generator) -> np.ndarray:
    """A float32 array for a new parameter; "he" is the normal of He et al. (ICCV 2015), fan in."""
    shape = parameter.shape
    if parameter.init == "he":
        fan_in = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
        return (rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)).astype(np.float32)
    make = {"ones": np.ones, "zeros": np.zeros, "identity": lambda s: np.eye(s[0]),
            "range": lambda s: np.arange(s[0])}[parameter.init]
    return make(shape).astype(np.float32)


def shrinks(kernels: Tuple[int, ...], kernel: int) -> Tuple[Tuple[int, int], ...]:
    """The steps (large, small) from the largest stored kernel down to `kernel`."""
    descending = [k for k in reversed(kernels) if k >= kernel]
    return tuple(zip(descending, descending[1:]))


def _get(layer, key: str) -> nn.Variable:
    """The layer's variable of the current parameter scope, created at first use."""
    name = f"{layer.name}/{key}"
    node = get_current_parameter_scope()  # nested by "/"; walking it takes a tenth of NNabla's time
    for part in name.split("/"):
        node = node.get(part)
        if node is None:
            break
    else:
        return node
    declared = parameters(layer)[name]
    return get_parameter_or_create(
        name, declared.shape, lambda shape: initial_value(declared, _default_rng),
        need_grad=declared.trained)


_default_rng = np.random.default_rng(0)  # only for functions called without a `Network`


# Graphs ----------------------------------------------------------------------------------------

def build(x: nn.Variable, layer: Layer, mode: Mode, statistics: Optional[Statistics] = None,
          dropout_mask: Optional[nn.Variable] = None) -> nn.Variable:
    """The graph of one layer on trunk input `x`.

    statistics: where given, receives BN layer name -> (mean, biased variance) of this batch.
    dropout_mask: (N, full_in) factors for `Linear`, 0 or 1 / (1 - rate); None for no dropout.
    """
    if mode.fast and not isinstance(layer, Linear):
        return fused(x, layer, mode, statistics)
    if isinstance(layer, ConvBn):
        return conv_bn(x, layer, mode, statistics)
    if isinstance(layer, Separable):
        return separable(x, layer, mode, statistics)
    if isinstance(layer, Residual):
        return residual(x, layer, mode, statistics)
    return linear(x, layer, mode, dropout_mask)


def images(x: nn.Variable, mode: Mode) -> nn.Variable:
    """Images (N, C, H, W) in the trunk's layout."""
    return kernels.to_chwn(x) if mode.fast else x


def conv_bn(x, layer: ConvBn, mode: Mode, statistics=None, residual=None) -> nn.Variable:
    """[conv, BN, + residual, ReLU]; x (N, w_in, H, W) -> (N, w_out, ceil(H / stride), ceil(W / stride))."""
    weight = _get(layer, "conv/W")
    weight = _rows(weight, layer.w_out, None)
    weight = weight if layer.w_in == layer.full_in else weight[:, :layer.w_in]
    bias = _get(layer, "conv/b") if mode.folded else None
    y = F.convolution(x, weight, bias, pad=(layer.kernel // 2,) * 2, stride=(layer.stride,) * 2)
    y = y if mode.folded else batch_normalization(y, layer, mode, layer.w_out, None, statistics)
    y = y if residual is None else y + residual
    return F.relu(y) if layer.relu_out else y


def separable(x, layer: Separable, mode: Mode, statistics=None, residual=None) -> nn.Variable:
    """[ReLU, depthwise, pointwise, BN, + residual, ReLU]; (N, w_in, H, W) -> (N, w_out, H, W)."""
    order = _active_order(layer)
    y = F.relu(x) if layer.relu_in else x
    weight = depthwise_kernel(layer)
    y = F.convolution(y, weight, pad=(layer.kernel // 2,) * 2, group=layer.w_in)
    weight = _rows(_get(layer, "pointwise/W"), layer.w_out, order)
    if layer.w_in < layer.full_in:
        weight = weight[:, :layer.w_in]
    y = F.convolution(y, weight, _get(layer, "pointwise/b") if mode.folded else None)
    y = y if mode.folded else batch_normalization(y, layer, mode, layer.w_out, order, statistics)
    y = y if residual is None else y + residual
    return F.relu(y) if layer.relu_out else y


def depthwise_kernel(layer: Separable) -> nn.Variable:
    """The active (w_in, 1, k, k) kernel: centre of the next larger one times its matrix, by steps."""
    weight = _get(layer, "depthwise/W")
    if layer.w_in < layer.full_in:
        weight = weight[:layer.w_in]
    for large, small in shrinks(layer.kernels, layer.kernel):
        edge = (large - small) // 2
        centre = F.reshape(weight[:, :, edge:edge + small, edge:edge + small],
                           (layer.w_in, small ** 2))
        weight = F.reshape(F.affine(centre, _get(layer, f"depthwise/{large}to{small}")),
                           (layer.w_in, 1, small, small))
    return weight


def residual(x, layer: Residual, mode: Mode, statistics=None) -> nn.Variable:
    """The block's units; with `pool` the output is ceil(H / 2) x ceil(W / 2)."""
    shortcut = conv_bn(x, layer.skip, mode, statistics) if layer.skip else x
    y = x
    for unit in layer.units:
        last = unit is layer.units[-1]
        unit_of = conv_bn if isinstance(unit, ConvBn) else separable
        y = unit_of(y, unit, mode, statistics, shortcut if last and not layer.pool else None)
    if not layer.pool:
        return y
    return F.max_pooling(y, (3, 3), (2, 2), pad=(1, 1)) + shortcut


def fused(x, layer: Union[ConvBn, Separable, Residual], mode: Mode, statistics=None) -> nn.Variable:
    """A layer as functions of `kernels`, one where it can be; x and the result are (C, H, W, N)."""
    if isinstance(layer, ConvBn):
        return _fused(x, (), layer, mode, statistics, relu_out=layer.relu_out)
    if isinstance(layer, Separable):
        return _fused(x, (layer,), None, mode, statistics, relu_out=layer.relu_out)
    *inner, last = layer.units
    if isinstance(last, Separable):
        return _fused(x, layer.units, layer.skip, mode, statistics, relu_out=last.relu_out,
                      pool=layer.pool, identity=layer.skip is None)
    y, shortcut = x, fused(x, layer.skip, mode, statistics) if layer.skip else x
    for unit in inner:
        y = fused(y, unit, mode, statistics)
    return _fused(y, (), last, mode, statistics, relu_out=last.relu_out, residual=shortcut)


def _fused(x, units, skip: Optional[ConvBn], mode: Mode, statistics, **shape) -> nn.Variable:
    """One function of `kernels`."""
    if not mode.batch_stat:
        return kernels.frozen_block(x, [_folded(unit, mode) for unit in units],
                                    _folded(skip, mode) if skip else None, **shape)
    moments = None if statistics is None else []
    y = kernels.block(x, [_fast(unit, mode) for unit in units], _fast(skip, mode) if skip else None,
                      order=_active_order(units[-1]) if units else None, eps=mode.bn_eps,
                      decay=mode.bn_decay, moments=moments, **shape)
    for part, pair in zip((*units, skip), moments or ()):
        _collect(statistics, part, pair)
    return y


def _fast(layer: Union[ConvBn, Separable], mode: Mode) -> kernels.Layer:
    """The layer's variables, as `kernels.block` takes them."""
    gamma, beta = _get(layer, "bn/gamma"), _get(layer, "bn/beta")
    running = (_get(layer, "bn/mean"), _get(layer, "bn/var")) if mode.track else None
    if isinstance(layer, ConvBn):
        return kernels.Layer(_get(layer, "conv/W"), gamma, beta, stride=layer.stride,
                             w_out=layer.w_out, running=running)
    matrices = tuple(_get(layer, f"depthwise/{large}to{small}")
                     for large, small in shrinks(layer.kernels, layer.kernel))
    return kernels.Layer(_get(layer, "pointwise/W"), gamma, beta, _get(layer, "depthwise/W"),
                         matrices, layer.kernel, w_out=layer.w_out, relu_in=layer.relu_in,
                         running=running)


def _folded(layer: Union[ConvBn, Separable], mode: Mode) -> kernels.Folded:
    """The layer's weights as they are now: those of its subnet alone, BN folded in."""
    from .weights import folded_convolution, slice_arrays  # that file is below this one
    own = slice_arrays({name: _get(layer, name[len(layer.name) + 1:]).d.astype(np.float32)
                        for name in parameters(layer)}, [layer])
    weight, bias = folded_convolution(own, layer, mode.bn_eps)
    if isinstance(layer, ConvBn):
        return kernels.Folded(weight, bias, stride=layer.stride)
    return kernels.Folded(weight, bias, own[f"{layer.name}/depthwise/W"], relu_in=layer.relu_in)


def linear(x, layer: Linear, mode: Mode, dropout_mask=None) -> nn.Variable:
    """Trunk (N, w_in, H, W) -> logits (N, classes)."""
    y = kernels.global_mean(x) if mode.fast else F.mean(x, axis=(2, 3))
    y = y if dropout_mask is None else y * _rows(dropout_mask, layer.w_in, None, axis=1)
    return F.affine(y, _rows(_get(layer, "affine/W"), layer.w_in, None), _get(layer, "affine/b"))


def batch_normalization(x, layer, mode: Mode, width: int, order, statistics=None) -> nn.Variable:
    """BN over the first `width` stored channels, or all of them taken in `order`."""
    gamma, beta = (_rows(_get(layer, f"bn/{key}"), width, order, axis=1) for key in ("gamma", "beta"))
    stored = _get(layer, "bn/mean"), _get(layer, "bn/var")
    if not mode.batch_stat:
        mean, var = (_rows_of_statistics(v, width, order) for v in stored)
        return F.batch_normalization(x, beta, gamma, mean, var, eps=mode.bn_eps, batch_stat=False)
    mean, var = stored if mode.track else (None, None)
    found = F.batch_normalization(x, beta, gamma, mean, var, decay_rate=mode.bn_decay, eps=mode.bn_eps,
                                  batch_stat=True, output_stat=statistics is not None)
    if statistics is None:  # nobody asks for the moments: cuDNN has no function that gives them
        return found
    y, *moments = found
    _collect(statistics, layer, moments)
    return y


def _collect(statistics: Statistics, layer, moments) -> None:
    statistics[f"{layer.name}/bn"] = tuple(moments)


def _active_order(layer: Separable) -> Optional[np.ndarray]:
    """The rows that restore a sorted output, None where the stored order already is the output's."""
    if not layer.restore:
        return None
    order = _get(layer, "order").d.astype(np.int64)
    return None if np.array_equal(order, np.arange(len(order))) else order


def _rows(weight: nn.Variable, width: int, order, axis: int = 0) -> nn.Variable:
    """The active output channels of a stored array; nothing is copied where all are active."""
    if order is not None:
        return F.gather(weight, nn.Variable.from_numpy_array(order), axis=axis)
    if weight.shape[axis] == width:
        return weight
    return weight[:width] if axis == 0 else weight[:, :width]


def _rows_of_statistics(stored: nn.Variable, width: int, order) -> nn.Variable:
    """As `_rows`, of what BN refuses to take from another function: a copy, or itself if it is whole."""
    if order is None and stored.shape[1] == width:
        return stored
    return nn.Variable.from_numpy_array(stored.d[:, :width] if order is None else stored.d[:, order])


# Cost ------------------------------------------------------------------------------------------

def cost(layer: Layer, size: int) -> Tuple[Cost, int]:
    """Cost of a layer on square input of `size` pixels a side, and the side of its output."""
    if isinstance(layer, Residual):
        total, inner = Cost(), size
        for unit in layer.units:
            part, inner = cost(unit, inner)
            total += part
        if layer.skip:
            total += cost(layer.skip, size)[0]
        return total, -(-inner // 2) if layer.pool else inner
    stored = parameters(layer)
    count = Cost(sum(int(np.prod(p.shape)) for p in stored.values() if p.trained),
                 sum(int(np.prod(stored[name].shape)) for name in stored
                     if is_statistic(name)))
    if isinstance(layer, Linear):
        return count + Cost(macs=layer.w_in * layer.classes, activations=layer.classes), 1
    if isinstance(layer, ConvBn):
        side = -(-size // layer.stride)
        outputs = layer.w_out * side * side
        macs = outputs * layer.w_in * layer.kernel ** 2
        return count + Cost(macs=macs, activations=outputs), side
    pixels = size * size
    macs = layer.w_in * pixels * (layer.kernel ** 2 + layer.w_out)
    return count + Cost(macs=macs, activations=(layer.w_in + layer.w_out) * pixels), size
