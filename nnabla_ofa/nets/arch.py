"""Architectures and search spaces as values: names, counts, draws, indices.

An architecture is a tuple of choices, one per elastic block. A space says what each block may be. Both
are frozen and hashable, and every random draw takes a `numpy.random.Generator`. What a choice is and how
it is written is a family's own (elastic/). A fixed network has no elastic block: its space holds one
network, which has the space's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Dict, Iterator, List, Mapping, Optional, Protocol, Sequence, Tuple, Union

import numpy as np

from ..errors import OfaError

Text = Union[str, Mapping[str, Any]]  # a subnet's text, or once-for-all's dict of it


class Choice(Protocol):
    """What one elastic block is: a frozen, ordered value. SEPARATOR stands between their names."""

    SEPARATOR: str

    def __str__(self) -> str:
        """The choice as text."""

    def canonical(self, before: Optional["Choice"] = None) -> "Choice":
        """The same for all spellings of one network; before: the canonical choice of the block before."""

    def alone(self) -> "Choices":
        """A set that contains only this choice."""


class Choices(Protocol):
    """What one elastic block may be, smallest first."""

    def __iter__(self) -> Iterator[Choice]:
        """Every choice, each spelling of it."""

    def __contains__(self, choice: Any) -> bool:
        """Whether the block may be `choice`."""

    def __str__(self) -> str:
        """A description."""

    def distinct(self) -> Tuple[Choice, ...]:
        """The different networks among the choices, canonical, sorted."""

    def draw(self, rng: np.random.Generator) -> Choice:
        """One choice, uniformly."""

    def space_name(self, blocks: Sequence[Any]) -> Optional[str]:
        """The name of the space of these blocks; None where it has none."""


@dataclass(frozen=True, order=True)
class Arch:
    """One subnet: a choice per elastic block, from the input side to the output side.

    name: of a fixed network, which has no blocks.
    """

    blocks: Tuple[Choice, ...]
    name: str = ""

    def __str__(self) -> str:
        return self.blocks[0].SEPARATOR.join(map(str, self.blocks)) if self.blocks else self.name

    def short(self) -> str:
        """"8 x XP1 7x7 3" where all of several blocks are equal, else the whole name."""
        equal = len(self.blocks) > 1 and len(set(self.blocks)) == 1
        return f"{len(self.blocks)} x {self.blocks[0]}" if equal else str(self)

    def canonical(self) -> "Arch":
        """The one name of this network; equal networks have equal canonical forms."""
        blocks: List[Choice] = []
        for block in self.blocks:
            blocks.append(block.canonical(blocks[-1] if blocks else None))
        return Arch(tuple(blocks), self.name)


@dataclass(frozen=True)
class Space:
    """A search space: what each elastic block may be. name: of a fixed network."""

    blocks: Tuple[Choices, ...]
    name: str = ""

    @classmethod
    def of(cls, arch: Arch) -> "Space":
        """The space that holds just `arch`: a network built over it is the stand-alone subnet."""
        return cls(tuple(block.alone() for block in arch.canonical().blocks), arch.name)

    def __str__(self) -> str:
        """The space's name, "K357_E1_D3"; one without, that holds one network, shows that."""
        if not self.blocks:
            return self.name
        name = self.blocks[0].space_name(self.blocks)
        if name is None and not self.single():
            raise OfaError("a search space whose blocks differ has no name")
        return name or str(self.largest())

    def single(self) -> bool:
        """Whether the space holds one network only."""
        return all(len(choices.distinct()) == 1 for choices in self.blocks)

    def distinct_count(self) -> int:
        """How many different networks it holds: 21^8 = 3.8e10 for the whole Xception41 space."""
        counts: Dict[Optional[Choice], int] = {None: 1}  # networks so far, by their last choice
        for choices in self.blocks:
            longer: Dict[Optional[Choice], int] = {}
            for before, count in counts.items():
                for choice in {own.canonical(before) for own in choices.distinct()}:
                    longer[choice] = longer.get(choice, 0) + count
            counts = longer
        return sum(counts.values())

    def __contains__(self, arch: Arch) -> bool:
        return (len(arch.blocks) == len(self.blocks) and arch.name == self.name
                and all(block in choices for block, choices in zip(arch.blocks, self.blocks)))

    def check(self, arch: Arch) -> Arch:
        """`arch`, or OfaError naming the first block that is outside this space."""
        if arch.name != self.name:
            raise OfaError(f"subnet {str(arch)!r} is not the fixed network {self.name}")
        if len(arch.blocks) != len(self.blocks):
            raise OfaError(f"subnet has {len(arch.blocks)} blocks, the search space {len(self.blocks)}")
        for i, (block, choices) in enumerate(zip(arch.blocks, self.blocks)):
            if block not in choices:
                raise OfaError(f'block {i} is "{block}", outside this search space ({choices})')
        return arch

    # Draws ------------------------------------------------------------------------------------

    def largest(self) -> Arch:
        """The arch of the largest choice in every block."""
        return Arch(tuple(tuple(choices)[-1] for choices in self.blocks), self.name)

    def smallest(self) -> Arch:
        """The arch of the smallest choice in every block."""
        return Arch(tuple(next(iter(choices)) for choices in self.blocks), self.name)

    def sample(self, rng: np.random.Generator) -> Arch:
        """An arch drawn uniformly."""
        return Arch(tuple(choices.draw(rng) for choices in self.blocks), self.name)

    def sample_distinct(self, count: int, rng: np.random.Generator) -> Tuple[Arch, ...]:
        """`count` different networks, canonical, drawn uniformly; fewer where there are no more.

        Of two counts, the smaller draw is the beginning of the larger one.
        """
        found: Dict[Arch, None] = {}  # in order
        for _ in range(50 * count):
            found[self.sample(rng).canonical()] = None
            if len(found) == count:
                break
        return tuple(found)

    def mutate(self, arch: Arch, rng: np.random.Generator, rate: float = 0.1) -> Arch:
        """`arch` with each block drawn anew with probability `rate` (in [0, 1])."""
        self.check(arch)
        return Arch(tuple(choices.draw(rng) if rng.random() < rate else block
                          for block, choices in zip(arch.blocks, self.blocks)), self.name)

    def crossover(self, mother: Arch, father: Arch, rng: np.random.Generator) -> Arch:
        """A child that takes each block from one of its parents with equal probability."""
        self.check(mother)
        self.check(father)
        return Arch(tuple(m if rng.random() < 0.5 else f
                          for m, f in zip(mother.blocks, father.blocks)), self.name)

    # Archs as numbers -------------------------------------------------------------------------

    def indices(self, archs: Sequence[Arch]) -> np.ndarray:
        """(n, blocks) places of each arch's choices among the distinct ones of its blocks.

        Equal networks have equal rows. Raises OfaError for an arch outside this space.
        """
        places = _places(self)
        found = np.empty((len(archs), len(self.blocks)), np.int64)
        for arch, row in zip(archs, found):
            own = arch.canonical().blocks
            if len(own) != len(places) or any(block not in place for block, place in zip(own, places)):
                self.check(arch)
            row[:] = [place[block] for block, place in zip(own, places)]
        return found

    def archs(self, indices: np.ndarray) -> List[Arch]:
        """The canonical archs of rows of `indices`."""
        distinct = [list(own) for own in _places(self)]
        found = (Arch(tuple(own[i] for own, i in zip(distinct, row)), self.name) for row in indices)
        return [arch.canonical() for arch in found]

    def canonical_rows(self, indices: np.ndarray) -> np.ndarray:
        """Rows of `indices`, equal ones for equal networks."""
        rows = np.array(indices)
        for i, table in enumerate(_canonical_places(self)):
            rows[:, i] = table[rows[:, i - 1] if i else 0, rows[:, i]]
        return rows

    def one_hot(self, indices: np.ndarray) -> np.ndarray:
        """(n, distinct choices of all blocks) float64 of rows of `indices`: a 1 a block."""
        return np.concatenate([np.zeros((len(indices), 0))] + [
            np.eye(len(own))[column] for own, column in zip(_places(self), indices.T)], axis=1)


@lru_cache(maxsize=64)
def _places(space: Space) -> Tuple[Dict[Choice, int], ...]:
    """Of each block, the place of each distinct choice."""
    return tuple({choice: i for i, choice in enumerate(choices.distinct())} for choices in space.blocks)


@lru_cache(maxsize=64)
def _canonical_places(space: Space) -> Tuple[np.ndarray, ...]:
    """Of each block, (choices of the block before, own ones) -> the place of the canonical choice."""
    tables, before = [], [None]
    for place in _places(space):
        tables.append(np.array([[place[own.canonical(one)] for own in place] for one in before], np.int64))
        before = list(place)  # type: ignore[arg-type]
    return tuple(tables)
