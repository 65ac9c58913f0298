"""Parameters, MACs and activations of thousands of subnets at once.

Parameters and BN statistics are those that the stand-alone subnet stores. MACs are those of
convolutions and affine layers, activations the elements of their outputs (the conventions of pycls,
Radosavovic et al., CVPR 2020), for one image.
"""

from __future__ import annotations

from typing import Sequence

import numpy as np

from ..layers import Cost
from ..model import AnyNetwork, Network
from ..nets import Arch
from .operations import Archs, Operations, Totals


class CostModel:
    """`Network.cost` of thousands of subnets: `CostModel(net, 28)(archs).macs` is an (n,) array."""

    def __init__(self, net: Network, image_size: int):
        self.operations = Operations(net, image_size)
        self._totals = Totals(self.operations, lambda layer, side: layer.cost(side)[0],
                              len(Cost._fields), np.int64)

    def __call__(self, archs: Archs) -> Cost:
        """A `Cost` of int64 arrays (n,). archs: as `Operations.rows` takes them."""
        return Cost(*self._totals(archs).T)

    def by_layer(self, archs: Archs) -> Cost:
        """A `Cost` of int64 arrays (n, layers)."""
        return Cost(*np.moveaxis(self._totals.by_layer(archs), 2, 0))


def costs_of(net: AnyNetwork, archs: Sequence[Arch], image_size: int) -> Cost:
    """The same for any network, a fixed one too: a `Cost` of int64 arrays (n,)."""
    if isinstance(net, Network):
        return CostModel(net, image_size)(archs)
    return Cost(*np.array([net.cost(arch, image_size) for arch in archs], np.int64).reshape(-1, 4).T)
