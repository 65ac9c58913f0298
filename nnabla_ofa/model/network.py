"""An elastic network and its weights: logits of any subnet, sorting, extraction, wider spaces.

A supernet and a stand-alone subnet are the same thing over different spaces.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import nnabla as nn
import numpy as np

from ..errors import OfaError
from ..layers import Arrays, Cost, Layer, Mode, Parameter, Part, initial_value, parameters, to_trunk
from ..nets import Arch, ElasticConfig, Space
from .base import Weights
from .inputs import require_image_size
from .population import Piece, Population
from .protocol import AnyNetwork, Subnet
from .sorting import sorted_arrays


class Network(Weights[ElasticConfig]):
    """Weights of `space` under one configuration of an elastic family. See `protocol.AnyNetwork`."""

    @classmethod
    def create(cls, config: ElasticConfig, space: Union[Space, str], seed: int = 0) -> "Network":
        """A network with new weights; the same (config, space, seed) gives the same values."""
        net = cls(config, config.space(space) if isinstance(space, str) else space)
        net.initialise(seed)
        return net

    def layers(self, arch: Subnet = None) -> Tuple[Layer, ...]:
        """The layers of `arch` over this network's stored weights."""
        return self.config.layers(self.space, self.arch(arch))

    def declared(self) -> Dict[str, Parameter]:
        """See `protocol.AnyNetwork`."""
        found = {name: p for layer in self.layers() for name, p in parameters(layer).items()}
        return _with_biases(found, flat(self.layers())) if self.folded else found

    # What it computes ---------------------------------------------------------------------

    def forward(self, x: nn.Variable, archs: Sequence[Arch], mode: Mode) -> List[nn.Variable]:
        """See `protocol.AnyNetwork`.

        Archs share the graph of the layers that they have in common from the input on: the entry
        flow always, and every leading middle block that is the same in them.
        """
        values = [to_trunk(x, mode)]
        places: Dict[Tuple[int, Layer], int] = {}  # (place of the value before, layer) -> place
        outputs = []
        with nn.parameter_scope("", self.scope):
            for arch in archs:
                place = 0
                for layer in self.layers(arch):
                    if (place, layer) not in places:
                        values.append(layer.build(values[place], mode))
                        places[place, layer] = len(values) - 1
                    place = places[place, layer]
                outputs.append(values[place])
        return outputs

    def cost(self, arch: Subnet = None, image_size: int = 224) -> Cost:
        """See `protocol.AnyNetwork`."""
        arch = self.arch(arch).canonical()
        return network_cost(self.config.layers(Space.of(arch), arch), image_size)

    def population(self, archs: Sequence[Arch]) -> Population:
        """See `protocol.AnyNetwork`."""
        arrays = self.arrays()

        def piece(stored: Layer, alone: Layer) -> Piece:
            return Piece(alone, parameters(alone), lambda: slice_arrays(arrays, [stored]), alone.build)

        return Population([[piece(*pair) for pair in zip(self.layers(arch), self.config.layers(
            Space.of(arch), arch))] for arch in (arch.canonical() for arch in archs)], self.mode)

    # What is made from it -----------------------------------------------------------------

    def extract(self, arch: Subnet = None) -> "Network":
        """The stand-alone subnet: just the parameters it needs, kernel matrices multiplied in."""
        arch = self.arch(arch).canonical()
        subnet = Network(self.config, Space.of(arch), info=dict(self.info, subnet=str(arch)),
                         kernels=self.kernels)
        subnet.set_arrays(slice_arrays(self.arrays(), self.layers(arch)))
        return subnet

    def fold_bn(self) -> "Network":
        """See `protocol.AnyNetwork`."""
        arrays = self.arrays()
        copy = Network(self.config, self.space, info=dict(self.info), kernels=self.kernels, folded=True)
        copy.set_arrays({name: array for part in flat(self.layers())
                         for name, array in part.fold(arrays, self.config.bn_eps).items()})
        return copy

    def adopt_statistics(self, statistics: Mapping[str, np.ndarray], arch: Arch) -> None:
        """See `protocol.AnyNetwork`."""
        own, arrays = self.variables(), self.arrays()
        for part in flat(self.layers(arch.canonical())):
            for name, p in parameters(part).items():
                if p.statistic:
                    own[name].d[:, part.active_rows(arrays)] = statistics[name]

    def sort_channels(self, keep_order: bool = True) -> None:
        """Put the most important inner channels first; no arch's logits change (see `sorted_arrays`)."""
        self.set_arrays(sorted_arrays(self.arrays(), self.layers(), keep_order))

    def widened(self, space: Union[Space, str], config: Optional[ElasticConfig] = None) -> "Network":
        """The same network over a larger space; what is new starts as in `create` (matrices: identity)."""
        space = self.config.space(space) if isinstance(space, str) else space
        wider = Network(config or self.config, space, info=dict(self.info), kernels=self.kernels)
        arrays, new = self.arrays(), np.random.default_rng(0)
        for name, p in wider.declared().items():
            if name not in arrays:
                arrays[name] = initial_value(p, new)
        wider.set_arrays(arrays, source=f"weights of {self.space} for {space}")
        return wider


def flat(layers: Sequence[Layer]) -> List[Part]:
    """The layers that own parameters, residual blocks opened up."""
    return [part for layer in layers for part in layer.parts()]


def slice_arrays(arrays: Mapping[str, np.ndarray], layers: Sequence[Layer]) -> Arrays:
    """The arrays of a stand-alone subnet, out of a supernet's; layers: the subnet's over the latter."""
    return {name: array for part in flat(layers) for name, array in part.slice(arrays).items()}


def network_cost(layers: Sequence[Layer], image_size: int) -> Cost:
    """Total cost of a network's layers on one square image."""
    require_image_size(image_size)
    total, size = Cost(), image_size
    for layer in layers:
        part, size = layer.cost(size)
        total += part
    return total


def _with_biases(declared: Mapping[str, Parameter], parts: Sequence[Part]) -> Dict[str, Parameter]:
    """What remains of declared arrays when BN is folded: see `Part.fold`."""
    zeros: Dict[str, Any] = {name: np.zeros(p.shape, np.float32) for name, p in declared.items()}
    return {name: declared.get(name, Parameter(array.shape, "zeros"))
            for part in parts for name, array in part.fold(zeros, 1.0).items()}


def require_elastic(net: AnyNetwork, what: str) -> Network:
    """`net` if it is elastic; OfaError if there is nothing to do `what` to, as in a fixed network."""
    if not isinstance(net, Network):
        raise OfaError(f"{net.space} is a fixed network: it has no subnets to {what}")
    return net
