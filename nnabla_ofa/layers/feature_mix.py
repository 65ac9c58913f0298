"""MobileNetV3's layer between the mean over the image and the classifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Dict, Mapping, Tuple

import nnabla as nn
import nnabla.functions as F
import numpy as np

from .. import kernels
from . import fused
from .activation import activate
from .base import Arrays, Cost, Index, Mode, Parameter, Single, counted, parameters


@dataclass(frozen=True)
class FeatureMix(Single):
    """[mean over the image, 1x1 convolution without bias and BN, activation]; not elastic."""

    name: str
    w_in: int
    w_out: int
    activation: str = field(default="hard_swish", metadata={"sized": True})

    reads: ClassVar[str] = ""
    writes: ClassVar[str] = ""
    segments: ClassVar[Tuple[int, ...]] = ()

    def parameters(self) -> Dict[str, Parameter]:
        """See `base.Layer`."""
        return {f"{self.name}/conv/W": Parameter((self.w_out, self.w_in, 1, 1), "he", decay=True)}

    def build(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """(N, w_in, H, W) -> (N, w_out, 1, 1)."""
        if mode.fast:
            return fused.convolution(kernels.mean(x), self, mode, fused.constants(self, mode), None,
                                     activation=self.activation)
        y = F.convolution(F.mean(x, axis=(2, 3), keepdims=True), self.variable("conv/W", mode))
        return activate(y, self.activation)

    def cost(self, side: int) -> Tuple[Cost, int]:
        """See `base.Layer`."""
        return counted(self) + Cost(macs=self.w_in * self.w_out, activations=self.w_out), 1

    def slice(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """Its arrays as they are."""
        return {name: arrays[name] for name in parameters(self)}

    def fold(self, arrays: Mapping[str, np.ndarray], eps: float) -> Arrays:
        """It has no BN: its arrays as they are."""
        return self.slice(arrays)

    def active_rows(self, arrays: Mapping[str, np.ndarray]) -> Index:
        """All of them."""
        return slice(self.w_out)

    def importance(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `base.Part`."""
        return np.abs(arrays[f"{self.name}/conv/W"]).sum(axis=(0, 2, 3))

    def permute_inputs(self, arrays: Arrays, order: np.ndarray) -> None:
        """See `base.Part`."""
        arrays[f"{self.name}/conv/W"] = arrays[f"{self.name}/conv/W"][:, order]

    permute_outputs = Single.permute_carried
