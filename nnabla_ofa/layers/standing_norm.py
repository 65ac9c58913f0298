"""Batch normalisation without a convolution before it, a layer of its own of fixed networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Dict, Mapping, Optional

import nnabla as nn
import numpy as np

from . import fused
from .activation import activate
from .base import Arrays, Mode, Parameter, Single, parameters
from .batch_norm import batch_normalization, bn_parameters


@dataclass(frozen=True)
class BatchNorm(Single):
    """[BN, activation] without a convolution before it, of a fixed network.

    Args:
        name: Of the layer; its arrays are `<name>/bn/*`.
        width: Channels.
        activation: One of `activation.ACTIVATIONS`.
        eps, decay: As of `Mode`; None: as all BNs of the network.
    """

    name: str
    width: int
    activation: str = "none"
    eps: Optional[float] = None
    decay: Optional[float] = None

    def parameters(self) -> Dict[str, Parameter]:
        """See `base.Owner`."""
        return bn_parameters(self.name, self.width)

    def build(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """The graph on the trunk `x`."""
        own = replace(mode, bn_eps=mode.bn_eps if self.eps is None else self.eps,
                      bn_decay=mode.bn_decay if self.decay is None else self.decay)

        if mode.fast:
            return fused.normalized(x, self.name, self.width, own, activation=self.activation)
        return activate(batch_normalization(x, self.name, self.width, self.width, own), self.activation)

    def fold(self, arrays: Mapping[str, np.ndarray], eps: float) -> Arrays:
        """There is no convolution to fold it into: its arrays as they are."""
        return {name: arrays[name] for name in parameters(self)}
