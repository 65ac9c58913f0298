"""Convolution and BN, elastic in both widths."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Dict, Mapping, Optional, Tuple

import nnabla as nn
import nnabla.functions as F
import numpy as np

from .. import kernels
from ..kernels import Folded
from ..kernels import Layer as KernelLayer
from . import fused
from .activation import activate
from .base import Arrays, Cost, Index, Mode, Parameter, Single, counted, cut, rows
from .batch_norm import (
    batch_normalization,
    bn_parameters,
    bn_variable,
    folded_convolution,
    permute_bn,
    running,
    slice_bn,
)


@dataclass(frozen=True)
class ConvBn(Single):
    """[mean over windows, conv kernel x kernel / stride with "same" padding, BN, + residual, activation].

    full_in, full_out: stored widths, 0 for those that are active. segments, reads, writes: as of
    `base.Part`. activation: one of `activation.ACTIVATIONS`, with relu_out it is ReLU. mean_pool: side and
    stride of the windows, 1 or 2 pixels; those that reach over the border are means of what is there.
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
    activation: str = field(default="none", metadata={"sized": True})
    mean_pool: int = 1

    CHAINS = False  # whether `kernels.block` takes several of these as one function

    def __post_init__(self) -> None:
        object.__setattr__(self, "full_in", self.full_in or self.w_in)
        object.__setattr__(self, "full_out", self.full_out or self.w_out)

    def parameters(self) -> Dict[str, Parameter]:
        """See `base.Layer`."""
        shape = (self.full_out, self.full_in, self.kernel, self.kernel)
        return {f"{self.name}/conv/W": Parameter(shape, "he", decay=True),
                **bn_parameters(self.name, self.full_out)}

    def build(self, x: nn.Variable, mode: Mode, residual: Optional[nn.Variable] = None) -> nn.Variable:
        """(N, w_in, H, W) -> (N, w_out, ceil(H / stride), ceil(W / stride)); residual: as the output."""
        activation = "relu" if self.relu_out else self.activation
        if mode.fast:
            return self._fast(x, mode, residual, activation)
        y = self._convolved(x, mode)
        return activate(y if residual is None else y + residual, activation)

    def _fast(self, x: nn.Variable, mode: Mode, residual: Optional[nn.Variable],
              activation: str) -> nn.Variable:
        """The same on (w_in, H, W, N)."""
        if self.mean_pool > 1:
            x = kernels.pool(even(x, (1, 2)), 2, 2, mean=True)
        own = None if mode.batch_stat else self.slice(fused.current_values(self))
        return fused.convolution(x, self, mode, fused.constants(self, mode, own), self.full_out,
                                 residual=residual, activation=activation, stride=(self.stride,) * 2,
                                 pad=(self.kernel // 2,) * 2, w_out=self.w_out)

    def _convolved(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """The convolution and its BN, on (N, w_in, H, W)."""
        if self.mean_pool > 1:
            x = F.average_pooling(even(x, (2, 3)), (2, 2), (2, 2))
        weight = rows(self.variable("conv/W", mode), self.w_out, None)
        weight = weight if self.w_in == self.full_in else weight[:, :self.w_in]
        bias = self.variable("conv/b") if mode.folded else None
        y = F.convolution(x, weight, bias, pad=(self.kernel // 2,) * 2, stride=(self.stride,) * 2)
        return y if mode.folded else batch_normalization(y, self.name, self.full_out, self.w_out, mode)

    def cost(self, side: int) -> Tuple[Cost, int]:
        """See `base.Layer`."""
        side = math.ceil(math.ceil(side / self.mean_pool) / self.stride)
        outputs = self.w_out * side * side
        macs = outputs * self.w_in * self.kernel ** 2
        return counted(self) + Cost(macs=macs, activations=outputs), side

    # On the CPU ---------------------------------------------------------------------------------

    def kernel_layer(self, mode: Mode) -> KernelLayer:
        """Its variables, as `kernels.block` takes them."""
        gamma, beta = (bn_variable(self.name, self.full_out, key) for key in ("gamma", "beta"))
        return KernelLayer(self.variable("conv/W"), gamma, beta, stride=self.stride, w_out=self.w_out,
                           running=running(self.name, self.full_out, mode))

    def constant_layer(self, mode: Mode) -> Folded:
        """Its weights as they are now, those of its subnet alone, BN folded in."""
        own = self.slice(fused.current_values(self))
        return Folded(*folded_convolution(own, self.name, "conv", mode.bn_eps), stride=self.stride)

    def active_order(self) -> Optional[np.ndarray]:
        """None: the stored order is the output's."""
        return None

    # Weights as arrays --------------------------------------------------------------------------

    def slice(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """See `base.Part`."""
        weight = arrays[f"{self.name}/conv/W"][:self.w_out, :self.w_in]
        return {f"{self.name}/conv/W": weight, **slice_bn(arrays, self.name, self.active_rows(arrays))}

    def fold(self, arrays: Mapping[str, np.ndarray], eps: float) -> Arrays:
        """See `base.Part`."""
        weight, bias = folded_convolution(arrays, self.name, "conv", eps)
        return {f"{self.name}/conv/W": weight, f"{self.name}/conv/b": bias}

    def active_rows(self, arrays: Mapping[str, np.ndarray]) -> Index:
        """See `base.Part`."""
        return slice(self.w_out)

    def importance(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `base.Part`."""
        return np.abs(arrays[f"{self.name}/conv/W"]).sum(axis=(0, 2, 3))

    def permute_inputs(self, arrays: Arrays, order: np.ndarray) -> None:
        """See `base.Part`."""
        arrays[f"{self.name}/conv/W"] = arrays[f"{self.name}/conv/W"][:, order]

    def permute_outputs(self, arrays: Arrays, order: np.ndarray) -> None:
        """See `base.Part`."""
        order = np.concatenate([order, np.arange(len(order), self.full_out)])
        arrays[f"{self.name}/conv/W"] = arrays[f"{self.name}/conv/W"][order]
        permute_bn(arrays, self.name, order)


def even(x: nn.Variable, axes: Tuple[int, int]) -> nn.Variable:
    """The trunk with the last row and column repeated where their number is odd; axes: of rows and columns.

    The mean of 2x2 pixels then is that of the pixels that are there, in every runtime of an exported graph.
    """
    for axis in axes:
        size = x.shape[axis]
        if size % 2:
            last = tuple(slice(size - 1 if i == axis else None, None) for i in range(x.ndim))
            x = F.concatenate(x, cut(x, *last[1:]) if axes == (2, 3) else x[last], axis=axis)
    return x
