"""Architectures and search spaces as values: grammar, counting, sampling, encodings.

An architecture is one `Block` choice per elastic block, written as nnabla-nas writes it:
"XP0.8 3x3 2" is expand ratio 0.8, 3x3 kernel, depth 2. A space is the choices that each block has;
a uniform one has a name, "K357_E0.6+0.8+1_D123" (kernels 3, 5, 7; expand 0.6, 0.8, 1; depth 1 to 3).
Both are frozen, hashable and ordered; every random draw takes a `numpy.random.Generator`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Iterator, Sequence, Tuple

import numpy as np

from .errors import OfaError

KERNELS = (3, 5, 7)
EXPANDS = (0.6, 0.8, 1.0)
DEPTHS = (1, 2, 3)
NUM_BLOCKS = 8

_BLOCK = re.compile(r"XP(?P<expand>\d+(?:\.\d+)?) (?P<kernel>\d)x(?P=kernel) (?P<depth>\d)")
_SPACE = re.compile(r"K(?P<kernels>\d+)_E(?P<expands>\d+(?:\.\d+)?(?:\+\d+(?:\.\d+)?)*)_D(?P<depths>\d+)")


@dataclass(frozen=True, order=True)
class Block:
    """The choice of one elastic block: kernel in {3, 5, 7}, expand in {0.6, 0.8, 1}, depth in {1, 2, 3}."""

    kernel: int
    expand: float
    depth: int

    def __post_init__(self):
        for name, allowed in (("kernel", KERNELS), ("expand", EXPANDS), ("depth", DEPTHS)):
            if getattr(self, name) not in allowed:
                raise OfaError(f"{name}={getattr(self, name)} of a block is not one of {allowed}")

    @classmethod
    def parse(cls, text: str) -> "Block":
        """`Block` of its name; raises OfaError for anything but "XP<expand> <k>x<k> <depth>"."""
        match = _BLOCK.fullmatch(" ".join(str(text).split()))
        if match is None:
            raise OfaError(f'block {text!r} is not of the form "XP<expand> <k>x<k> <depth>", '
                           'for example "XP0.8 3x3 2"')
        return cls(int(match["kernel"]), float(match["expand"]), int(match["depth"]))

    def __str__(self) -> str:
        return f"XP{self.expand:g} {self.kernel}x{self.kernel} {self.depth}"

    def canonical(self) -> "Block":
        """The same network's one name: a block of depth 1 has no inner layer, so no expand ratio."""
        return replace(self, expand=1.0) if self.depth == 1 else self


@dataclass(frozen=True, order=True)
class Arch:
    """One subnet: a `Block` per elastic block, from the input side to the output side."""

    blocks: Tuple[Block, ...]

    @classmethod
    def parse(cls, text: str, num_blocks: int = NUM_BLOCKS) -> "Arch":
        """Arch of "XP1 7x7 3, XP1 5x5 3, ..."; one name alone stands for `num_blocks` equal blocks.

        Brackets and quotes of a Python or JSON list are accepted. Raises OfaError.
        """
        parts = [part for part in (p.strip() for p in re.sub(r"[\[\]'\"]", "", str(text)).split(","))
                 if part]
        if len(parts) == 1:
            parts = parts * num_blocks
        if len(parts) != num_blocks:
            raise OfaError(f"subnet {text!r} has {len(parts)} blocks, this network has {num_blocks}: "
                           f"give {num_blocks} names separated by commas, or one for all")
        return cls(tuple(Block.parse(part) for part in parts))

    def __str__(self) -> str:
        return ", ".join(str(block) for block in self.blocks)

    def canonical(self) -> "Arch":
        """The one name of this network; equal networks have equal canonical forms."""
        return Arch(tuple(block.canonical() for block in self.blocks))

    def to_json(self) -> list:
        """A list of block names, as the model zoo pages and JSON files write a subnet."""
        return [str(block) for block in self.blocks]

    @classmethod
    def from_json(cls, names: Sequence[str]) -> "Arch":
        """The inverse of `to_json`; the list's length is the number of blocks."""
        return cls(tuple(Block.parse(name) for name in names))

    def genotype(self) -> Tuple[int, ...]:
        """nnabla-nas's integers, 0 to 26 a block: indices into `GENOTYPE_CANDIDATES`."""
        return tuple(GENOTYPE_CANDIDATES.index(block) for block in self.blocks)

    @classmethod
    def from_genotype(cls, genotype: Sequence[int]) -> "Arch":
        """The inverse of `genotype`; raises OfaError for an integer outside 0..26."""
        bad = [i for i in genotype if not 0 <= i < len(GENOTYPE_CANDIDATES)]
        if bad:
            raise OfaError(f"genotype {list(genotype)} holds {bad[0]}, allowed is 0 to "
                           f"{len(GENOTYPE_CANDIDATES) - 1}")
        return cls(tuple(GENOTYPE_CANDIDATES[i] for i in genotype))


# The order of nnabla-nas's default `op_candidates` (Xception TrainNet): genotypes index into it.
GENOTYPE_CANDIDATES = tuple(Block(kernel, expand, depth)
                            for kernel in KERNELS for expand in reversed(EXPANDS) for depth in DEPTHS)


