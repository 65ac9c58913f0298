"""A residual block: units in a row beside a shortcut."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Tuple, Union, cast

import nnabla as nn

from . import fused
from .base import Cost, Mode, Parameter, parameters
from .conv_bn import ConvBn
from .depthwise import Depthwise
from .plain import MaxPool
from .separable import Separable
from .squeeze_excite import SqueezeExcite

Unit = Union[ConvBn, Separable, Depthwise, SqueezeExcite]
Last = Union[ConvBn, Separable]  # what can take the shortcut within


@dataclass(frozen=True)
class Residual:
    """units, then max-pool 3x3/2 where `pool`, plus the input (through `skip` where given).

    Without `pool` the last unit's activation comes after the addition. idle: a skip convolution that
    only other subnets of the space use: its weights are stored, this subnet has an identity instead.
    shortcut: "within" the last unit, as said; "after" its activation; or "none", nothing is added.
    """

    units: Tuple[Unit, ...]
    skip: Optional[ConvBn] = None
    pool: bool = False
    idle: Optional[ConvBn] = None
    shortcut: str = field(default="within", metadata={"sized": True})

    def parameters(self) -> Dict[str, Parameter]:
        """See `base.Layer`."""
        return {name: p for part in self.stored_parts() for name, p in parameters(part).items()}

    def build(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """(N, C, H, W) -> (N, C', H, W); with `pool` ceil(H / 2) x ceil(W / 2)."""
        if self.shortcut == "none":
            return in_a_row(self.units, x, mode)
        last = cast(Last, self.units[-1])
        if mode.fast and last.CHAINS:
            return fused.block(x, cast(Sequence[Separable], self.units), self.skip, mode,
                               relu_out=last.relu_out, pool=self.pool, identity=self.skip is None)
        shortcut = self.skip.build(x, mode) if self.skip else x
        y = in_a_row(self.units[:-1], x, mode)
        if self.pool:
            return MaxPool().build(last.build(y, mode), mode) + shortcut
        if self.shortcut == "after":
            return last.build(y, mode) + shortcut
        return last.build(y, mode, shortcut)

    def cost(self, side: int) -> Tuple[Cost, int]:
        """See `base.Layer`."""
        total, inner = Cost(), side
        for unit in self.units:
            part, inner = unit.cost(inner)
            total += part
        if self.skip:
            total += self.skip.cost(side)[0]
        return total, -(-inner // 2) if self.pool else inner

    def parts(self) -> Tuple[Unit, ...]:
        """Its units and, where it has one, its skip convolution."""
        return (*self.units, *((self.skip,) if self.skip else ()))

    def parts_on(self, side: int) -> Tuple[Tuple[Unit, int], ...]:
        """See `base.Layer`."""
        found: List[Tuple[Unit, int]] = [(self.skip, side)] if self.skip else []
        for unit in self.units:
            found.append((unit, side))
            side = unit.cost(side)[1]
        return tuple(found)

    def stored_parts(self) -> Tuple[Unit, ...]:
        """See `base.Layer`."""
        return (*self.parts(), *((self.idle,) if self.idle else ()))


def in_a_row(units: Sequence[Unit], x: nn.Variable, mode: Mode) -> nn.Variable:
    """The graph of units one after the other."""
    for unit in units:
        x = unit.build(x, mode)
    return x
