"""The vocabulary of fixed networks: functions on the trunk, whose layout the mode decides.

A fixed network is a Python function of such calls (nets/zoo/). Layers that own parameters are the
classes of this package: a call makes the value, notes it in `mode.trace`, and builds its graph.
Branches, loops and sums are plain Python.

The trunk is (N, C, H, W), or (C, H, W, N) where `mode.fast`. Features are (N, C) in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Sequence, Tuple, TypeVar, Union

import nnabla as nn
import nnabla.functions as F
import numpy as np

from .. import kernels
from . import activation
from .base import Arrays, Mode, Owner, Parameter, cut, in_nchw, parameters
from .conv import Conv, Pair
from .dense import Dense
from .layer_norm import LayerNorm
from .learned import Learned
from .linear import Linear
from .standing_norm import BatchNorm

__all__ = ["activate", "average_pool", "batch_norm", "by_image", "channel_max", "channel_mean", "channels",
           "classifier", "concat", "conv", "crop", "dense", "drop_path", "dropout", "flatten", "global_max",
           "global_mean", "idle", "layer_norm", "learned", "max_pool", "noted", "scale", "shift", "shuffle",
           "sides", "split", "squeeze_excite", "subsample", "survive", "upsample"]

P = TypeVar("P", bound=Owner)
Sizes = Union[int, Pair]  # both, or (height, width), in pixels
ALL = slice(None)


def pair(sizes: Sizes) -> Pair:
    """(height, width) of one number or two."""
    return (sizes, sizes) if isinstance(sizes, int) else sizes


def activate(x: nn.Variable, name: str, mode: Mode) -> nn.Variable:
    """The activation of this name, one of `activation.ACTIVATIONS`, of the trunk or of features."""
    return activation.activate(x, name, mode.fast)


# Layers with weights ------------------------------------------------------------------------------

def noted(layer: P, mode: Mode) -> P:
    """The layer itself, noted in `mode.trace`; a traced graph is never computed and needs no values.

    A layer that serves twice is noted once.
    """
    if mode.trace is not None and layer not in mode.trace:
        mode.trace.append(layer)
        for name, parameter in parameters(layer).items():
            nn.parameter.set_parameter(name, nn.Variable(parameter.shape))
    return layer


def conv(x: nn.Variable, name: str, width: int, kernel: Sizes, mode: Mode, stride: Sizes = 1,
         pad: Optional[Sizes] = None, groups: int = 1, bias: bool = False, bn: bool = True,
         act: str = "relu", residual: Optional[nn.Variable] = None, eps: Optional[float] = None,
         scores: bool = False, init: str = "he") -> nn.Variable:
    """[convolution, BN, + residual, activation].

    Args:
        x: The trunk.
        name: Of the layer; its arrays are `<name>/conv/W`, `<name>/conv/b` and `<name>/bn/*`.
        width: Channels of the output.
        kernel, stride: In pixels.
        mode: How the graph is built.
        pad: Zeros around the image; None: half the kernel ("same" for odd ones). 0: "valid".
        groups: Of channels that are convolved apart.
        bias: Whether the convolution has one.
        bn: Whether BN follows. Without, "none" is often the activation wanted.
        act: One of `activation.ACTIVATIONS`.
        residual: What is added before the activation, as the output.
        eps: What BN adds to the variance; None: as all BNs of the network.
        scores: Whether the output's channels are the classes.
        init: Of the weights; see `base.initial_value`.
    """
    height, width_of_kernel = kernel = pair(kernel)
    around = (height // 2, width_of_kernel // 2) if pad is None else pair(pad)
    layer = Conv(name, channels(x, mode), width, kernel, pair(stride), around, groups, bias, bn, act, eps,
                 scores, init)
    return noted(layer, mode).build(x, mode, residual)


def batch_norm(x: nn.Variable, name: str, mode: Mode, act: str = "relu", eps: Optional[float] = None,
               decay: Optional[float] = None) -> nn.Variable:
    """[BN, activation] on its own; see `BatchNorm`."""
    return noted(BatchNorm(name, channels(x, mode), act, eps, decay), mode).build(x, mode)


def layer_norm(x: nn.Variable, name: str, mode: Mode, eps: float = 1e-6) -> nn.Variable:
    """Each pixel's channels normalised by their own mean and variance; see `LayerNorm`."""
    return noted(LayerNorm(name, channels(x, mode), eps), mode).build(x, mode)


def learned(name: str, shape: Tuple[int, int, int], mode: Mode) -> nn.Variable:
    """A trained array (channels, height, width) as the trunk of one image; see `Learned`."""
    return noted(Learned(name, shape), mode).build(mode)


def dense(x: nn.Variable, name: str, width: int, mode: Mode, bias: bool = True, act: str = "none",
          scores: bool = False) -> nn.Variable:
    """[affine, activation] on features (..., C); see `Dense`. scores: whether its outputs are the classes."""
    return noted(Dense(name, x.shape[-1], width, bias, act, scores), mode).build(x, mode)