@dataclass(frozen=True)
class Choices:
    """What one elastic block may be: ascending kernels, expand ratios and depths."""

    kernels: Tuple[int, ...]
    expands: Tuple[float, ...]
    depths: Tuple[int, ...]

    def __iter__(self) -> Iterator[Block]:
        """Every `Block` of these choices, equal networks named once each."""
        return (Block(k, e, d) for k in self.kernels for e in self.expands for d in self.depths)

    def __contains__(self, block: Block) -> bool:
        return (block.kernel in self.kernels and block.depth in self.depths
                and (block.expand in self.expands or block.depth == 1))

    def distinct(self) -> Tuple[Block, ...]:
        """The different networks among these choices, in canonical form, sorted."""
        return tuple(sorted({block.canonical() for block in self}))


@dataclass(frozen=True)
class Space:
    """A search space: the `Choices` of each elastic block."""

    blocks: Tuple[Choices, ...]

    @classmethod
    def parse(cls, name: str, num_blocks: int = NUM_BLOCKS) -> "Space":
        """Space of its name, "K357_E0.6+0.8+1_D123"; raises OfaError that says what is wrong."""
        match = _SPACE.fullmatch(str(name).strip())
        if match is None:
            raise OfaError(f"search space {name!r} is not of the form K<kernels>_E<expands>_D<depths>, "
                           "for example K357_E0.6+0.8+1_D123")
        values = {"kernels": tuple(int(k) for k in match["kernels"]),
                  "expands": tuple(float(e) for e in match["expands"].split("+")),
                  "depths": tuple(int(d) for d in match["depths"])}
        for key, allowed in (("kernels", KERNELS), ("expands", EXPANDS), ("depths", DEPTHS)):
            unknown = [v for v in values[key] if v not in allowed]
            if unknown or values[key] != tuple(sorted(set(values[key]))):
                what = f"{unknown[0]:g} is not allowed" if unknown else "values must ascend, each once"
                raise OfaError(f"search space {name!r}: in its {key}, {what}; "
                               f"choose from {', '.join(f'{a:g}' for a in allowed)}")
        return cls((Choices(**values),) * num_blocks)

    @classmethod
    def of(cls, arch: Arch) -> "Space":
        """The space that holds just `arch`: a network built over it is the stand-alone subnet."""
        return cls(tuple(Choices((b.kernel,), (b.expand,), (b.depth,))
                         for b in arch.canonical().blocks))

    def __str__(self) -> str:
        """The name of a uniform space, "K7_E1_D3"; a space whose blocks differ shows its subnet."""
        first = self.blocks[0]
        if any(choices != first for choices in self.blocks):
            if self.single():
                return str(self.largest())
            raise OfaError("a search space whose blocks differ has no name")
        return (f"K{''.join(map(str, first.kernels))}_E{'+'.join(f'{e:g}' for e in first.expands)}"
                f"_D{''.join(map(str, first.depths))}")

    def single(self) -> bool:
        """Whether the space holds one network only."""
        return self.distinct_count() == 1

    def named_count(self) -> int:
        """How many names it has: 27^8 for the whole Xception41 space."""
        return _product(len(tuple(choices)) for choices in self.blocks)

    def distinct_count(self) -> int:
        """How many different networks it holds: 21^8 = 3.8e10 for the whole Xception41 space."""
        return _product(len(choices.distinct()) for choices in self.blocks)

    def __contains__(self, arch: Arch) -> bool:
        return (len(arch.blocks) == len(self.blocks)
                and all(block in choices for block, choices in zip(arch.blocks, self.blocks)))

    def check(self, arch: Arch) -> Arch:
        """`arch`, or OfaError naming the first block that is outside this space."""
        if len(arch.blocks) != len(self.blocks):
            raise OfaError(f"subnet has {len(arch.blocks)} blocks, the search space {len(self.blocks)}")
        for i, (block, choices) in enumerate(zip(arch.blocks, self.blocks)):
            if block not in choices:
                raise OfaError(f'block {i} is "{block}", outside this search space (kernel '
                               f"{choices.kernels}, expand {choices.expands}, depth {choices.depths})")
        return arch

    def largest(self) -> Arch:
        """The arch of the largest kernel, expand ratio and depth in every block."""
        return Arch(tuple(Block(c.kernels[-1], c.expands[-1], c.depths[-1]) for c in self.blocks))

    def smallest(self) -> Arch:
        """The arch of the smallest kernel, expand ratio and depth in every block."""
        return Arch(tuple(Block(c.kernels[0], c.expands[0], c.depths[0]) for c in self.blocks))

    def sample(self, rng: np.random.Generator) -> Arch:
        """An arch whose kernels, expand ratios and depths are drawn uniformly and independently."""
        return Arch(tuple(_draw(choices, rng) for choices in self.blocks))

    def mutate(self, arch: Arch, rng: np.random.Generator, rate: float = 0.1) -> Arch:
        """`arch` with each block drawn anew with probability `rate` (in [0, 1])."""
        self.check(arch)
        return Arch(tuple(_draw(choices, rng) if rng.random() < rate else block
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
        for choices in self.blocks:
            distinct = choices.distinct()
            blocks.append(distinct[int(np.argmax(vector[start:start + len(distinct)]))])
            start += len(distinct)
        return Arch(tuple(blocks))


def _draw(choices: Choices, rng: np.random.Generator) -> Block:
    return Block(*(options[rng.integers(len(options))]
                   for options in (choices.kernels, choices.expands, choices.depths)))


def _product(numbers) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result
