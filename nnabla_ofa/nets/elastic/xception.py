"""Elastic Xception41 (Chollet, CVPR 2017; elastic as in Cai et al., ICLR 2020) as a tuple of layers.

    stem    3x3/s -> w0, 3x3 -> w1
    entry   3 x residual [2 separable 3x3, max-pool 3x3/2]            w2, w3, w4
    middle  `middle_blocks` x residual [depth x separable KxK]        w4, inner width expand * w4
    exit    residual [2 separable 3x3, max-pool], separable x 2, mean, affine    w5, w6, w7

Only the middle blocks are elastic. A block is written as nnabla-nas writes it: "XP0.8 3x3 2" is
expand ratio 0.8, 3x3 kernel, depth 2; a space "K357_E0.6+0.8+1_D123" (the same in every block).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple, cast

import numpy as np

from ...errors import OfaError
from ...layers import ConvBn, Layer, Linear, Residual, Separable
from ..arch import Arch, Choice, Space, Text
from .settings import require_settings
from .widths import make_divisible

WIDTHS = (32, 64, 128, 256, 728, 1024, 1536, 2048)
KERNELS = (3, 5, 7)
EXPANDS = (0.6, 0.8, 1.0)
DEPTHS = (1, 2, 3)

_BLOCK = re.compile(r"XP(?P<expand>\d+(?:\.\d+)?) (?P<kernel>\d)x(?P=kernel) (?P<depth>\d)")
_SPACE = re.compile(r"K(?P<kernels>\d+)_E(?P<expands>\d+(?:\.\d+)?(?:\+\d+(?:\.\d+)?)*)_D(?P<depths>\d+)")


# Choices -----------------------------------------------------------------------------------------

@dataclass(frozen=True, order=True)
class Block:
    """The choice of one elastic block: kernel in {3, 5, 7}, expand in {0.6, 0.8, 1}, depth in {1, 2, 3}."""

    kernel: int
    expand: float
    depth: int

    SEPARATOR = ", "

    def __post_init__(self) -> None:
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

    def canonical(self, before: Optional[Choice] = None) -> "Block":
        """The same network's one name: a block of depth 1 has no inner layer, so no expand ratio."""
        return replace(self, expand=1.0) if self.depth == 1 else self

    def alone(self) -> "Choices":
        """The choices that hold just this block."""
        return Choices((self.kernel,), (self.expand,), (self.depth,))


@dataclass(frozen=True)
class Choices:
    """What one elastic block may be: ascending kernels, expand ratios and depths."""

    kernels: Tuple[int, ...]
    expands: Tuple[float, ...]
    depths: Tuple[int, ...]

    def __iter__(self) -> Iterator[Block]:
        return (Block(k, e, d) for k in self.kernels for e in self.expands for d in self.depths)

    def __contains__(self, block: Block) -> bool:
        return (block.kernel in self.kernels and block.depth in self.depths
                and (block.expand in self.expands or block.depth == 1))

    def __str__(self) -> str:
        return f"kernel {self.kernels}, expand {self.expands}, depth {self.depths}"

    def distinct(self) -> Tuple[Block, ...]:
        """The different networks among these choices, in canonical form, sorted."""
        return tuple(sorted({block.canonical() for block in self}))

    def draw(self, rng: np.random.Generator) -> Block:
        """Kernel, expand ratio and depth, each uniform."""
        return Block(*(options[rng.integers(len(options))]  # type: ignore[arg-type]
                       for options in (self.kernels, self.expands, self.depths)))

    @staticmethod
    def space_name(blocks: Sequence["Choices"]) -> Optional[str]:
        """"K357_E0.6+0.8+1_D123" where all blocks have the same choices, else None."""
        if len(set(blocks)) > 1:
            return None
        kernels, expands, depths = ([f"{value:g}" for value in values] for values in
                                    (blocks[0].kernels, blocks[0].expands, blocks[0].depths))
        return f"K{''.join(kernels)}_E{'+'.join(expands)}_D{''.join(depths)}"


# The order of nnabla-nas's default `op_candidates` (Xception TrainNet): its genotypes index into it.
GENOTYPE_CANDIDATES = tuple(Block(kernel, expand, depth)
                            for kernel in KERNELS for expand in reversed(EXPANDS) for depth in DEPTHS)


