"""Architectures and search spaces as values: canonical forms, counts, draws, encodings.

An architecture is a tuple of choices, one per elastic block; a space is what each block may be.
Both are frozen and hashable, and every random draw takes a `numpy.random.Generator`. What a choice
is and how it is written is a family's own (`nets/`); here it only has to be a frozen value with

    str(choice), choice.canonical(), choice.alone()      its name; its network's one name; just it
    choice.SEPARATOR                                     between the names of an architecture

and what a block may be, "choices", an iterable of choices, smallest first, with

    choice in choices, choices.draw(rng), str(choices)   one uniform draw; a description
    choices.distinct()                                   the different networks, canonical, sorted
    choices.space_name(all blocks' choices)              the name of the whole space, None without
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Tuple

import numpy as np

from .errors import OfaError

Choice = Any
Choices = Any


@dataclass(frozen=True, order=True)
class Arch:
    """One subnet: a choice per elastic block, from the input side to the output side."""

    blocks: Tuple[Choice, ...]

    def __str__(self) -> str:
        return self.blocks[0].SEPARATOR.join(map(str, self.blocks))

    def canonical(self) -> "Arch":
        """The one name of this network; equal networks have equal canonical forms."""
        return Arch(tuple(block.canonical() for block in self.blocks))


@dataclass(frozen=True)
class Space:
    """A search space: what each elastic block may be."""

    blocks: Tuple[Choices, ...]

    @classmethod
    def of(cls, arch: Arch) -> "Space":
        """The space that holds just `arch`: a network built over it is the stand-alone subnet."""
        return cls(tuple(block.alone() for block in arch.canonical().blocks))

    def __str__(self) -> str:
        """The space's name, "K357_E1_D3"; one without, that holds one network, shows that."""
        name = self.blocks[0].space_name(self.blocks)
        if name is None and not self.single():
            raise OfaError("a search space whose blocks differ has no name")
        return name or str(self.largest())

    def single(self) -> bool:
        """Whether the space holds one network only."""
        return all(len(choices.distinct()) == 1 for choices in self.blocks)

    def named_count(self) -> int:
        """How many names it has: 27^8 for the whole Xception41 space."""
        return math.prod(len(tuple(choices)) for choices in self.blocks)

    def distinct_count(self) -> int:
        """How many different networks it holds: 21^8 = 3.8e10 for the whole Xception41 space."""
        return math.prod(len(choices.distinct()) for choices in self.blocks)

    def __contains__(self, arch: Arch) -> bool:
        return (len(arch.blocks) == len(self.blocks)
                and all(block in choices for block, choices in zip(arch.blocks, self.blocks)))

    def check(self, arch: Arch) -> Arch:
        """`arch`, or OfaError naming the first block that is outside this space."""
        if len(arch.blocks) != len(self.blocks):
            raise OfaError(f"subnet has {len(arch.blocks)} blocks, the search space {len(self.blocks)}")
        for i, (block, choices) in enumerate(zip(arch.blocks, self.blocks)):
            if block not in choices:
                raise OfaError(f'block {i} is "{block}", outside this search space ({choices})')
        return arch

    def largest(self) -> Arch:
        """The arch of the largest choice in every block."""
        return Arch(tuple(tuple(choices)[-1] for choices in self.blocks))

    def smallest(self) -> Arch:
        """The arch of the smallest choice in every block."""
        return Arch(tuple(next(iter(choices)) for choices in self.blocks))

    def sample(self, rng: np.random.Generator) -> Arch:
        """An arch drawn uniformly."""
        return Arch(tuple(choices.draw(rng) for choices in self.blocks))

    def sample_distinct(self, count: int, rng: np.random.Generator) -> Tuple[Arch, ...]:
        """`count` different networks, canonical, drawn uniformly; fewer where there are no more.

        Of two counts, the smaller draw is the beginning of the larger one.
        """
        found = {}  # in order
        for _ in range(50 * count):
            found[self.sample(rng).canonical()] = None
            if len(found) == count:
                break
        return tuple(found)

    def mutate(self, arch: Arch, rng: np.random.Generator, rate: float = 0.1) -> Arch:
        """`arch` with each block drawn anew with probability `rate` (in [0, 1])."""
        self.check(arch)
        return Arch(tuple(choices.draw(rng) if rng.random() < rate else block
                          for block, choices in zip(arch.blocks, self.blocks)))

    def crossover(self, mother: Arch, father: Arch, rng: np.random.Generator) -> Arch:
        """A child that takes each block from one of its parents with equal probability."""
        self.check(mother)
        self.check(father)
        return Arch(tuple(m if rng.random() < 0.5 else f
                          for m, f in zip(mother.blocks, father.blocks)))

    def encode(self, arch: Arch) -> np.ndarray:
        """One-hot float32 vector of the canonical arch: a 1 per block among its distinct choices."""
        self.check(arch)
        return np.concatenate([
            np.array([choice == block for choice in choices.distinct()], np.float32)
            for block, choices in zip(arch.canonical().blocks, self.blocks)])

    def decode(self, vector: np.ndarray) -> Arch:
        """The canonical arch of a one-hot vector (the inverse of `encode`)."""
        blocks, start = [], 0
        for choices in (choices.distinct() for choices in self.blocks):
            blocks.append(choices[int(np.argmax(vector[start:start + len(choices)]))])
            start += len(choices)
        return Arch(tuple(blocks))
