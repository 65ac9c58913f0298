"""Cost of thousands of subnets at once.

Many networks are made of few operations: the 3.8e10 of Xception41 of 30 at one image size. So an
arch becomes a row of operation numbers, by table look-up, and what is known of each operation, its
`ops.Cost` here and its time in `latency.py`, is summed over the rows.

Parameters and BN statistics are those that the stand-alone subnet stores. MACs are those of
convolutions and affine layers, activations the elements of their outputs (the conventions of pycls,
Radosavovic et al., CVPR 2020), for one image.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Callable, Dict, List, Sequence, Tuple, Union

import numpy as np

from . import ops
from .arch import Arch, Space
from .errors import OfaError
from .ops import Cost, Layer
from .supernet import Network

Archs = Union[Sequence[Arch], np.ndarray]  # archs, or (n, blocks) indices into the distinct choices
SWEEPS = 30  # times that each block is changed, to no new effect, before its effects count as known


@lru_cache(maxsize=None)
def signature(layer: Layer) -> str:
    """What a layer computes, as text: its fields that differ from their defaults, names left out."""
    values = [(field, getattr(layer, field.name)) for field in fields(layer)]
    shown = [f"{field.name}={_text(value)}" for field, value in values
             if value != field.default and not isinstance(value, str)]
    return f"{type(layer).__name__}({', '.join(shown)})"


def _text(value) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))})"
    return signature(value) if is_dataclass(value) else repr(value)


class Operations:
    """Which operation each layer of each subnet of `net` is, for square images of `image_size` pixels.

    An operation is what a layer computes on input of one size. `found` holds (layer, side in
    pixels) of each one met so far; its place there is its number. A layer depends on few of an
    arch's blocks: its number is in a table by the choices of just those.
    """

    def __init__(self, net: Network, image_size: int):
        if image_size < 1:
            raise OfaError(f"image_size={image_size} is not a positive number of pixels")
        self.net, self.image_size = net, image_size
        self.choices = tuple(block.distinct() for block in net.space.blocks)
        self.found: List[Tuple[Layer, int]] = []
        self._known: Dict[Tuple[str, int], Tuple[int, int]] = {}  # signature, side -> number, side out
        self._indices = [{choice: i for i, choice in enumerate(own)} for own in self.choices]
        self._counts = np.array([len(own) for own in self.choices])
        self._tables = [_Table(np.flatnonzero(blocks), self._counts) for blocks in self._dependence()]

    def rows(self, archs: Archs) -> np.ndarray:
        """(n, blocks) indices of archs into `choices`; such an array itself comes back, checked."""
        if isinstance(archs, np.ndarray):
            if archs.ndim != 2 or archs.shape[1] != len(self.choices) or archs.dtype.kind not in "iu":
                raise OfaError(f"archs is a {archs.dtype} array of shape {archs.shape}, not integers "
                               f"(n, {len(self.choices)})")
            if archs.size and not (0 <= archs.min() and np.all(archs.max(axis=0) < self._counts)):
                raise OfaError("archs holds an index outside the distinct choices of its block")
            return archs
        rows = [[index.get(block, -1) for index, block in zip(self._indices, arch.canonical().blocks)]
                for arch in archs]
        for arch, row in zip(archs, rows):
            if len(row) != len(self.choices) or min(row) < 0:
                self.net.space.check(arch)
        return np.array(rows, np.int64).reshape(len(rows), len(self.choices))

    def arch(self, row: Sequence[int]) -> Arch:
        """The canonical arch of one row of indices."""
        return Arch(tuple(own[i] for own, i in zip(self.choices, row)))

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
        """(layer, side) of every operation that any subnet has."""
        for table in self._tables:
            rows = np.tile(self._counts - 1, (len(table.entries), 1))
            rows[:, table.blocks] = np.arange(len(table.entries))[:, None] // table.strides % table.counts
            self.numbers(rows)
        return list(self.found)

    def _walk(self, row: Sequence[int]) -> List[int]:
        """The operation numbers of one arch, from its real layers."""
        arch = self.arch(row)
        numbers, side = [], self.image_size
        for layer in self.net.config.layers(Space.of(arch), arch):
            key = signature(layer), side
            if key not in self._known:
                self._known[key] = len(self.found), ops.cost(layer, side)[1]
                self.found.append((layer, side))
            number, side = self._known[key]
            numbers.append(number)
        return numbers

    def _dependence(self) -> np.ndarray:
        """(layers, blocks) booleans: which layers change with which blocks.

        A random walk through the space, one block anew a step, until `SWEEPS` sweeps over all
        blocks have shown nothing new.
        """
        rng = np.random.default_rng(0)
        row = rng.integers(self._counts)
        before = np.array(self._walk(row))
        depends = np.zeros((len(before), len(row)), bool)
        sweeps = 0
        while sweeps < SWEEPS:
            known = depends.sum()
            for block, count in enumerate(self._counts):
                row[block] = rng.integers(count)
                after = np.array(self._walk(row))
                depends[:, block] |= after != before
                before = after
            sweeps = sweeps + 1 if depends.sum() == known else 0
        return depends


class _Table:
    """Operation numbers of one layer by the choices in the `blocks` that decide it; -1: not known yet."""

    def __init__(self, blocks: np.ndarray, counts: np.ndarray):
        self.blocks, self.counts = blocks, counts[blocks]
        self.strides = np.array([np.prod(self.counts[i + 1:]) for i in range(len(blocks))], np.int64)
        self.entries = np.full(int(np.prod(self.counts)), -1)


class Totals:
    """What is known of each operation, summed over the layers of thousands of subnets.

    value_of: (layer, side in pixels) -> k numbers; asked once an operation.
    """

    def __init__(self, operations: Operations, value_of: Callable[[Layer, int], Sequence], k: int,
                 dtype: type):
        self.operations, self._value_of = operations, value_of
        self._values = np.zeros((0, k), dtype)

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


class CostModel:
    """`Network.cost` of thousands of subnets: `CostModel(net, 28)(archs).macs` is an (n,) array."""

    def __init__(self, net: Network, image_size: int):
        self.operations = Operations(net, image_size)
        self._totals = Totals(self.operations, lambda layer, side: ops.cost(layer, side)[0],
                              len(Cost._fields), np.int64)

    def __call__(self, archs: Archs) -> Cost:
        """A `Cost` of int64 arrays (n,). archs: as `Operations.rows` takes them."""
        return Cost(*self._totals(archs).T)

    def by_layer(self, archs: Archs) -> Cost:
        """A `Cost` of int64 arrays (n, layers)."""
        return Cost(*np.moveaxis(self._totals.by_layer(archs), 2, 0))
