"""Layer normalisation (Ba et al., 2016), of a fixed network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Mapping

import nnabla as nn
import nnabla.functions as F
import numpy as np

from .base import Arrays, Mode, Parameter, Single, in_nchw, parameters


@dataclass(frozen=True)
class LayerNorm(Single):
    """The channels of each pixel less their mean, divided by their standard deviation; scaled and shifted.

    Args:
        name: Of the layer; its arrays are `<name>/norm/gamma` and `<name>/norm/beta`.
        width: Channels.
        eps: What is added to the variance.
    """

    name: str
    width: int
    eps: float = 1e-6

    def parameters(self) -> Dict[str, Parameter]:
        """See `base.Owner`."""
        shape = (1, self.width, 1, 1)
        return {f"{self.name}/norm/gamma": Parameter(shape, "ones"),
                f"{self.name}/norm/beta": Parameter(shape, "zeros")}

    def build(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """The graph on the trunk `x`."""
        beta, gamma = self.variable("norm/beta", mode), self.variable("norm/gamma", mode)
        return in_nchw(x, mode, lambda y: F.layer_normalization(y, beta, gamma, batch_axis=(0, 2, 3),
                                                                eps=self.eps))

    def fold(self, arrays: Mapping[str, np.ndarray], eps: float) -> Arrays:
        """It depends on every image, so nothing folds: its arrays as they are."""
        return {name: arrays[name] for name in parameters(self)}
