"""Many subnets of one network on the same images: what they have in common runs once a batch.

A subnet is a path of stand-alone layers, and paths with equal first layers share them: a population is
a trie, with the images at its root. The entry flow is the same in every subnet, leading middle blocks
in some. BN statistics of a node depend on the layers before it alone, so they are shared, too.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple

import nnabla as nn
import numpy as np

from . import ops
from .arch import Arch, Space
from .ops import Layer
from .supernet import Network
from .weights import Arrays, slice_arrays


class Node(NamedTuple):
    """A layer that reads the output of node `parent`; 0 is the images, the first layer is 1.

    scope: its weights, the same variables wherever the layer is equal, and BN statistics of its own.
    """

    parent: int
    layer: Layer
    scope: "OrderedDict"


class Population:
    """Subnets, each computed as the stand-alone network that extraction gives; nothing is trained.

    Weights take the memory of the distinct layers, activations that of little more than one subnet.
    Paths beside each other in `archs` should share much: sorted names do.
    """

    def __init__(self, net: Network, archs: Sequence[Arch]):
        self._net, self._nodes, self._leaves = net, [], []
        arrays = net.arrays()
        weights: Dict[Layer, Dict[str, nn.Variable]] = {}
        index: Dict[Tuple[int, Layer], int] = {}
        for arch in (arch.canonical() for arch in archs):
            place = 0
            for stored, layer in zip(net.layers(arch), net.config.layers(Space.of(arch), arch)):
                if (place, layer) not in index:
                    if layer not in weights:
                        weights[layer] = _variables(slice_arrays(arrays, [stored]))
                    index[place, layer] = len(index) + 1
                    self._nodes.append(Node(place, layer, _scope(weights[layer])))
                place = index[place, layer]
            self._leaves.append(place)
        self._graph = None

    def __len__(self) -> int:
        """The number of subnets."""
        return len(self._leaves)

    def logits(self, images: np.ndarray) -> List[np.ndarray]:
        """Of each subnet, (N, classes) in eval mode; images (N, 3, H, W) float32."""
        outputs, _ = self._forward(images, batch_stat=False)
        return [output.d for output in outputs]

    def moments(self, images: np.ndarray) -> np.ndarray:
        """[N, mean of each BN channel of each node, mean square of each], float64.

        Each BN normalises by the statistics of these images, as in training.
        """
        _, statistics = self._forward(images, batch_stat=True)
        means, variances = (np.concatenate([pair[i].d.ravel() for pair in statistics])
                            .astype(np.float64) for i in (0, 1))
        return np.concatenate([[len(images)], means, variances + means ** 2])

    def channels(self) -> int:
        """How many means a row of `moments` holds."""
        return sum(mean.size for mean, _ in self._stored())

    def set_statistics(self, mean: np.ndarray, variance: np.ndarray) -> None:
        """Take mean and variance of every BN channel, in the order of `moments`."""
        start = 0
        for stored in self._stored():
            stop = start + stored[0].size
            for variable, values in zip(stored, (mean, variance)):
                variable.d = values[start:stop].reshape(variable.shape)
            start = stop
        self._graph = None  # may hold the old ones

    def statistics(self, i: int) -> Arrays:
        """Stored means and variances of subnet `i`, by name."""
        found, place = {}, self._leaves[i]
        while place:
            node = self._nodes[place - 1]
            found.update((name, variable.d.copy()) for name, variable in _named(node.scope).items()
                         if ops.is_statistic(name))
            place = node.parent
        return found

    def _stored(self) -> Iterable[Tuple[nn.Variable, nn.Variable]]:
        """Mean and variance of each BN of each node."""
        for node in self._nodes:
            named = _named(node.scope)
            for name in sorted(name for name in named if name.endswith("bn/mean")):
                yield named[name], named[f"{name[:-len('mean')]}var"]

    def _forward(self, images: np.ndarray, batch_stat: bool):
        """Computed logits and BN statistics; the graph is kept for batches of equal shape."""
        key = images.shape, batch_stat
        if self._graph is None or self._graph[0] != key:
            self._graph = key, *self._build(images.shape, batch_stat)
        _, x, outputs, statistics = self._graph
        x.d = images
        nn.forward_all(outputs, clear_buffer=True)
        return outputs, statistics

    def _build(self, shape: Tuple[int, ...], batch_stat: bool):
        """Images, logits of each subnet, and (mean, variance) of each BN in the order of `_stored`."""
        mode = self._net.mode(batch_stat)
        x, statistics = nn.Variable(shape), []
        values = [ops.images(x, mode)]
        for node in self._nodes:
            own: ops.Statistics = {}
            with nn.parameter_scope("", node.scope):
                values.append(ops.build(values[node.parent], node.layer, mode, own))
            statistics += [own[name] for name in sorted(own)]
        for variable in (v for pair in statistics for v in pair):
            variable.persistent = True
        return x, [values[leaf] for leaf in self._leaves], statistics


def _variables(arrays: Arrays) -> Dict[str, nn.Variable]:
    """Without gradients: forward then keeps no activations."""
    return {name: nn.Variable.from_numpy_array(np.ascontiguousarray(array, np.float32))
            for name, array in arrays.items()}


def _scope(weights: Dict[str, nn.Variable]) -> "OrderedDict":
    """A parameter scope of these variables, but with BN statistics of its own."""
    scope: "OrderedDict" = OrderedDict()
    with nn.parameter_scope("", scope):
        for name, variable in weights.items():
            if ops.is_statistic(name):
                variable = nn.Variable.from_numpy_array(variable.d.copy())
            nn.parameter.set_parameter(name, variable)
    return scope


def _named(scope: "OrderedDict") -> Dict[str, nn.Variable]:
    with nn.parameter_scope("", scope):
        return nn.get_parameters(grad_only=False)
