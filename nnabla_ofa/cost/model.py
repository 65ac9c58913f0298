"""Parameters, BN statistics, MACs and activations of thousands of subnets at once.

Parameters and BN statistics are those that the stand-alone subnet stores. MACs are those of
convolutions and affine layers, activations the elements of their outputs (the conventions of pycls,
Radosavovic et al., CVPR 2020), for one image.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np

from ..layers import Cost, Layer
from ..model import AnyNetwork, Network
from ..nets import Arch
from .operations import Archs, Operations, Totals


class Costs(NamedTuple):
    """The fields of `layers.Cost` of n subnets: int64 arrays (n,), or by layer (n, layers)."""

    parameters: np.ndarray
    statistics: np.ndarray
    macs: np.ndarray
    activations: np.ndarray


class CostModel:
    """`Network.cost` of thousands of subnets: `CostModel(net, 28)(archs).macs` is an (n,) array."""

    def __init__(self, net: Network, image_size: int):
        """image_size: pixels a side. Raises OfaError if it is not positive."""
        self.operations = Operations(net, image_size)
        self._totals = Totals(self.operations, _cost, len(Cost._fields), np.int64)

    def __call__(self, archs: Archs) -> Costs:
        """`Costs` of arrays (n,). archs: as `Operations.rows` takes them."""
        return Costs(*self._totals(archs).T)

    def by_layer(self, archs: Archs) -> Costs:
        """`Costs` of arrays (n, layers)."""
        return Costs(*np.moveaxis(self._totals.by_layer(archs), 2, 0))


def _cost(layer: Layer, side: int) -> Cost:
    return layer.cost(side)[0]


def costs_of(net: AnyNetwork, archs: Sequence[Arch], image_size: int) -> Costs:
    """The same of any network, a fixed one too.

    Args:
        net: Whose subnets they are.
        archs: n of them.
        image_size: Pixels a side.

    Returns:
        `Costs` of arrays (n,).
    """
    if isinstance(net, Network):
        return CostModel(net, image_size)(archs)
    return Costs(*np.array([net.cost(arch, image_size) for arch in archs], np.int64).reshape(-1, 4).T)
