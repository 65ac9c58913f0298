"""What the blocks of elastic ResNet50-D may be: widths, ratios, depths, and their names.

A subnet is written as 24 words: the stem's residual and inner width "1+" or "1-", the stem's width "1", then
for each stage its width and its blocks' ratios: "0.8 .35 .25 .2 -", where "-" is an absent block. A space is
"D012_E0.2+0.25+0.35_W0.65+0.8+1"; the name of a space of one network is that network's, too: "D2_E0.35_W1".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, cast

import numpy as np

from ...errors import OfaError
from ..arch import Arch, Choice, Space, Text
from . import once_for_all

LEAST, MORE = (2, 2, 4, 2), 2  # blocks of each stage, and how many may join
DEPTHS, RATIOS, WIDTHS = (0, 1, 2), (0.2, 0.25, 0.35), (0.65, 0.8, 1.0)

_SPACE = re.compile(r"D(?P<depths>[0-9]+)_E(?P<ratios>[0-9.]+(?:\+[0-9.]+)*)"
                    r"_W(?P<widths>[0-9.]+(?:\+[0-9.]+)*)")


@dataclass(frozen=True, order=True)
class Width:
    """A width, as a factor of the largest one. residual: of the stem's first width, whether it has one."""

    factor: float
    residual: Optional[bool] = None

    SEPARATOR = " "

    def __str__(self) -> str:
        return f"{self.factor:g}" + {None: "", True: "+", False: "-"}[self.residual]

    def canonical(self, before: Optional[Choice] = None) -> "Width":
        """Itself: different widths are different networks."""
        return self

    def alone(self) -> "Widths":
        """The choices that hold just this width."""
        return Widths((self.factor,), None if self.residual is None else (self.residual,))


@dataclass(frozen=True)
class Widths:
    """The widths that one part may have, ascending; residuals: of the stem, with and without its residual."""

    factors: Tuple[float, ...]
    residuals: Optional[Tuple[bool, ...]] = None

    def __iter__(self) -> Iterator[Width]:
        return (Width(factor, residual) for factor in self.factors for residual in self.residuals or (None,))

    def __contains__(self, width: Any) -> bool:
        return width in tuple(self)

    def __str__(self) -> str:
        return f"width {', '.join(map(str, self))}"

    def distinct(self) -> Tuple[Width, ...]:
        """Every choice."""
        return tuple(self)

    def draw(self, rng: np.random.Generator) -> Width:
        """A choice, each as likely."""
        every = tuple(self)
        return every[rng.integers(len(every))]

    @staticmethod
    def space_name(blocks: Sequence[Any]) -> Optional[str]:
        """"D012_E0.2+0.25+0.35_W0.65+0.8+1" where all stages have the same choices, else None."""
        first = [own for own in blocks[3:3 + LEAST[0] + MORE]]
        low = sum(not own.absent for own in first) - LEAST[0]
        high = sum(bool(own.ratios) for own in first) - LEAST[0]
        depths, ratios, factors = tuple(range(low, high + 1)), first[0].ratios, blocks[0].factors
        if space_of(depths, ratios, factors).blocks != tuple(blocks):
            return None
        joined = ["+".join(f"{value:g}" for value in values) for values in (ratios, factors)]
        return f"D{''.join(map(str, depths))}_E{joined[0]}_W{joined[1]}"


@dataclass(frozen=True, order=True)
class Bottleneck:
    """The choice of one block: its ratio, 0 for an absent one. optional: whether stages may leave it out."""

    ratio: float
    optional: bool = False

    SEPARATOR = " "

    def __str__(self) -> str:
        return f"{self.ratio:g}".lstrip("0") if self.ratio else "-"

    def canonical(self, before: Optional[Choice] = None) -> "Bottleneck":
        """Absent where the block before it in the stage is."""
        absent = self.optional and isinstance(before, Bottleneck) and not before.ratio
        return Bottleneck(0, True) if absent else self

    def alone(self) -> "Bottlenecks":
        """The choices that hold just this one."""
        return Bottlenecks((self.ratio,), 0.0, self.optional) if self.ratio else Bottlenecks((), 1.0, True)


@dataclass(frozen=True)
class Bottlenecks:
    """What one block may be: ascending ratios. absent: as of `mbconv.Units`."""

    ratios: Tuple[float, ...]
    absent: float = 0.0
    optional: bool = False

    def __iter__(self) -> Iterator[Bottleneck]:
        if self.absent:
            yield Bottleneck(0, True)
        for ratio in self.ratios:
            yield Bottleneck(ratio, self.optional)

    def __contains__(self, block: Any) -> bool:
        return block in tuple(self)

    def __str__(self) -> str:
        return f"ratio {', '.join(map(str, self))}"

    def distinct(self) -> Tuple[Bottleneck, ...]:
        """Every choice."""
        return tuple(self)

    def draw(self, rng: np.random.Generator) -> Bottleneck:
        """Absent as likely as it should be, else each ratio as likely."""
        if self.absent and rng.random() < self.absent:
            return Bottleneck(0, True)
        return Bottleneck(self.ratios[rng.integers(len(self.ratios))], self.optional)

    space_name = Widths.space_name


