"""A fully connected layer of a fixed network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Mapping

import nnabla as nn
import nnabla.functions as F
import numpy as np

from .. import kernels
from .activation import activate
from .base import Arrays, Mode, Parameter, Single, parameters


@dataclass(frozen=True)
class Dense(Single):
    """[affine, activation] on features.

    Args:
        name: Of the layer; its arrays are `<name>/affine/W` and `<name>/affine/b`.
        w_in, w_out: Features.
        bias: Whether it has one.
        activation: One of `activation.ACTIVATIONS`.
        scores: Whether its outputs are the classes.
    """

    name: str
    w_in: int
    w_out: int
    bias: bool = True
    activation: str = "none"
    scores: bool = False

    def parameters(self) -> Dict[str, Parameter]:
        """See `base.Layer`."""
        weight = Parameter((self.w_in, self.w_out), "he", decay=True, scores=1 if self.scores else None)
        bias = Parameter((self.w_out,), "zeros", scores=0 if self.scores else None)
        return {f"{self.name}/affine/W": weight, **({f"{self.name}/affine/b": bias} if self.bias else {})}

    def build(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """(..., w_in) -> (..., w_out)."""
        bias = self.variable("affine/b", mode) if self.bias else None
        if mode.fast and x.ndim == 2:
            y = kernels.affine(x, self.variable("affine/W", mode), bias)
        else:
            y = F.affine(x, self.variable("affine/W", mode), bias, base_axis=x.ndim - 1)
        return activate(y, self.activation, mode.fast)

    def fold(self, arrays: Mapping[str, np.ndarray], eps: float) -> Arrays:
        """It has no BN: its arrays as they are."""
        return {name: arrays[name] for name in parameters(self)}
