"""Depthwise and pointwise convolution with BN, elastic in kernel size and in both widths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Tuple

import nnabla as nn
import nnabla.functions as F
import numpy as np

from ..kernels import Folded
from ..kernels import Layer as KernelLayer
from . import fused
from .base import Arrays, Cost, Index, Mode, Parameter, Single, counted, rows
from .batch_norm import (
    batch_normalization,
    bn_parameters,
    bn_variable,
    folded_convolution,
    permute_bn,
    running,
    slice_bn,
)
from .elastic_kernel import active_kernel, kernel_parameters, shrinks, sliced_kernel


@dataclass(frozen=True)
class Separable(Single):
    """[ReLU, depthwise, pointwise, BN, + residual, ReLU].

    kernels: every kernel size that the stored weights serve, ascending; `kernel` is the active one.
    full_in, full_out: stored widths. ordered: an `order` index is stored beside the weights
    (channel sorting moved their rows); restore: this layer is its block's output now, so row j of
    its output is row order[j] of the stored weights. segments, reads, writes: as of `base.Part`.
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
    reads: str = ""
    writes: str = ""

    CHAINS = True  # whether `kernels.block` takes several of these as one function

    def parameters(self) -> Dict[str, Parameter]:
        """See `base.Layer`."""
        found = kernel_parameters(self.name, self.full_in, self.kernels)
        found[f"{self.name}/pointwise/W"] = Parameter((self.full_out, self.full_in, 1, 1), "he", decay=True)
        found.update(bn_parameters(self.name, self.full_out))
        if self.ordered:
            found[f"{self.name}/order"] = Parameter((self.full_out,), "range", "order")
        return found

    def build(self, x: nn.Variable, mode: Mode, residual: Optional[nn.Variable] = None) -> nn.Variable:
        """(N, w_in, H, W) -> (N, w_out, H, W); residual: as the output."""
        if mode.fast:
            return fused.block(x, (self,), None, mode, relu_out=self.relu_out, residual=residual)
        order = self.active_order()
        y = F.relu(x) if self.relu_in else x
        kernel = active_kernel(self.variable, self.w_in, self.full_in, self.kernels, self.kernel)
        y = F.convolution(y, kernel, pad=(self.kernel // 2,) * 2, group=self.w_in)
        weight = rows(self.variable("pointwise/W"), self.w_out, order)
        if self.w_in < self.full_in:
            weight = weight[:, :self.w_in]
        y = F.convolution(y, weight, self.variable("pointwise/b") if mode.folded else None)
        if not mode.folded:
            y = batch_normalization(y, self.name, self.full_out, self.w_out, mode, order)
        y = y if residual is None else y + residual
        return F.relu(y) if self.relu_out else y

    def cost(self, side: int) -> Tuple[Cost, int]:
        """See `base.Layer`."""
        pixels = side * side
        macs = self.w_in * pixels * (self.kernel ** 2 + self.w_out)
        return counted(self) + Cost(macs=macs, activations=(self.w_in + self.w_out) * pixels), side

    # On the CPU ---------------------------------------------------------------------------------

    def kernel_layer(self, mode: Mode) -> KernelLayer:
        """Its variables, as `kernels.block` takes them."""
        gamma, beta = (bn_variable(self.name, self.full_out, key) for key in ("gamma", "beta"))
        matrices = tuple(self.variable(f"depthwise/{large}to{small}")
                         for large, small in shrinks(self.kernels, self.kernel))
        return KernelLayer(self.variable("pointwise/W"), gamma, beta, self.variable("depthwise/W"), matrices,
                           self.kernel, w_out=self.w_out, relu_in=self.relu_in,
                           running=running(self.name, self.full_out, mode))

    def constant_layer(self, mode: Mode) -> Folded:
        """Its weights as they are now, those of its subnet alone, BN folded in."""
        own = self.slice(fused.current_values(self))
        weight, bias = folded_convolution(own, self.name, "pointwise", mode.bn_eps)
        return Folded(weight, bias, own[f"{self.name}/depthwise/W"], relu_in=self.relu_in)

    def active_order(self) -> Optional[np.ndarray]:
        """The rows that restore a sorted output, None where the stored order already is the output's."""
        if not self.restore:
            return None
        order = self.variable("order").d.astype(np.int64)
        return None if np.array_equal(order, np.arange(len(order))) else order

    # Weights as arrays --------------------------------------------------------------------------

    def slice(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """See `base.Part`; the kernel matrices are multiplied in."""
        name, active = self.name, self.active_rows(arrays)
        return {f"{name}/depthwise/W": sliced_kernel(arrays, name, self.w_in, self.kernels, self.kernel),
                f"{name}/pointwise/W": arrays[f"{name}/pointwise/W"][active][:, :self.w_in],
                **slice_bn(arrays, name, active)}

    def fold(self, arrays: Mapping[str, np.ndarray], eps: float) -> Arrays:
        """See `base.Part`."""
        weight, bias = folded_convolution(arrays, self.name, "pointwise", eps)
        return {f"{self.name}/depthwise/W": arrays[f"{self.name}/depthwise/W"],
                f"{self.name}/pointwise/W": weight, f"{self.name}/pointwise/b": bias}

    def active_rows(self, arrays: Mapping[str, np.ndarray]) -> Index:
        """See `base.Part`."""
        return arrays[f"{self.name}/order"].astype(np.int64) if self.restore else slice(self.w_out)

    def importance(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `base.Part`."""
        return np.abs(arrays[f"{self.name}/pointwise/W"]).sum(axis=(0, 2, 3))

    def permute_inputs(self, arrays: Arrays, order: np.ndarray) -> None:
        """See `base.Part`."""
        arrays[f"{self.name}/pointwise/W"] = arrays[f"{self.name}/pointwise/W"][:, order]
        arrays[f"{self.name}/depthwise/W"] = arrays[f"{self.name}/depthwise/W"][order]

    def permute_outputs(self, arrays: Arrays, order: np.ndarray) -> None:
        """See `base.Part`."""
        order = np.concatenate([order, np.arange(len(order), self.full_out)])
        arrays[f"{self.name}/pointwise/W"] = arrays[f"{self.name}/pointwise/W"][order]
        permute_bn(arrays, self.name, order)
        if self.ordered:
            name = f"{self.name}/order"
            # Output row j was stored row old[j]; stored row order[i] is now row i.
            arrays[name] = np.argsort(order)[arrays[name].astype(np.int64)].astype(np.float32)
