"""Convolution with all its options, for fixed networks: any kernel, padding, groups, bias, BN, activation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Dict, Mapping, Optional, Tuple

import nnabla as nn
import nnabla.functions as F
import numpy as np

from .. import kernels
from . import fused
from .activation import activate
from .base import Arrays, Mode, Parameter, Single, parameters
from .batch_norm import batch_normalization, bn_parameters, folded_convolution

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
        if mode.fast:
            return self._fast(x, mode, residual)
        y = self._convolved(x, mode)
        return activate(y if residual is None else y + residual, self.activation)

    def _convolved(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """(N, w_in, H, W) -> (N, w_out, H', W'), BN included."""
        bias = self.variable("conv/b", mode) if self.bias or (mode.folded and self.bn) else None
        y = F.convolution(x, self.variable("conv/W", mode), bias, pad=self.pad, stride=self.stride,
                          group=self.groups)
        if not self.bn or mode.folded:
            return y
        own = mode if self.eps is None else replace(mode, bn_eps=self.eps)
        return batch_normalization(y, self.name, self.w_out, self.w_out, own)

    def _fast(self, x: nn.Variable, mode: Mode, residual: Optional[nn.Variable]) -> nn.Variable:
        """The same on (C, H, W, N)."""
        full = self.w_out if self.bn else None
        if self._depthwise() and not mode.batch_stat:
            own = fused.constants(self, mode)
            weight, bias = own[f"{self.name}/conv/W"], own[f"{self.name}/conv/b"]
            y = kernels.frozen_depthwise(x, weight, bias, self.stride[0],
                                         self.activation if residual is None else "none")
            return y if residual is None else activate(y + residual, self.activation, fast=True)
        if self._depthwise():
            y = kernels.depthwise(x, self.variable("conv/W"), self.stride[0])
            y = y + F.reshape(self.variable("conv/b"), (self.w_out, 1, 1, 1)) if self.bias else y
            return fused.normalized(y, self.name, self.w_out, mode, residual, self.activation, self.eps)
        return fused.convolution(x, self, mode, fused.constants(self, mode), full, residual=residual,
                                 activation=self.activation, eps=self.eps, stride=self.stride, pad=self.pad,
                                 groups=self.groups)

    def _depthwise(self) -> bool:
        """Whether `kernels.depthwise` computes it, then BN: square, odd, "same" padding."""
        side, stride = self.kernel[0], self.stride[0]
        return (self.groups == self.w_in == self.w_out and side in (1, 3, 5, 7)
                and self.kernel == (side, side) and self.pad == (side // 2,) * 2
                and self.stride == (stride, stride) and self.bn)

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
