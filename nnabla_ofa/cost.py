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
from typing import Dict, List, Sequence, Tuple, Union

import numpy as np

from . import ops
from .arch import Arch, Space
from .errors import OfaError
from .ops import Cost, Layer
from .supernet import Network

Archs = Union[Sequence[Arch], np.ndarray]  # archs, or (n, blocks) indices into the distinct choices
AGREEING = 300  # archs in a row whose layers the tables must get right


@lru_cache(maxsize=None)
def signature(layer: Layer) -> str:
    """What a layer computes, as text: its fields that differ from their defaults, names left out."""
    shown = [(field.name, getattr(layer, field.name)) for field in fields(layer)
             if field.name != "name" and getattr(layer, field.name) != field.default]
    return f"{type(layer).__name__}({', '.join(f'{name}={_text(value)}' for name, value in shown)})"


def _text(value) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))})"
    return signature(value) if is_dataclass(value) else repr(value)


class Operations:
    """Which operation each layer of each subnet of `net` is, for square images of `image_size` pixels.

    An operation is what a layer computes on input of one size. `found` holds (layer, side in
    pixels) of each one met so far; its place there is its number.
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
        self._tables = [_Table((), self._counts) for _ in self._walk(self._counts - 1)]
        self._learn()

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
        return np.stack([self._look_up(k, rows) for k in range(len(self._tables))], axis=1)

    def all(self) -> List[Tuple[Layer, int]]:
        """(layer, side) of every operation that any subnet has."""
        for k, table in enumerate(self._tables):
            rows = np.tile(self._counts - 1, (len(table.entries), 1))
            rows[:, table.blocks] = np.arange(len(table.entries))[:, None] // table.strides % table.counts
            self._look_up(k, rows)
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

    def _look_up(self, k: int, rows: np.ndarray) -> np.ndarray:
        """Numbers of layer `k` of archs; the entries that its table lacks are filled in."""
        table = self._tables[k]
        places = rows[:, table.blocks] @ table.strides
        numbers = table.entries[places]
        for place in np.unique(places[numbers < 0]):
            table.entries[place] = self._walk(self._typical(table, rows[places == place][0]))[k]
        return table.entries[places]

    def _typical(self, table: "_Table", row: np.ndarray) -> np.ndarray:
        """The arch that stands for all with the choices of `row` in the blocks that the table reads."""
        typical = self._counts - 1
        typical[table.blocks] = row[table.blocks]
        return typical

    def _learn(self) -> None:
        """Find the blocks that decide each layer: widen its table until random archs agree with it."""
        rng, agreeing = np.random.default_rng(0), 0
        while agreeing < AGREEING:
            row = rng.integers(self._counts)
            wrong = np.flatnonzero(self.numbers(row[None])[0] != self._walk(row))
            for k in wrong:
                self._widen(k, row)
            agreeing = 0 if len(wrong) else agreeing + 1

    def _widen(self, k: int, row: np.ndarray) -> None:
        """On the way from the arch of its entry to `row`, layer `k` changes: at blocks that decide it."""
        table = self._tables[k]
        current, blocks = self._typical(table, row), set(table.blocks)
        before = self._walk(current)[k]
        for block in np.flatnonzero(current != row):
            current[block] = row[block]
            after = self._walk(current)[k]
            if after != before:
                blocks.add(block)
            before = after
        self._tables[k] = _Table(tuple(sorted(blocks)), self._counts)


class _Table:
    """Operation numbers of one layer by the choices in the `blocks` that decide it; -1: not known yet."""

    def __init__(self, blocks: Tuple[int, ...], counts: np.ndarray):
        self.blocks, self.counts = np.array(blocks, np.int64), counts[list(blocks)]
        self.strides = np.array([int(np.prod(self.counts[i + 1:])) for i in range(len(blocks))], np.int64)
        self.entries = np.full(int(np.prod(self.counts)), -1)


class CostModel:
    """`Network.cost` of thousands of subnets: `CostModel(net, 28)(archs).macs` is an (n,) array."""

    def __init__(self, net: Network, image_size: int):
        self.operations = Operations(net, image_size)
        self._known = np.zeros((0, len(Cost._fields)), np.int64)

    def __call__(self, archs: Archs) -> Cost:
        """A `Cost` of int64 arrays (n,). archs: as `Operations.rows` takes them."""
        numbers = self.operations.numbers(archs)
        known = self._costs()
        total = np.zeros((len(numbers), known.shape[1]), np.int64)
        for layer in numbers.T:
            total += known[layer]
        return Cost(*total.T)

    def by_layer(self, archs: Archs) -> np.ndarray:
        """(n, layers, 4) int64: the `Cost` of each layer of each arch."""
        numbers = self.operations.numbers(archs)
        return self._costs()[numbers]

    def _costs(self) -> np.ndarray:
        """(operations, 4): the `Cost` of each operation found so far."""
        new = self.operations.found[len(self._known):]
        if new:
            rows = [ops.cost(layer, side)[0] for layer, side in new]
            self._known = np.concatenate([self._known, np.array(rows, np.int64)])
        return self._known
