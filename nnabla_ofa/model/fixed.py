"""A network of the zoo and its weights.

Its graph is a function's. Building it once, on one image and without computing, tells which arrays it
stores and what it costs.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple, Union

import nnabla as nn
import numpy as np

from ..layers import Cost, Mode, Owner, Parameter, parameters, to_trunk
from ..nets import Arch, Fixed, Space
from .base import Weights
from .inputs import require_image_size
from .population import Piece, Population
from .protocol import Subnet


class Trace(NamedTuple):
    """The layers of a network in the order of its graph, and its cost on one image.

    Layers that are stored and never computed count as parameters.
    """

    parts: Tuple[Owner, ...]
    cost: Cost

    def declared(self) -> Dict[str, Parameter]:
        """Every array that the network stores, by name."""
        return {name: p for part in self.parts for name, p in parameters(part).items()}


@lru_cache(maxsize=256)
def trace(config: Fixed, side: int) -> Trace:
    """What a network is made of, on images of `side` pixels."""
    parts: List[Owner] = []
    with nn.parameter_scope("", OrderedDict()):
        y = config.forward(nn.Variable((1, 3, side, side)), Mode(batch_stat=True, trace=parts))
    declared = [p for part in parts for p in parameters(part).values()]
    counted = Cost(sum(p.size for p in declared if p.role == "weight"),
                   sum(p.size for p in declared if p.role in ("mean", "variance")))
    return Trace(tuple(parts), counted + graph_cost(y))


def graph_cost(y: nn.Variable) -> Cost:
    """MACs and activations of the convolutions and affine functions of a graph on one image."""
    found: List[Cost] = []

    def count(function: Any) -> None:
        if function.info.type_name in ("Convolution", "Affine"):
            outputs = int(np.prod(function.outputs[0].shape[1:]))
            weight = function.inputs[1].shape  # (O, I, kH, kW), or (inputs, outputs)
            each = int(np.prod(weight[1:])) if function.info.type_name == "Convolution" else weight[0]
            found.append(Cost(macs=outputs * each, activations=outputs))

    y.visit(count)
    return sum(found, Cost())


class FixedNetwork(Weights[Fixed]):
    """Weights of a network of the zoo. See `protocol.AnyNetwork`."""

    @classmethod
    def create(cls, config: Fixed, space: Union[Space, str, None] = None, seed: int = 0) -> "FixedNetwork":
        """A network with new weights; the same (config, seed) gives the same values."""
        net = cls(config, config.space(str(space) if space is not None else config.family))
        net.initialise(seed)
        return net

    @classmethod
    def blank(cls, config: Fixed) -> "FixedNetwork":
        """A network whose weights are still to be set."""
        return cls(config, config.space(config.family))

    def declared(self) -> Dict[str, Parameter]:
        """See `protocol.AnyNetwork`."""
        traced = self._trace()
        found = traced.declared()
        return found if not self.folded else {
            name: found.get(name, Parameter(array.shape, "zeros")) for part in traced.parts for name, array
            in part.fold({n: np.zeros(p.shape, np.float32) for n, p in found.items()}, 1.0).items()}

    def _trace(self) -> Trace:
        return trace(self.config, self.config.entry.image_size)

    def forward(self, x: nn.Variable, archs: Sequence[Arch], mode: Mode) -> List[nn.Variable]:
        """See `protocol.AnyNetwork`."""
        for arch in archs:
            self.space.check(arch)
        with nn.parameter_scope("", self.scope):
            return [self.config.forward(to_trunk(x, mode), mode)] * len(archs)

    def cost(self, arch: Subnet = None, image_size: int = 224) -> Cost:
        """See `protocol.AnyNetwork`."""
        self.arch(arch)
        require_image_size(image_size)
        return trace(self.config, image_size).cost

    def population(self, archs: Sequence[Arch]) -> Population:
        """See `protocol.AnyNetwork`."""
        whole = Piece(self.config, self.declared(), self.arrays, self.config.forward)
        return Population([[whole] for _ in archs], self.mode)

    def extract(self, arch: Subnet = None) -> "FixedNetwork":
        """A copy of itself."""
        copy = FixedNetwork(self.config, self.space, info=dict(self.info, subnet=str(self.arch(arch))),
                            kernels=self.kernels)
        copy.set_arrays(self.arrays())
        return copy

    def fold_bn(self) -> "FixedNetwork":
        """See `protocol.AnyNetwork`."""
        arrays = self.arrays()
        copy = FixedNetwork(self.config, self.space, info=dict(self.info), kernels=self.kernels, folded=True)
        copy.set_arrays({name: array for part in self._trace().parts
                         for name, array in part.fold(arrays, self.config.bn_eps).items()})
        return copy

    def adopt_statistics(self, statistics: Mapping[str, np.ndarray], arch: Arch) -> None:
        """See `protocol.AnyNetwork`."""
        own = self.variables()
        for name, p in self.declared().items():
            if p.statistic:
                own[name].d = statistics[name]
