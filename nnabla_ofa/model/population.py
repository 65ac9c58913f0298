"""Many subnets of one network on the same images: what they have in common runs once a batch.

A subnet is a path of pieces, each a function with weights of its own. Paths with equal first pieces
share them: a population is a trie, with the images at its root. The entry flow is the same in every
subnet, leading middle blocks in some. BN statistics of a node depend on the pieces before it alone, so
they are shared, too. A fixed network is a path of one piece.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import (
    Callable,
    Dict,
    Hashable,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import nnabla as nn
import numpy as np

from ..errors import OfaError
from ..layers import Arrays, Mode, Parameter, Statistics, to_trunk
from ..system.comm import Communicator, Single

Batch = Tuple[int, np.ndarray, Optional[np.ndarray]]  # number, images (N, 3, H, W) float32, labels (N,)
Moments = Tuple[nn.Variable, nn.Variable]              # mean and variance of a BN


class Piece(NamedTuple):
    """A part of a network. Equal keys: the same function of the same weights.

    declared: its stored arrays. arrays: gives their values. build: (trunk, mode) -> trunk.
    """

    key: Hashable
    declared: Mapping[str, Parameter]
    arrays: Callable[[], Arrays]
    build: Callable[[nn.Variable, Mode], nn.Variable]


class Node(NamedTuple):
    """A piece that reads the output of node `parent`; 0 is the images, the first piece is 1.

    scope: its weights, the same variables wherever the piece is equal, and BN statistics of its own.
    """

    parent: int
    piece: Piece
    scope: "OrderedDict"


class Population:
    """Subnets, each computed as the stand-alone network that extraction gives; nothing is trained.

    Weights take the memory of the distinct pieces, activations that of little more than one subnet.
    Paths beside each other should share much: sorted names do.
    """

    def __init__(self, paths: Sequence[Sequence[Piece]], mode: Callable[[bool], Mode]):
        """paths: of each subnet. mode: batch_stat -> how graphs are built."""
        self._mode = mode
        self._nodes: List[Node] = []
        self._leaves: List[int] = []
        self._graph: Optional[tuple] = None
        weights: Dict[Hashable, Dict[str, nn.Variable]] = {}
        index: Dict[Tuple[int, Hashable], int] = {}
        for path in paths:
            place = 0
            for piece in path:
                if (place, piece.key) not in index:
                    if piece.key not in weights:
                        weights[piece.key] = _variables(piece.arrays())
                    index[place, piece.key] = len(index) + 1
                    self._nodes.append(Node(place, piece, _scope(weights[piece.key], piece.declared)))
                place = index[place, piece.key]
            self._leaves.append(place)

    def __len__(self) -> int:
        """The number of subnets."""
        return len(self._leaves)

    def logits(self, images: np.ndarray) -> List[np.ndarray]:
        """Of each subnet, (N, classes) in eval mode; images (N, 3, H, W) float32."""
        outputs, _ = self._forward(images, batch_stat=False)
        return [output.d for output in outputs]

    # BN statistics ----------------------------------------------------------------------------

    def calibrate(self, batches: Iterable[Batch], total: int, comm: Communicator = Single()) -> None:
        """Set BN statistics to those of the batches.

        A batch is normalised by its own statistics on the way, as in training. A channel's mean and
        (population) variance are then those of all batches pooled.

        Args:
            batches: This rank's, each with its number.
            total: How many there are over all ranks.
            comm: The ranks.

        Raises:
            OfaError: The batches hold no image.
        """
        sums = np.zeros((total, 1 + 2 * self.channels()))
        for number, images, _ in batches:
            sums[number] = self.moments(images)
        sums = comm.add(sums)
        if not sums[:, 0].any():
            raise OfaError("BN statistics need at least one image, and none could be read")
        weight = sums[:, :1] / sums[:, 0].sum()
        with np.errstate(invalid="ignore"):  # of activations that are not finite
            mean, square = np.split((weight * sums[:, 1:]).sum(axis=0), 2)
            self.set_statistics(mean, np.maximum(square - mean ** 2, 0))

    def moments(self, images: np.ndarray) -> np.ndarray:
        """[N, mean of each BN channel of each node, mean square of each], float64.

        Each BN normalises by the statistics of these images, as in training.
        """
        _, statistics = self._forward(images, batch_stat=True)
        nothing = np.zeros(0)  # of a network without BN
        means, variances = (np.concatenate([nothing, *(pair[i].d.ravel() for pair in statistics)])
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
        found: Arrays = {}
        place = self._leaves[i]
        while place:
            node = self._nodes[place - 1]
            found.update((name, variable.d.copy()) for name, variable in _named(node.scope).items()
                         if node.piece.declared[name].statistic)
            place = node.parent
        return found

    def _stored(self) -> Iterator[Moments]:
        """Mean and variance of each BN of each node that it computes with."""
        for node in self._nodes:
            named, declared = _named(node.scope), node.piece.declared
            means, variances = (sorted(name for name, p in declared.items() if p.statistic and p.role == role)
                                for role in ("mean", "variance"))
            yield from ((named[mean], named[variance]) for mean, variance in zip(means, variances))

    # Graphs -----------------------------------------------------------------------------------

    def _forward(self, images: np.ndarray, batch_stat: bool) -> Tuple[List[nn.Variable], List[Moments]]:
        """Computed logits and BN statistics; the graph is kept for batches of equal shape."""
        key = images.shape, batch_stat
        if self._graph is None or self._graph[0] != key:
            self._graph = key, *self._build(images.shape, batch_stat)
        _, x, outputs, statistics = self._graph
        x.d = images
        nn.forward_all([*outputs, *(moment for pair in statistics for moment in pair)], clear_buffer=True)
        return outputs, statistics

    def _build(self, shape: Tuple[int, ...], batch_stat: bool
               ) -> Tuple[nn.Variable, List[nn.Variable], List[Moments]]:
        """Images, logits of each subnet, and (mean, variance) of each BN in the order of `_stored`."""
        mode = self._mode(batch_stat)
        x, statistics = nn.Variable(shape), []
        values = [to_trunk(x, mode)]
        for node in self._nodes:
            own: Statistics = {}
            with nn.parameter_scope("", node.scope):
                values.append(node.piece.build(values[node.parent], replace(mode, statistics=own)))
            statistics += [own[name] for name in sorted(own)]
        for variable in (v for pair in statistics for v in pair):
            variable.persistent = True
        return x, [values[leaf] for leaf in self._leaves], statistics


def _variables(arrays: Arrays) -> Dict[str, nn.Variable]:
    """Without gradients: forward then keeps no activations."""
    return {name: nn.Variable.from_numpy_array(np.ascontiguousarray(array, np.float32))
            for name, array in arrays.items()}


def _scope(weights: Dict[str, nn.Variable], declared: Mapping[str, Parameter]) -> "OrderedDict":
    """A parameter scope of these variables, but with BN statistics of its own."""
    scope: "OrderedDict" = OrderedDict()
    with nn.parameter_scope("", scope):
        for name, variable in weights.items():
            if declared[name].statistic:
                variable = nn.Variable.from_numpy_array(variable.d.copy())
            nn.parameter.set_parameter(name, variable)
    return scope


def _named(scope: "OrderedDict") -> Dict[str, nn.Variable]:
    with nn.parameter_scope("", scope):
        return nn.get_parameters(grad_only=False)
