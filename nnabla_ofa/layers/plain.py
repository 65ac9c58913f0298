"""Layers without parameters: an absent block, max-pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Tuple

import nnabla as nn
import nnabla.functions as F

from .. import kernels
from .base import Cost, Mode, Parameter, Part


class NoParameters:
    """What layers without parameters have in common."""

    def parameters(self) -> Dict[str, Parameter]:
        """None."""
        return {}

    def parts(self) -> Tuple[Part, ...]:
        """None."""
        return ()

    stored_parts = parts

    def parts_on(self, side: int) -> Tuple[Tuple[Part, int], ...]:
        """None."""
        return ()


@dataclass(frozen=True)
class Absent(NoParameters):
    """A block that a shallower subnet does not have: the identity."""

    def build(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """The input itself."""
        return x

    def cost(self, side: int) -> Tuple[Cost, int]:
        """Nothing."""
        return Cost(), side


@dataclass(frozen=True)
class MaxPool(NoParameters):
    """Max-pooling 3x3 / 2 with a border of one pixel."""

    def build(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """(N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2))."""
        return kernels.pool(x, 3, 2, pad=1) if mode.fast else F.max_pooling(x, (3, 3), (2, 2), pad=(1, 1))

    def cost(self, side: int) -> Tuple[Cost, int]:
        """No parameters, no MACs."""
        return Cost(), -(-side // 2)