# The network -------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Xception:
    """What fixes a network besides its search space.

    widths: the eight base widths, times `width_mult`, rounded to multiples of 8. stem_stride,
    entry_strides: of the stem and of each entry block, 2, or 1 to keep more pixels of small images
    (of 32 pixels a side the middle blocks see 2; with 1 and (2, 2, 1), 8). middle_blocks: 8 is
    Xception41, 16 Xception65. dropout: rate in [0, 1) before the classifier. bn_eps, bn_decay: of
    every BN; the latter only of running statistics (`layers.Mode.track`), which fixed networks keep.
    """

    family: str = "xception"
    classes: int = 1000
    widths: Tuple[int, ...] = WIDTHS
    width_mult: float = 1.0
    middle_blocks: int = 8
    stem_stride: int = 2
    entry_strides: Tuple[int, ...] = (2, 2, 2)
    dropout: float = 0.1
    bn_eps: float = 1e-5
    bn_decay: float = 0.9

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "entry_strides", tuple(self.entry_strides))
        require_settings(self, "xception", {
            "widths": (len(self.widths) == 8 and min(self.widths) >= 1, "8 positive integers"),
            "width_mult": (0 < self.width_mult <= 1000, "a positive number, at most 1000"),
            "middle_blocks": (1 <= self.middle_blocks <= 1000, "1 to 1000"),
            "stem_stride": (self.stem_stride in (1, 2), "1 or 2"),
            "entry_strides": (len(self.entry_strides) == 3 and set(self.entry_strides) <= {1, 2},
                              "3 numbers, each 1 or 2")})

    def arch(self, text: Text) -> Arch:
        """Arch of "XP1 7x7 3, XP1 5x5 3, ..."; one name alone stands for equal blocks.

        Brackets and quotes of a Python or JSON list are accepted, and so are the integers, 0 to 26 a
        block, by which nnabla-nas names a choice (`GENOTYPE_CANDIDATES`). Raises OfaError.
        """
        arch = parse_arch(text)
        if len(arch.blocks) == 1:
            return Arch(arch.blocks * self.middle_blocks)
        if len(arch.blocks) != self.middle_blocks:
            raise OfaError(f"subnet {text!r} has {len(arch.blocks)} blocks, this network has "
                           f"{self.middle_blocks}: give {self.middle_blocks} names separated by "
                           "commas, or one for all")
        return arch

    def space(self, name: str) -> Space:
        """Space of its name, "K357_E0.6+0.8+1_D123", or of one subnet's; OfaError says what is wrong."""
        if str(name).lstrip().startswith("XP"):
            return Space.of(self.arch(name))
        match = _SPACE.fullmatch(str(name).strip())
        if match is None:
            raise OfaError(f"search space {name!r} is not of the form K<kernels>_E<expands>_D<depths>, "
                           "for example K357_E0.6+0.8+1_D123")
        values: Dict[str, Tuple[Any, ...]] = {
            "kernels": tuple(int(k) for k in match["kernels"]),
            "expands": tuple(float(e) for e in match["expands"].split("+")),
            "depths": tuple(int(d) for d in match["depths"])}
        for key, allowed in (("kernels", KERNELS), ("expands", EXPANDS), ("depths", DEPTHS)):
            unknown = [v for v in values[key] if v not in allowed]
            if unknown or values[key] != tuple(sorted(set(values[key]))):
                what = f"{unknown[0]:g} is not allowed" if unknown else "values must ascend, each once"
                raise OfaError(f"search space {name!r}: in its {key}, {what}; "
                               f"choose from {', '.join(f'{a:g}' for a in allowed)}")
        return Space((Choices(**values),) * self.middle_blocks)

    def layers(self, space: Space, arch: Arch) -> Tuple[Layer, ...]:
        """Every layer of `arch` as it reads the weights that are stored for `space`.

        Raises OfaError when `arch` is outside `space`.
        """
        space.check(arch)
        w = tuple(make_divisible(width * self.width_mult) for width in self.widths)
        middle = tuple(middle_block(f"middle/{i}", w[4], cast(Choices, choices), cast(Block, block))
                       for i, (choices, block) in enumerate(zip(space.blocks, arch.blocks)))
        return (ConvBn("stem/0", 3, w[0], 3, self.stem_stride, relu_out=True),
                ConvBn("stem/1", w[0], w[1], 3, relu_out=True),
                widen("entry/0", w[1], w[2], w[2], self.entry_strides[0], relu_first=False),
                widen("entry/1", w[2], w[3], w[3], self.entry_strides[1]),
                widen("entry/2", w[3], w[4], w[4], self.entry_strides[2]),
                *middle,
                widen("exit/0", w[4], w[4], w[5]),
                plain("exit/1", w[5], w[6], relu_in=False, relu_out=True),
                plain("exit/2", w[6], w[7], relu_in=False, relu_out=True),
                Linear("classifier", w[7], self.classes, dropout=self.dropout))

    def deciding_blocks(self) -> Tuple[Tuple[int, ...], ...]:
        """For each of `layers` the places of the blocks that it depends on."""
        entry, exit_ = ((),) * 5, ((),) * 4
        return (*entry, *((i,) for i in range(self.middle_blocks)), *exit_)