def space_of(depths: Tuple[int, ...], ratios: Tuple[float, ...], factors: Tuple[float, ...]) -> Space:
    """The space of stages that all may be the same; the stem has its residual at the largest depth alone."""
    low, high = depths[0], depths[-1]
    residuals = tuple(sorted({depth == MORE for depth in depths}))
    blocks: List[Any] = [Widths(factors, residuals), Widths(factors)]
    for least in LEAST:
        blocks += [Widths(factors), *[Bottlenecks(ratios)] * least]
        for extra in range(1, MORE + 1):
            absent = 0.0 if extra <= low else 1.0 if extra > high else 1 / (high - extra + 2)
            blocks.append(Bottlenecks(ratios, absent, True) if absent < 1 else Bottlenecks((), 1.0, True))
    return Space(tuple(blocks))


WHOLE = space_of(DEPTHS, RATIOS, WIDTHS)


def parse_space(name: str) -> Space:
    """The space of its name. Raises OfaError, which says what is wrong."""
    match = _SPACE.fullmatch(str(name).strip())
    if match is None:
        raise OfaError(f"search space {name!r} is not of the form D<more blocks>_E<ratios>_W<widths>, for "
                       "example D012_E0.2+0.25+0.35_W0.65+0.8+1")
    found = []
    for key, allowed in (("depths", DEPTHS), ("ratios", RATIOS), ("widths", WIDTHS)):
        words = match[key] if key == "depths" else match[key].split("+")
        try:
            values = tuple((int if key == "depths" else float)(word) for word in words)
        except ValueError:
            values = ()
        if sorted(set(values)) != list(values) or not set(values) <= set(allowed) or not values:
            raise OfaError(f"search space {name!r}: {key} {match[key]} are not ascending ones of "
                           f"{', '.join(map(str, allowed))}")
        found.append(values)
    depths = cast(Tuple[int, ...], found[0])
    if depths != tuple(range(depths[0], depths[-1] + 1)):
        raise OfaError(f"search space {name!r}: depths {match['depths']} leave one out in between")
    return space_of(depths, found[1], found[2])


def parse_arch(text: Text) -> Arch:
    """The subnet of a text: 24 words, once-for-all's dict, or the name of a space of one network."""
    if once_for_all.is_dict(text):
        return _of_dict(text)
    words = str(text).split()
    if len(words) == 1 and words[0].startswith("D"):
        space = parse_space(words[0])
        if not space.single():
            raise OfaError(f"subnet {text!r} is a search space of more than one network")
        return space.largest()
    if len(words) != len(WHOLE.blocks):
        raise OfaError(f"subnet {text!r} has {len(words)} words, not {len(WHOLE.blocks)}, for example "
                       f"{WHOLE.smallest()}")
    chosen = []
    for place, (word, choices) in enumerate(zip(words, WHOLE.blocks)):
        named = {str(choice): choice for choice in choices}
        plain = word if word in named else _number(word)
        if plain not in named:
            raise OfaError(f"subnet {text!r}: word {place} is {word!r}, not one of {', '.join(named)}")
        chosen.append(named[plain])
    return Arch(tuple(chosen))


def _number(word: str) -> str:
    """A ratio or width as it is written here: "0.35" is ".35", "1.0+" is "1+"."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)([+-]?)", word)
    if match is None:
        return word
    number = f"{float(match[1]):g}"
    return (number.lstrip("0") if float(match[1]) in RATIOS else number) + match[2]


def _of_dict(text: Text) -> Arch:
    """The subnet of once-for-all's lists; widths are indices there."""
    lists = once_for_all.parse(text, {"d": 1 + len(LEAST), "e": sum(LEAST) + MORE * len(LEAST), "w": 6},
                               {"d": DEPTHS, "e": RATIOS, "w": range(len(WIDTHS))})
    widths, ratios = [WIDTHS[index] for index in lists["w"]], iter(lists["e"])
    blocks: List[Choice] = [Width(widths[0], lists["d"][0] == MORE), Width(widths[1])]
    for stage, least in enumerate(LEAST):
        blocks.append(Width(widths[2 + stage]))
        for number in range(least + MORE):
            ratio, optional = next(ratios), number >= least
            there = number < least + lists["d"][1 + stage]
            blocks.append(Bottleneck(ratio if there else 0, optional))
    return Arch(tuple(blocks))


def to_dict(arch: Arch) -> Dict[str, List[Any]]:
    """The subnet as once-for-all's dict; absent blocks have the smallest ratio there."""
    own = arch.canonical().blocks
    mid, top = cast(Sequence[Width], own[:2])
    lists: Dict[str, List[Any]] = {"d": [MORE if mid.residual else 0], "e": [],
                                   "w": [WIDTHS.index(mid.factor), WIDTHS.index(top.factor)]}
    place = 2
    for least in LEAST:
        blocks = cast(Sequence[Bottleneck], own[place + 1:place + 1 + least + MORE])
        lists["w"].append(WIDTHS.index(cast(Width, own[place]).factor))
        lists["d"].append(sum(bool(block.ratio) for block in blocks) - least)
        lists["e"] += [block.ratio or RATIOS[0] for block in blocks]
        place += 1 + len(blocks)
    return lists