def classifier(x: nn.Variable, name: str, classes: int, mode: Mode, dropout: float = 0.0) -> nn.Variable:
    """[mean over the image, dropout, affine]: (N, classes) logits of the trunk.

    Args:
        x: The trunk.
        name: Of the layer; its arrays are `<name>/affine/W` and `/b`.
        classes: How many scores.
        mode: How the graph is built.
        dropout: Rate in [0, 1), where the mode has noise.
    """
    return noted(Linear(name, channels(x, mode), classes, dropout=dropout), mode).build(x, mode)


def squeeze_excite(x: nn.Variable, name: str, width: int, mode: Mode, act: str = "relu") -> nn.Variable:
    """The trunk, each channel scaled by a gate that sees the means of all (Hu et al., CVPR 2018).

    The gate is two 1x1 convolutions with bias, `<name>/0` and `<name>/1`, and a sigmoid.

    Args:
        x: The trunk.
        name: What the names of the two convolutions begin with.
        width: Channels between them.
        mode: How the graph is built.
        act: The activation between them.
    """
    gate = conv(global_mean(x, mode, keep=True), f"{name}/0", width, 1, mode, bias=True, bn=False, act=act)
    gate = conv(gate, f"{name}/1", channels(x, mode), 1, mode, bias=True, bn=False, act="sigmoid")
    return scale(x, gate, mode)


@dataclass(frozen=True)
class Idle:
    """A layer that is stored and never computed, as some originals have it."""

    layer: Owner

    @property
    def name(self) -> str:
        """The layer's."""
        return self.layer.name

    def parameters(self) -> Dict[str, Parameter]:
        """Those of the layer, marked as not used."""
        return {name: p._replace(used=False) for name, p in parameters(self.layer).items()}

    def fold(self, arrays: Mapping[str, np.ndarray], eps: float) -> Arrays:
        """None: a folded network leaves it out."""
        return {}


def idle(layer: Owner, mode: Mode) -> None:
    """Store a layer's arrays without computing it: they count as parameters, and files hold them."""
    noted(Idle(layer), mode)


# The trunk ----------------------------------------------------------------------------------------

def channels(x: nn.Variable, mode: Mode) -> int:
    """The channels of the trunk."""
    return x.shape[0 if mode.fast else 1]


def sides(x: nn.Variable, mode: Mode) -> Pair:
    """Height and width of the trunk, in pixels."""
    height, width = x.shape[1:3] if mode.fast else x.shape[2:]
    return height, width


def part(x: nn.Variable, of_channels: slice, of_rows: slice, of_columns: slice, mode: Mode) -> nn.Variable:
    """Some of the trunk's channels, rows and columns."""
    return x[of_channels, of_rows, of_columns] if mode.fast else cut(x, of_channels, of_rows, of_columns)


def concat(*parts: nn.Variable, mode: Mode) -> nn.Variable:
    """The channels of all parts, in their order."""
    return F.concatenate(*parts, axis=0 if mode.fast else 1)


def split(x: nn.Variable, widths: Sequence[int], mode: Mode) -> Tuple[nn.Variable, ...]:
    """Consecutive channels, as many as each of `widths` says."""
    ends = np.cumsum(widths).tolist()
    if mode.fast:
        return tuple(kernels.select(x, range(start, stop)) for start, stop in zip([0, *ends], ends))
    return tuple(part(x, slice(start, stop), ALL, ALL, mode) for start, stop in zip([0, *ends], ends))


