"""Channel-elastic ResNet20 (He et al., CVPR 2016; space of the CVPR 2021 lightweight NAS challenge, track 1).

    stem    3x3 -> a0, BN, ReLU
    block   k = 0..8: 3x3 -> a[2k+1], BN, ReLU, 3x3 -> a[2k+2], BN, + shortcut, ReLU; stride 2 at k = 3, 6
    head    mean, affine

A subnet is written as the challenge writes it, 20 widths "16-8-...-64"; the last one, the
classifier's, is ignored and read as the largest. A space "C4-16_C4-32_C4-64" is the range of the widths, in
steps of 4, at each of the three resolutions; "C16_C32_C64" is the full network. Wider networks (Zagoruyko &
Komodakis, Wide residual networks, BMVC 2016) have other largest widths and steps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterator, Optional, Sequence, Tuple, cast

import numpy as np

from ...errors import OfaError
from ...layers import ConvBn, Layer, Linear, Residual
from ..arch import Arch, Choice, Space, Text
from .settings import require_settings

GROUPS = (7, 6, 7)  # widths at each resolution, the ignored one included
WIDEST = 2**12

_RANGES = re.compile("_".join([r"C(?:(\d+)-)?(\d+)"] * len(GROUPS)))


@dataclass(frozen=True, order=True)
class Width:
    """The number of channels that one layer gives."""

    channels: int

    SEPARATOR = "-"

    def __str__(self) -> str:
        return str(self.channels)

    def canonical(self, before: Optional[Choice] = None) -> "Width":
        """Itself: different widths are different networks."""
        return self

    def alone(self) -> "Widths":
        """The choices that hold just this width."""
        return Widths((self.channels,))


@dataclass(frozen=True)
class Widths:
    """The widths that one layer may have, ascending."""

    values: Tuple[int, ...]

    def __iter__(self) -> Iterator[Width]:
        return map(Width, self.values)

    def __contains__(self, width: Width) -> bool:
        return width.channels in self.values

    def __str__(self) -> str:
        return f"widths {', '.join(map(str, self.values))}"

    def distinct(self) -> Tuple[Width, ...]:
        """Every width."""
        return tuple(self)

    def draw(self, rng: np.random.Generator) -> Width:
        """A width, each as likely."""
        return Width(self.values[rng.integers(len(self.values))])

    @staticmethod
    def space_name(positions: Sequence["Widths"]) -> Optional[str]:
        """"C4-16_C4-32_C4-64" where each resolution has one range of widths, else None."""
        ranges = [set(group) for group in _grouped(positions[:-1])]
        if any(len(group) > 1 for group in ranges):
            return None
        bounds = [(values[0], values[-1]) for group in ranges for values in [group.pop().values]]
        return "_".join(f"C{low}-{high}" if low < high else f"C{high}" for low, high in bounds)


def _grouped(positions: Sequence) -> Tuple[Sequence, ...]:
    """The positions of each resolution."""
    first, second = GROUPS[0], GROUPS[0] + GROUPS[1]
    return positions[:first], positions[first:second], positions[second:]


@dataclass(frozen=True)
class ResNet20:
    """What fixes a network besides its search space.

    widths: the largest at each of the three resolutions. width_step: widths are multiples of it. stem_stride:
    of the first convolution, 1 or 2. shortcut: "official", a 1x1 convolution with BN where stride or width
    changes, else the identity; or "always", the convolution in every block. dropout: rate in [0, 1) before
    the classifier. bn_eps, bn_decay: of every BN; the latter only of running statistics
    (`layers.Mode.track`), which fixed networks keep.
    """

    family: str = "resnet20"
    classes: int = 10
    shortcut: str = "official"
    dropout: float = 0.0
    bn_eps: float = 1e-5
    bn_decay: float = 0.9
    widths: Tuple[int, ...] = (16, 32, 64)
    width_step: int = 4
    stem_stride: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        step = max(self.width_step, 1)
        require_settings(self, "resnet20", {
            "shortcut": (self.shortcut in ("official", "always"), "official or always"),
            "width_step": (1 <= self.width_step <= WIDEST, f"from 1 to {WIDEST}"),
            "widths": (len(self.widths) == 3 and all(step <= width <= WIDEST and width % step == 0
                                                     for width in self.widths),
                       f"three multiples of width_step={step}, up to {WIDEST}"),
            "stem_stride": (self.stem_stride in (1, 2), "1 or 2")})

    def arch(self, text: Text) -> Arch:
        """Arch of 20 widths joined by "-"; raises OfaError that names the first one not allowed."""
        names = str(text).strip().split("-")
        every = self._positions([(self.width_step, width) for width in self.widths])
        if len(names) != sum(GROUPS) or not all(re.fullmatch(r"[0-9]{1,4}", name) for name in names):
            raise OfaError(f"subnet {text!r} is not {sum(GROUPS)} widths joined by '-', for example "
                           f"{Space(every).largest()}")
        widths = [Width(int(name)) for name in names]
        for i, (width, choices) in enumerate(zip(widths[:-1], every)):
            if width not in choices:
                raise OfaError(f"subnet {text!r}: its width {width} at place {i} is not one of {choices}")
        return Arch((*widths[:-1], Width(self.widths[-1])))

    def space(self, name: str) -> Space:
        """Space of its name, "C4-16_C4-32_C4-64", or of one subnet's; OfaError says what is wrong."""
        if str(name).lstrip()[:1].isdigit():
            return Space.of(self.arch(name))
        match, step = _RANGES.fullmatch(str(name).strip()), self.width_step
        if match is None:
            raise OfaError(f"search space {name!r} is not of the form C<widths>_C<widths>_C<widths>, for "
                           "example " + "_".join(f"C{step}-{width}" for width in self.widths))
        ranges = []
        for i, largest in enumerate(self.widths):
            high = int(match[2 * i + 2])
            low = int(match[2 * i + 1] or high)
            if low % step or high % step or not step <= low <= high <= largest:
                raise OfaError(f"search space {name!r}: widths {low} to {high} are not multiples of "
                               f"{step}, ascending, from {step} to {largest}")
            ranges.append((low, high))
        return Space(self._positions(ranges))

    def _positions(self, ranges: Sequence[Tuple[int, int]]) -> Tuple[Widths, ...]:
        """The choices of every place, from the range of widths at each resolution."""
        step = self.width_step
        places = [Widths(tuple(range(low, high + 1, step)))
                  for count, (low, high) in zip(GROUPS, ranges) for _ in range(count)]
        return (*places[:-1], Widths(self.widths[-1:]))

    def layers(self, space: Space, arch: Arch) -> Tuple[Layer, ...]:
        """Every layer of `arch` as it reads the weights that are stored for `space`.

        Raises OfaError when `arch` is outside `space`.
        """
        space.check(arch)
        a = [width.channels for width in cast(Sequence[Width], arch.blocks)]
        stored = [choices.values for choices in cast(Sequence[Widths], space.blocks)]
        stem = ConvBn("stem", 3, a[0], 3, self.stem_stride, relu_out=True, full_out=stored[0][-1],
                      segments=stored[0], writes="trunk/0")
        return (stem, *(self.block(k, a[2 * k:2 * k + 3], stored[2 * k:2 * k + 3]) for k in range(9)),
                Linear("classifier", a[18], self.classes, stored[18][-1], reads="trunk/2",
                       dropout=self.dropout))

    def deciding_blocks(self) -> Tuple[Tuple[int, ...], ...]:
        """For each of `layers` the places of the widths that it depends on."""
        return ((0,), *((2 * k, 2 * k + 1, 2 * k + 2) for k in range(9)), (18,))

    def block(self, k: int, widths: Sequence[int], stored: Sequence[Tuple[int, ...]]) -> Residual:
        """Block k of its input, middle and output widths; stored: the widths of the space there.

        Where all the space's subnets have the identity as shortcut, none is stored.
        """
        name, stride = f"blocks/{k}", 2 if k in (3, 6) else 1
        reads, middle, writes = f"trunk/{max(k - 1, 0) // 3}", f"{name}/middle", f"trunk/{k // 3}"

        def conv(part: str, i: int, o: int, kernel: int, stride: int, relu: bool, takes: str, gives: str
                 ) -> ConvBn:
            return ConvBn(f"{name}/{part}", widths[i], widths[o], kernel, stride, relu,
                          stored[i][-1], stored[o][-1], stored[o], takes, gives)

        skip = conv("skip", 0, 2, 1, stride, False, reads, writes)
        identity = self.shortcut == "official" and stride == 1 and widths[0] == widths[2]
        never = identity and len(set(stored[0] + stored[2])) == 1
        return Residual((conv("0", 0, 1, 3, stride, True, reads, middle),
                         conv("1", 1, 2, 3, 1, True, middle, writes)),
                        skip=None if identity else skip, idle=skip if identity and not never else None)
