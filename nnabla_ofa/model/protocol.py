"""What a network is to the rest of the project: weights of a space, and what can be computed from them."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Protocol, Sequence, Union

import nnabla as nn
import numpy as np

from ..layers import Arrays, Cost, Mode, Noise, Parameter
from ..nets import Arch, Config, Space
from ..system.files import Location
from .population import Population

Subnet = Union[Arch, str, Mapping[str, Any], None]  # a value, its text or dict, or None for the largest
# JSON-able: class names, normalisation, image sizes, recipe, stage; calibrated: whose BN statistics are
# stored, {"subnet": its text, "image_size": pixels or None}, absent where they are nobody's or unknown.
Info = Dict[str, Any]


class AnyNetwork(Protocol):
    """An elastic network, one of its subnets, or a network of the zoo.

    space: the subnets that it holds. info: what its file carries besides weights. kernels: "fast" (fused
    CPU functions), "nnabla" (its own functions) or "auto" (fast where it can). folded: whether
    convolutions have a bias in place of their BN.
    """

    space: Space
    info: Info
    kernels: str
    folded: bool

    @property
    def config(self) -> Config:
        """What it is besides its space."""

    def arch(self, arch: Subnet) -> Arch:
        """A subnet as a value of this space."""

    def declared(self) -> Dict[str, Parameter]:
        """Every array that this network stores, by name."""

    def arrays(self) -> Arrays:
        """Copies of all stored arrays, float32, by name, in the order of `declared`."""

    def set_arrays(self, arrays: Mapping[str, np.ndarray], source: str = "weights") -> None:
        """Take `arrays` as all weights; OfaError names what is missing, unknown or misshapen."""

    def variables(self) -> Dict[str, nn.Variable]:
        """The variables of all stored arrays by full name."""

    def mode(self, batch_stat: bool, random: Optional[Noise] = None) -> Mode:
        """A graph mode with this network's settings."""

    def forward(self, x: nn.Variable, archs: Sequence[Arch], mode: Mode) -> List[nn.Variable]:
        """Graphs of the logits (N, classes) of every arch on images `x` (N, 3, H, W)."""

    def logits(self, images: np.ndarray, arch: Subnet = None) -> np.ndarray:
        """Logits (N, classes) in eval mode."""

    def cost(self, arch: Subnet = None, image_size: int = 224) -> Cost:
        """Cost of the stand-alone subnet on one image of `image_size` pixels a side."""

    def extract(self, arch: Subnet = None) -> "AnyNetwork":
        """The stand-alone subnet, with weights of its own."""

    def fold_bn(self) -> "AnyNetwork":
        """A stand-alone network as a copy, BN folded into the convolutions before it."""

    def population(self, archs: Sequence[Arch]) -> Population:
        """Subnets that compute together what they have in common."""

    def adopt_statistics(self, statistics: Mapping[str, np.ndarray], arch: Arch) -> None:
        """Write a stand-alone subnet's BN statistics back to the channels that `arch` uses."""

    def describe(self) -> Dict[str, Any]:
        """What a file says of the network, JSON-able."""

    def save(self, path: Location) -> None:
        """Write one self-describing file: weights, configuration, space, info, versions."""