def parse_arch(text: Text) -> Arch:
    """Arch of as many blocks as `text` names; raises OfaError for none or a misspelt one."""
    names = [name for name in map(str.strip, re.sub(r"[\[\]'\"]", "", str(text)).split(",")) if name]
    if not names:
        raise OfaError(f'subnet {text!r} names no block such as "XP0.8 3x3 2"')
    return Arch(tuple(map(_block, names)))


def _block(name: str) -> Block:
    """The block of its name or of nnabla-nas's integer."""
    if not name.isdecimal():
        return Block.parse(name)
    if int(name) >= len(GENOTYPE_CANDIDATES):
        raise OfaError(f"genotype integer {name} of a block is not 0 to {len(GENOTYPE_CANDIDATES) - 1}")
    return GENOTYPE_CANDIDATES[int(name)]


def inner_width(width: int, expand: float) -> int:
    """Channels between the layers of a middle block: 728 -> 440 at 0.6, 584 at 0.8, 728 at 1."""
    return make_divisible(round(width * expand), 8) if expand < 1 else width


def plain(name: str, w_in: int, w_out: int, relu_in: bool = True, relu_out: bool = False) -> Separable:
    """A separable 3x3 layer that is the same in every subnet."""
    return Separable(name, w_in, w_out, w_in, w_out, relu_in=relu_in, relu_out=relu_out)


def widen(name: str, w_in: int, w_mid: int, w_out: int, stride: int = 2, relu_first: bool = True
          ) -> Residual:
    """Two separable layers and, of stride 2, a max-pool, beside a 1x1 convolution.

    Args:
        name: Of the block.
        w_in, w_mid, w_out: Channels of the input, between the two layers, of the output.
        stride: 2 halves the sides, 1 leaves them.
        relu_first: Whether the first layer begins with a ReLU.
    """
    return Residual((plain(f"{name}/0", w_in, w_mid, relu_in=relu_first),
                     plain(f"{name}/1", w_mid, w_out)),
                    skip=ConvBn(f"{name}/skip", w_in, w_out, 1, stride), pool=stride == 2)


def middle_block(name: str, width: int, choices: Choices, block: Block) -> Residual:
    """depth x [ReLU, depthwise KxK, pointwise, BN] plus identity; the last one returns to `width`.

    A layer that is inner at one depth and the output at another is `ordered`: once channel sorting
    has moved its rows, it must give them back in the trunk's order where it is the output.
    """
    inner = inner_width(width, block.expand)
    segments = tuple(sorted({inner_width(width, e) for e in choices.expands}))
    stored_inner = segments[-1]
    depths, units = choices.depths, []
    for i in range(block.depth):
        output, may_end = i == block.depth - 1, i + 1 in depths
        ordered = may_end and i + 1 < depths[-1]
        units.append(Separable(
            f"{name}/{i}", width if i == 0 else inner, width if output else inner,
            full_in=width if i == 0 else stored_inner,
            full_out=width if may_end else stored_inner,
            kernels=choices.kernels, kernel=block.kernel, ordered=ordered,
            restore=ordered and output, segments=segments,
            reads="" if i == 0 else f"{name}/{i - 1}", writes="" if output else f"{name}/{i}"))
    return Residual(tuple(units))
