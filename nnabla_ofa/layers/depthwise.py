"""Depthwise convolution with BN and activation, elastic in kernel size and width."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Dict, Mapping, Tuple

import nnabla as nn
import nnabla.functions as F
import numpy as np

from .. import kernels
from . import fused
from .activation import activate
from .base import Arrays, Cost, Index, Mode, Parameter, Single, counted
from .batch_norm import KEYS, batch_normalization, bn_parameters, folded_convolution, slice_bn
from .elastic_kernel import active_kernel, kernel_parameters, sliced_kernel


@dataclass(frozen=True)
class Depthwise(Single):
    """[depthwise kernel x kernel / stride with "same" padding, BN, activation].

    width, full: active and stored channels, 0 for the active ones. kernels: every size that the stored
    weights serve, ascending; `kernel` is the active one. activation: one of `activation.ACTIVATIONS`.
    carries: as of `base.Part`.
    """

    name: str
    width: int
    full: int = 0
    kernels: Tuple[int, ...] = (3,)
    kernel: int = 3
    stride: int = 1
    activation: str = field(default="relu", metadata={"sized": True})
    carries: str = ""

    reads: ClassVar[str] = ""
    writes: ClassVar[str] = ""
    segments: ClassVar[Tuple[int, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "full", self.full or self.width)

    @property
    def w_in(self) -> int:
        """Its channels."""
        return self.width

    w_out = w_in

    def parameters(self) -> Dict[str, Parameter]:
        """See `base.Layer`."""
        return {**kernel_parameters(self.name, self.full, self.kernels),
                **bn_parameters(self.name, self.full)}

    def build(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """(N, width, H, W) -> (N, width, ceil(H / stride), ceil(W / stride))."""
        return self._fast(x, mode) if mode.fast else activate(self._plain(x, mode), self.activation)

    def _fast(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """The same on (width, H, W, N)."""
        if not mode.batch_stat:
            own = self.fold(self.slice(fused.current_values(self)), mode.bn_eps)
            weight, bias = own[f"{self.name}/depthwise/W"], own[f"{self.name}/depthwise/b"]
            return kernels.frozen_depthwise(x, weight, bias, self.stride, self.activation)
        y = kernels.depthwise(x, self._active_kernel(mode), self.stride)
        return fused.normalized(y, self.name, self.full, mode, activation=self.activation)

    def _active_kernel(self, mode: Mode) -> nn.Variable:
        return active_kernel(lambda key: self.variable(key, mode), self.width, self.full, self.kernels,
                             self.kernel)

    def _plain(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        kernel = self._active_kernel(mode)
        y = F.convolution(x, kernel, self.variable("depthwise/b") if mode.folded else None,
                          pad=(self.kernel // 2,) * 2, stride=(self.stride,) * 2, group=self.width)
        return y if mode.folded else batch_normalization(y, self.name, self.full, self.width, mode)

    def cost(self, side: int) -> Tuple[Cost, int]:
        """See `base.Layer`."""
        side = -(-side // self.stride)
        outputs = self.width * side * side
        return counted(self) + Cost(macs=outputs * self.kernel ** 2, activations=outputs), side

    # Weights as arrays --------------------------------------------------------------------------

    def slice(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """See `base.Part`; the kernel matrices are multiplied in."""
        kernel = sliced_kernel(arrays, self.name, self.width, self.kernels, self.kernel)
        return {f"{self.name}/depthwise/W": kernel,
                **slice_bn(arrays, self.name, self.active_rows(arrays))}

    def fold(self, arrays: Mapping[str, np.ndarray], eps: float) -> Arrays:
        """See `base.Owner`."""
        weight, bias = folded_convolution(arrays, self.name, "depthwise", eps)
        return {f"{self.name}/depthwise/W": weight, f"{self.name}/depthwise/b": bias}

    def active_rows(self, arrays: Mapping[str, np.ndarray]) -> Index:
        """See `base.Part`."""
        return slice(self.width)

    def importance(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """It mixes no channels: none of it reads one."""
        raise NotImplementedError(f"{self.name} mixes no channels")

    permute_inputs = permute_outputs = Single.permute_carried

    def permute_carried(self, arrays: Arrays, order: np.ndarray) -> None:
        """See `base.Part`."""
        order = np.concatenate([order, np.arange(len(order), self.full)])
        arrays[f"{self.name}/depthwise/W"] = arrays[f"{self.name}/depthwise/W"][order]
        for key in KEYS:
            arrays[f"{self.name}/bn/{key}"] = arrays[f"{self.name}/bn/{key}"][:, order]
