"""Convolution with all its options, for fixed networks: any kernel, padding, groups, bias, BN, activation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Dict, Mapping, Optional, Tuple

import nnabla as nn
import nnabla.functions as F
import numpy as np

from .. import kernels
from ..kernels import Folded
from ..kernels import Layer as KernelLayer
from . import fused
from .activation import activate
from .base import Arrays, Mode, Parameter, Single, in_nchw, on_channels, parameters
from .batch_norm import batch_normalization, bn_parameters, bn_variable, folded_convolution, running

Pair = Tuple[int, int]  # (height, width), in pixels


@dataclass(frozen=True)
class Conv(Single):
    """[convolution, BN, + residual, activation].

    Args:
        name: Of the layer; its arrays are `<name>/conv/W`, `<name>/conv/b` and `<name>/bn/*`.
        w_in, w_out: Channels.
        kernel, stride, pad: Of the convolution; zeros are padded.
        groups: Of channels that are convolved apart.
        bias: Whether the convolution has one.
        bn: Whether BN follows.
        activation: One of `activation.ACTIVATIONS`.
        eps: What BN adds to the variance; None: as all BNs of the network.
        scores: Whether the output's channels are the classes.
        init: Of its weights; see `base.initial_value`.
    """

    name: str
    w_in: int
    w_out: int
    kernel: Pair
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    groups: int = 1
    bias: bool = False
    bn: bool = True
    activation: str = "none"
    eps: Optional[float] = None
    scores: bool = False
    init: str = "he"

    def parameters(self) -> Dict[str, Parameter]:
        """See `base.Layer`."""
        axis = 0 if self.scores else None
        shape = (self.w_out, self.w_in // self.groups, *self.kernel)
        found = {f"{self.name}/conv/W": Parameter(shape, self.init, decay=True, scores=axis)}
        if self.bias:
            found[f"{self.name}/conv/b"] = Parameter((self.w_out,), "zeros", scores=axis)
        return {**found, **bn_parameters(self.name, self.w_out)} if self.bn else found

    def build(self, x: nn.Variable, mode: Mode, residual: Optional[nn.Variable] = None) -> nn.Variable:
        """The graph on the trunk `x`; residual: what is added before the activation, as the output."""
        if mode.fast and self.fusable():
            relu = self.activation == "relu"
            y = fused.block(x, (), self, mode, relu_out=relu, residual=residual)
            return y if relu else activate(y, self.activation, fast=True)
        y = (self._depthwise(x, mode) if mode.fast and self.depthwise() else
             in_nchw(x, mode, lambda own: self._convolved(own, mode)))
        return activate(y if residual is None else y + residual, self.activation, mode.fast)

    def _convolved(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """(N, w_in, H, W) -> (N, w_out, H', W'), BN included."""
        bias = self.variable("conv/b", mode) if self.bias or (mode.folded and self.bn) else None
        y = F.convolution(x, self.variable("conv/W", mode), bias, pad=self.pad, stride=self.stride,
                          group=self.groups)
        if not self.bn or mode.folded:
            return y
        own = mode if self.eps is None else replace(mode, bn_eps=self.eps)
        return batch_normalization(y, self.name, self.w_out, self.w_out, own)

    def _depthwise(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """The same on (C, H, W, N)."""
        y = kernels.depthwise(x, self.variable("conv/W", mode), self.stride[0])
        y = y + F.reshape(self.variable("conv/b", mode), (self.w_out, 1, 1, 1)) if self.bias else y
        own = mode if self.eps is None else replace(mode, bn_eps=self.eps)
        return y if not self.bn else on_channels(
            y, lambda one: batch_normalization(one, self.name, self.w_out, self.w_out, own))

    def fold(self, arrays: Mapping[str, np.ndarray], eps: float) -> Arrays:
        """See `base.Owner`."""
        own = {name: arrays[name] for name in parameters(self)}
        if not self.bn:
            return own
        if self.bias:  # BN(W x + b) is the BN of W x whose mean is smaller by b
            own[f"{self.name}/bn/mean"] = own[f"{self.name}/bn/mean"] - own[f"{self.name}/conv/b"].reshape(
                1, -1, 1, 1)
        weight, bias = folded_convolution(own, self.name, "conv", eps if self.eps is None else self.eps)
        return {f"{self.name}/conv/W": weight, f"{self.name}/conv/b": bias}

    # On the CPU ---------------------------------------------------------------------------------

    def fusable(self) -> bool:
        """Whether `kernels.block` computes it: 1x1 or 3x3, "same" padding, dense, BN, no bias."""
        return (self.kernel[0] in (1, 3) and self._same() and self.groups == 1 and not self.bias and self.bn
                and self.eps is None)

    def depthwise(self) -> bool:
        """Whether `kernels.depthwise` computes it: a kernel a channel, square and odd, "same" padding."""
        return self.groups == self.w_in == self.w_out and self._same() and self.kernel[0] <= 7

    def _same(self) -> bool:
        side, stride = self.kernel[0], self.stride[0]
        return (self.kernel == (side, side) and side % 2 == 1 and self.pad == (side // 2,) * 2
                and self.stride == (stride, stride))

    def kernel_layer(self, mode: Mode) -> KernelLayer:
        """Its variables, as `kernels.block` takes them."""
        gamma, beta = (bn_variable(self.name, self.w_out, key) for key in ("gamma", "beta"))
        return KernelLayer(self.variable("conv/W"), gamma, beta, stride=self.stride[0], w_out=self.w_out,
                           running=running(self.name, self.w_out, mode))

    def constant_layer(self, mode: Mode) -> Folded:
        """Its weights as they are now, BN folded in."""
        weight, bias = folded_convolution(fused.current_values(self), self.name, "conv", mode.bn_eps)
        return Folded(weight, bias, stride=self.stride[0])

    def active_order(self) -> Optional[np.ndarray]:
        """None: the stored order is the output's."""
        return None
