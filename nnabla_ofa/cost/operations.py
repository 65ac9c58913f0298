"""Subnets as rows of operation numbers, so that thousands of them are costed by looking up tables.

Many networks are made of few operations: the 3.8e10 of Xception41 of 30 at one image size. What is
known of each operation is summed over the rows: its `Cost` in model.py, its time in latency.py.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Sequence, Tuple, Type, Union

import numpy as np

from ..errors import OfaError
from ..layers import Layer, signature
from ..model import Network
from ..model.inputs import require_image_size
from ..nets import Arch, Space

# Archs or their texts, or (n, blocks) indices into the distinct choices.
Archs = Union[Sequence[Union[Arch, str]], np.ndarray]


class Operations:
    """Which operation each layer of each subnet of a network is, on square images of one size.

    An operation is what a layer computes on input of one size. A layer depends on few of an arch's
    blocks, as its family says. Its number therefore is in a table by the choices of just those blocks.

    Args:
        net: The network.
        image_size: Pixels a side, positive.

    Attributes:
        found: (layer, side of its input in pixels) of each operation met so far. An operation's place
            there is its number.

    Raises:
        OfaError: The image size is not positive.
    """

    def __init__(self, net: Network, image_size: int):
        require_image_size(image_size)
        self.net, self.image_size = net, image_size
        self.found: List[Tuple[Layer, int]] = []
        self._known: Dict[Tuple[str, int], Tuple[int, int]] = {}  # signature, side -> number, side out
        self._counts = np.array([len(block.distinct()) for block in net.space.blocks])
        self._tables = [_Table(np.array(blocks, np.int64), self._counts)
                        for blocks in net.config.deciding_blocks()]

    def rows(self, archs: Archs) -> np.ndarray:
        """(n, blocks) indices of archs, or of their texts, into the distinct choices; such an array itself,
        checked."""
        if isinstance(archs, (str, Arch)):
            raise OfaError(f"archs={str(archs)!r} is one subnet: give a list of them")
        if not isinstance(archs, np.ndarray):
            return self.net.space.indices([one if isinstance(one, Arch) else self.net.arch(one)
                                           for one in archs])
        if archs.ndim != 2 or archs.shape[1] != len(self._counts) or archs.dtype.kind not in "iu":
            raise OfaError(f"archs is a {archs.dtype} array of shape {archs.shape}, not integers "
                           f"(n, {len(self._counts)})")
        if archs.size and not (0 <= archs.min() and np.all(archs.max(axis=0) < self._counts)):
            raise OfaError("archs holds an index outside the distinct choices of its block")
        return self.net.space.canonical_rows(archs)

    def numbers(self, archs: Archs) -> np.ndarray:
        """(n, layers) numbers of operations, places in `found`."""
        rows = self.rows(archs)
        places = [rows[:, table.blocks] @ table.strides for table in self._tables]
        numbers = np.stack([table.entries[at] for table, at in zip(self._tables, places)], axis=1)
        for i in np.flatnonzero((numbers < 0).any(axis=1)):
            entries = [(table.entries, at[i]) for table, at in zip(self._tables, places)]
            numbers[i] = [own[at] for own, at in entries]
            if numbers[i].min() < 0:  # no earlier row of these has filled them
                numbers[i] = self._walk(rows[i])
                for (own, at), number in zip(entries, numbers[i]):
                    own[at] = number
        return numbers

    def all(self) -> List[Tuple[Layer, int]]:
        """(layer, side of its input in pixels) of every operation that any subnet has."""
        for table in self._tables:
            rows = np.tile(self._counts - 1, (len(table.entries), 1))
            rows[:, table.blocks] = np.arange(len(table.entries))[:, None] // table.strides % table.counts
            self.numbers(rows)
        return list(self.found)

    def _walk(self, row: np.ndarray) -> List[int]:
        """The operation numbers of one arch, a row of indices, from its real layers."""
        arch, = self.net.space.archs(row[None])
        numbers, side = [], self.image_size
        for layer in self.net.config.layers(Space.of(arch), arch):
            key = signature(layer), side
            if key not in self._known:
                self._known[key] = len(self.found), layer.cost(side)[1]
                self.found.append((layer, side))
            number, side = self._known[key]
            numbers.append(number)
        return numbers


class _Table:
    """Operation numbers of one layer by the choices in the blocks that decide it.

    Args:
        blocks: Places of the deciding blocks in an arch.
        counts: (blocks of the space,) how many distinct choices each has.

    Attributes:
        entries: A number for each combination of choices; -1: not known yet.
        strides: How far apart in `entries` two neighbouring choices of each block are.
    """

    def __init__(self, blocks: np.ndarray, counts: np.ndarray):
        self.blocks, self.counts = blocks, counts[blocks]
        self.strides = np.array([np.prod(self.counts[i + 1:]) for i in range(len(blocks))], np.int64)
        self.entries = np.full(int(np.prod(self.counts)), -1)


class Totals:
    """What is known of each operation, summed over the layers of thousands of subnets.

    Args:
        operations: Of the subnets' network.
        value_of: (layer, side of its input in pixels) -> k numbers; asked once an operation.
        k: How many they are.
        dtype: Of the sums.
    """

    def __init__(self, operations: Operations, value_of: Callable[[Layer, int], Sequence[float]], k: int,
                 dtype: Union[Type[np.int64], Type[np.float64]]):
        self.operations, self._value_of = operations, value_of
        self._values: np.ndarray = np.zeros((0, k), dtype)

    def __call__(self, archs: Archs) -> np.ndarray:
        """(n, k) sums over the layers. archs: as `Operations.rows` takes them."""
        numbers = self.operations.numbers(archs)
        values = self._known()
        total = np.zeros((len(numbers), values.shape[1]), values.dtype)
        for layer in numbers.T:
            total += values[layer]
        return total

    def by_layer(self, archs: Archs) -> np.ndarray:
        """(n, layers, k): the values of each layer of each arch."""
        numbers = self.operations.numbers(archs)
        return self._known()[numbers]

    def _known(self) -> np.ndarray:
        """(operations, k): the values of each operation found so far."""
        new = self.operations.found[len(self._values):]
        if new:
            rows = np.array([self._value_of(*operation) for operation in new], self._values.dtype)
            self._values = np.concatenate([self._values, rows])
        return self._values