def shuffle(x: nn.Variable, groups: int, mode: Mode) -> nn.Variable:
    """The channels of `groups` groups interleaved (Zhang et al., ShuffleNet, CVPR 2018, figure 1)."""
    width = channels(x, mode)
    if mode.fast:
        return kernels.select(x, np.arange(width).reshape(groups, -1).T.ravel())
    count, _, *image = x.shape
    y = F.transpose(F.reshape(x, (count, groups, width // groups, *image)), (0, 2, 1, 3, 4))
    return F.reshape(y, x.shape)


def scale(x: nn.Variable, factors: nn.Variable, mode: Mode) -> nn.Variable:
    """The trunk times a factor for each image and channel, or for each pixel.

    factors: (N, C) features, or a trunk of one pixel or of one channel.
    """
    if factors.ndim == 2:
        count, width = factors.shape
        factors = (F.reshape(F.transpose(factors, (1, 0)), (width, 1, 1, count)) if mode.fast
                   else F.reshape(factors, (count, width, 1, 1)))
    if mode.fast and factors.shape == (x.shape[0], 1, 1, x.shape[3]):
        return kernels.scale(x, factors)
    return x * F.broadcast(factors, x.shape)


def max_pool(x: nn.Variable, kernel: int, mode: Mode, stride: int = 2, pad: int = 0) -> nn.Variable:
    """The largest of each kernel x kernel window; `pad` pixels of -inf around the image."""
    if mode.fast:
        return kernels.pool(x, kernel, stride, pad)
    return F.max_pooling(x, (kernel,) * 2, (stride,) * 2, pad=(pad,) * 2)


def average_pool(x: nn.Variable, kernel: int, mode: Mode, stride: int = 2, pad: int = 0) -> nn.Variable:
    """The mean of each kernel x kernel window, padded zeros counted."""
    if mode.fast:
        return kernels.pool(x, kernel, stride, pad, mean=True)
    return F.average_pooling(x, (kernel,) * 2, (stride,) * 2, pad=(pad,) * 2)


def global_mean(x: nn.Variable, mode: Mode, keep: bool = False) -> nn.Variable:
    """The mean over the image: features (N, C), or with `keep` the trunk of one pixel."""
    if mode.fast:
        return kernels.mean(x) if keep else kernels.global_mean(x)
    return F.mean(x, axis=(2, 3), keepdims=keep)


def global_max(x: nn.Variable, mode: Mode) -> nn.Variable:
    """The largest over the image: features (N, C)."""
    return F.transpose(F.max(x, axis=(1, 2)), (1, 0)) if mode.fast else F.max(x, axis=(2, 3))


def channel_max(x: nn.Variable, mode: Mode) -> nn.Variable:
    """The largest of all channels: a trunk of one channel."""
    return F.max(x, axis=0 if mode.fast else 1, keepdims=True)


def channel_mean(x: nn.Variable, mode: Mode) -> nn.Variable:
    """The mean of all channels: a trunk of one channel."""
    return F.mean(x, axis=0 if mode.fast else 1, keepdims=True)


def flatten(x: nn.Variable, mode: Mode) -> nn.Variable:
    """Features (N, C H W) in the order of (C, H, W)."""
    y = F.transpose(x, (3, 0, 1, 2)) if mode.fast else x
    return F.reshape(y, (y.shape[0], -1))


def subsample(x: nn.Variable, stride: int, mode: Mode) -> nn.Variable:
    """Every stride-th pixel of both axes, the first one included."""
    return part(x, ALL, slice(None, None, stride), slice(None, None, stride), mode)


def crop(x: nn.Variable, height: int, width: int, mode: Mode) -> nn.Variable:
    """The first rows and columns; the image itself where it has no more of them."""
    return x if sides(x, mode) == (height, width) else part(x, ALL, slice(height), slice(width), mode)


def shift(x: nn.Variable, mode: Mode) -> nn.Variable:
    """The image moved one pixel up and to the left; zeros enter below and on the right."""
    moved = part(x, ALL, slice(1, None), slice(1, None), mode)
    return F.pad(moved, (0, 1, 0, 1, 0, 0) if mode.fast else (0, 1, 0, 1))


def upsample(x: nn.Variable, factor: int, mode: Mode) -> nn.Variable:
    """Every pixel repeated `factor` times in both axes."""
    return in_nchw(x, mode, lambda own: F.unpooling(own, (factor, factor)))


# Noise --------------------------------------------------------------------------------------------

def dropout(x: nn.Variable, name: str, rate: float, mode: Mode, whole: bool = False) -> nn.Variable:
    """Values set to zero with probability `rate`, the others divided by 1 - rate; where the mode has noise.

    Args:
        x: The trunk or features.
        name: By which the noise is drawn.
        rate: In [0, 1).
        mode: How the graph is built.
        whole: Whether channels of an image are dropped as a whole.
    """
    if mode.random is None or not rate:
        return x
    fast = mode.fast and x.ndim == 4  # the noise of an image is the same in both layouts
    shape = (*x.shape[-1:], *x.shape[:-1]) if fast else x.shape
    if whole:
        shape = (*shape[:2], *(1 for _ in shape[2:]))
    factors = ((mode.random(f"dropout/{name}", shape) >= rate) / (1 - rate)).astype(np.float32)
    if fast:
        factors = np.ascontiguousarray(factors.transpose(1, 2, 3, 0))
    return x * F.broadcast(nn.Variable.from_numpy_array(factors), x.shape)


def drop_path(x: nn.Variable, name: str, rate: float, mode: Mode) -> nn.Variable:
    """The branch of each image dropped with probability `rate`, else divided by 1 - rate.

    Huang et al., Deep networks with stochastic depth, ECCV 2016, as EfficientNet has it: by image.
    """
    if mode.random is None or not rate:
        return x
    count = x.shape[-1 if mode.fast else 0]
    return x * by_image((mode.random(f"drop_path/{name}", (count,)) >= rate) / (1 - rate), x, mode)


def by_image(values: np.ndarray, x: nn.Variable, mode: Mode) -> nn.Variable:
    """One number for each image, (N,), in the shape of the trunk `x`."""
    ones = (1,) * (x.ndim - 1)
    shape = (*ones, len(values)) if mode.fast else (len(values), *ones)
    return F.broadcast(nn.Variable.from_numpy_array(values.reshape(shape).astype(np.float32)), x.shape)


def survive(x: nn.Variable, name: str, rate: float, mode: Mode) -> nn.Variable:
    """The branch dropped with probability `rate`, for all images at once; times 1 - rate without noise.

    Huang et al., Deep networks with stochastic depth, ECCV 2016, section 3.
    """
    if not rate:
        return x
    return x * (1 - rate if mode.random is None else float(mode.random(f"survive/{name}", (1,))[0] >= rate))
