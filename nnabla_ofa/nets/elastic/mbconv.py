"""What the families of inverted residual blocks share: choices, names, blocks.

A block (Sandler et al., MobileNetV2, CVPR 2018) widens its input by the expand ratio with a 1x1
convolution, convolves each channel kernel x kernel, and narrows with a 1x1 convolution. Its kernel and its
ratio are elastic; the last blocks of a stage may be absent.

A subnet is written block after block: "54" is kernel 5, expand ratio 4, "-" an absent block. A space is
"K357_E346_D234": kernels, ratios, and how many blocks a stage may have, the same in every stage. The name
of a space of one network is that network's, too: "K7_E6_D4".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, cast

import numpy as np

from ...errors import OfaError
from ...layers import Absent, ConvBn, Depthwise, Layer, Residual, SqueezeExcite
from ..arch import Arch, Choice, Space, Text
from . import once_for_all
from .widths import make_divisible

KERNELS = (3, 5, 7)
EXPANDS = (3, 4, 6)
DEPTHS = (2, 3, 4)
LONGEST = DEPTHS[-1]  # blocks of a stage

_SPACE = re.compile(r"K(?P<kernels>[0-9]+)_E(?P<expands>[0-9]+)_D(?P<depths>[0-9]+)")


@dataclass(frozen=True, order=True)
class Unit:
    """The choice of one block: kernel and expand ratio, both 0 for an absent one.

    optional: whether the block is one of those that a shallower stage leaves out.
    """

    kernel: int
    expand: int
    optional: bool = False

    SEPARATOR = " "

    def __str__(self) -> str:
        return f"{self.kernel}{self.expand}" if self.kernel else "-"

    def canonical(self, before: Optional[Choice] = None) -> "Unit":
        """Absent where the block before it in the stage is."""
        absent = self.optional and isinstance(before, Unit) and not before.kernel
        return Unit(0, 0, True) if absent else self

    def alone(self) -> "Units":
        """The choices that hold just this one."""
        if not self.kernel:
            return Units((), (), 1.0, True)
        return Units((self.kernel,), (self.expand,), 0.0, self.optional)


@dataclass(frozen=True)
class Units:
    """What one block may be: ascending kernels and expand ratios.

    absent: how likely a draw leaves it out where the block before it is there; 1: it is always absent.
    """

    kernels: Tuple[int, ...]
    expands: Tuple[int, ...]
    absent: float = 0.0
    optional: bool = False

    def __iter__(self) -> Iterator[Unit]:
        if self.absent:
            yield Unit(0, 0, True)
        for kernel in self.kernels:
            for expand in self.expands:
                yield Unit(kernel, expand, self.optional)

    def __contains__(self, unit: Any) -> bool:
        return unit in tuple(self)

    def __str__(self) -> str:
        absent = " or absent" if self.absent else ""
        return f"kernel {self.kernels}, expand ratio {self.expands}{absent}" if self.kernels else "absent"

    def distinct(self) -> Tuple[Unit, ...]:
        """Every choice."""
        return tuple(self)

    def draw(self, rng: np.random.Generator) -> Unit:
        """Absent as likely as it should be, else kernel and ratio uniform."""
        if self.absent and rng.random() < self.absent:
            return Unit(0, 0, True)
        kernel, expand = (options[rng.integers(len(options))] for options in (self.kernels, self.expands))
        return Unit(kernel, expand, self.optional)

    @staticmethod
    def space_name(blocks: Sequence["Units"]) -> Optional[str]:
        """"K357_E346_D234" where all stages have the same choices, else None."""
        first = blocks[:LONGEST]
        shallowest = sum(not own.absent for own in first)
        deepest = sum(bool(own.kernels) for own in first)
        depths = tuple(range(shallowest, deepest + 1))
        named = space_of(first[0].kernels, first[0].expands, depths, len(blocks))
        if named.blocks != tuple(blocks):
            return None
        kernels, expands, counts = ("".join(map(str, values)) for values in
                                    (first[0].kernels, first[0].expands, depths))
        return f"K{kernels}_E{expands}_D{counts}"


def space_of(kernels: Tuple[int, ...], expands: Tuple[int, ...], depths: Tuple[int, ...], blocks: int
             ) -> Space:
    """The space of stages of LONGEST blocks that all may be the same; a block beyond them is never absent.

    Drawn block by block, each depth is as likely as any other.
    """
    low, high = depths[0], depths[-1]

    def absent(place: int) -> float:
        return 0.0 if place <= low else 1.0 if place > high else 1 / (high - place + 2)

    stage = [Units(kernels, expands, absent(p), p > DEPTHS[0]) if absent(p) < 1 else Units((), (), 1.0, True)
             for p in range(1, LONGEST + 1)]
    return Space((*stage * (blocks // LONGEST), *[Units(kernels, expands)] * (blocks % LONGEST)))


def parse_space(name: str, blocks: int) -> Space:
    """The space of a name. Raises OfaError, which says what is wrong.

    Args:
        name: "K357_E346_D234".
        blocks: How many elastic blocks the network has.
    """
    match = _SPACE.fullmatch(str(name).strip())
    if match is None:
        raise OfaError(f"search space {name!r} is not of the form K<kernels>_E<expand ratios>_D<depths>, for "
                       "example K357_E346_D234")
    found = []
    for key, allowed in (("kernels", KERNELS), ("expands", EXPANDS), ("depths", DEPTHS)):
        values = tuple(map(int, match[key]))
        if sorted(set(values)) != list(values) or not set(values) <= set(allowed):
            raise OfaError(f"search space {name!r}: {key} {match[key]} are not ascending ones of "
                           f"{', '.join(map(str, allowed))}")
        found.append(values)
    depths = found[2]
    if depths != tuple(range(depths[0], depths[-1] + 1)):
        raise OfaError(f"search space {name!r}: depths {match['depths']} leave one out in between")
    return space_of(found[0], found[1], depths, blocks)


def parse_arch(text: Text, blocks: int) -> Arch:
    """The subnet of a text: block after block, once-for-all's dict, or the name of a space of one network.

    Args:
        text: As said.
        blocks: How many elastic blocks the network has.

    Raises:
        OfaError: The text is none of these; it names the first block that is wrong.
    """
    if once_for_all.is_dict(text):
        return _of_dict(text, blocks)
    words = str(text).split()
    if len(words) == 1 and words[0].startswith("K"):
        space = parse_space(words[0], blocks)
        if not space.single():
            raise OfaError(f"subnet {text!r} is a search space of more than one network")
        return space.largest()
    if len(words) != blocks:
        raise OfaError(f"subnet {text!r} has {len(words)} blocks, not {blocks}, for example "
                       f"\"{' '.join(['54'] * 2 + ['-'] * 2)} ...\" (kernel 5, expand ratio 4; - is absent)")
    units: List[Unit] = []
    for place, word in enumerate(words):
        optional = place % LONGEST >= DEPTHS[0] and place < blocks - blocks % LONGEST
        if word == "-" and optional:
            units.append(Unit(0, 0, True))
        elif len(word) == 2 and word.isdigit() and int(word[0]) in KERNELS and int(word[1]) in EXPANDS:
            units.append(Unit(int(word[0]), int(word[1]), optional))
        else:
            absent = ", or - for an absent block" if optional else ""
            raise OfaError(f"subnet {text!r}: block {place} is {word!r}, not a kernel of {KERNELS} and an "
                           f"expand ratio of {EXPANDS}{absent}")
    return Arch(tuple(units))


def _of_dict(text: Text, blocks: int) -> Arch:
    """The subnet of once-for-all's lists; depth 1 of a single last block may be written as any."""
    stages = -(-blocks // LONGEST)
    lists = once_for_all.parse(text, {"ks": blocks, "e": blocks, "d": stages},
                               {"ks": KERNELS, "e": EXPANDS, "d": (1, *DEPTHS)})
    units = []
    for place, (kernel, expand) in enumerate(zip(lists["ks"], lists["e"])):
        stage, number = divmod(place, LONGEST)
        whole = stage < blocks // LONGEST
        if whole and lists["d"][stage] not in DEPTHS:
            raise OfaError(f"subnet {once_for_all.short(text)}: entry {stage} of 'd' is "
                           f"{lists['d'][stage]}, not one of {', '.join(map(str, DEPTHS))}")
        optional = whole and number >= DEPTHS[0]
        gone = optional and number >= lists["d"][stage]
        units.append(Unit(0, 0, True) if gone else Unit(kernel, expand, optional))
    return Arch(tuple(units))


def to_dict(arch: Arch) -> Dict[str, List[Any]]:
    """The subnet as once-for-all's dict; absent blocks have the smallest kernel and ratio there."""
    units = cast(Sequence[Unit], arch.canonical().blocks)
    stages = [units[i:i + LONGEST] for i in range(0, len(units), LONGEST)]
    return {"ks": [unit.kernel or KERNELS[0] for unit in units],
            "e": [unit.expand or EXPANDS[0] for unit in units],
            "d": [sum(bool(unit.kernel) for unit in stage) for stage in stages]}


@dataclass(frozen=True)
class Shape:
    """What is fixed of an inverted residual block.

    Args:
        name: Of the block.
        w_in, w_out: Channels.
        stride: Of the depthwise convolution.
        activation: One of `layers.activation.ACTIVATIONS`.
        squeeze: Whether it has squeeze-and-excitation.
    """

    name: str
    w_in: int
    w_out: int
    stride: int
    activation: str
    squeeze: bool = False


def conv(name: str, w_in: int, w_out: int, kernel: int, activation: str = "none", **more: Any) -> ConvBn:
    """A convolution with BN and an activation, by its name."""
    relu = activation == "relu"
    return ConvBn(name, w_in, w_out, kernel, relu_out=relu, activation="none" if relu else activation, **more)


def inverted(shape: Shape, choices: Units, unit: Unit) -> Layer:
    """A block, or its absence.

    Args:
        shape: What is fixed.
        choices: What the block may be in the space.
        unit: What it is.
    """
    if not unit.kernel:
        return Absent()
    name, inner = shape.name, inner_width(shape.w_in, unit.expand)
    segments = tuple(sorted({inner_width(shape.w_in, e) for e in choices.expands}))
    between = f"{name}/inner"
    units: List[Any] = [
        conv(f"{name}/expand", shape.w_in, inner, 1, shape.activation, full_out=segments[-1],
             segments=segments, writes=between),
        Depthwise(f"{name}/depthwise", inner, segments[-1], choices.kernels, unit.kernel, shape.stride,
                  shape.activation, between)]
    if shape.squeeze:
        squeezed = tuple(map(squeezed_width, segments))
        units.append(SqueezeExcite(f"{name}/se", inner, squeezed_width(inner), segments[-1], squeezed[-1],
                                   squeezed, between))
    units.append(conv(f"{name}/project", inner, shape.w_out, 1, full_in=segments[-1], reads=between))
    same = shape.stride == 1 and shape.w_in == shape.w_out
    return Residual(tuple(units), shortcut="within" if same else "none")


def inner_width(width: int, expand: int) -> int:
    """Channels between the 1x1 convolutions of a block."""
    return make_divisible(round(width * expand), 8)


def squeezed_width(inner: int) -> int:
    """Units of squeeze-and-excitation."""
    return make_divisible(inner // 4, 8)
