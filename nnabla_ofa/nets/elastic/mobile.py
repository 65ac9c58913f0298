"""What MobileNetV3 and ProxylessNAS have in common: stages of inverted residual blocks (mbconv.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Dict, List, Sequence, Tuple, cast

from ...layers import Layer
from ..arch import Arch, Space, Text
from .mbconv import LONGEST, Shape, Unit, Units, inverted, parse_arch, parse_space, to_dict
from .settings import require_settings
from .widths import make_divisible


@dataclass(frozen=True)
class Mobile:
    """What fixes a network besides its search space.

    width_mult: factor of all widths, which are rounded to multiples of 8. stem_stride, strides: of the
    first convolution and of each stage's first block, 1 or 2; 1 keeps more pixels of small images. dropout:
    rate in [0, 1) before the classifier. bn_eps, bn_decay: of every BN; the latter only of running
    statistics.

    A family sets FAMILY, its name; BASES, the widths of the first convolution, of block 0, of each stage and
    of what follows; ACTIVATIONS and SQUEEZES of each stage, so that there are as many stages; and BLOCKS.
    """

    family: str
    classes: int = 1000
    width_mult: float = 1.0
    stem_stride: int = 2
    strides: Tuple[int, ...] = ()
    dropout: float = 0.1
    bn_eps: float = 1e-5
    bn_decay: float = 0.9

    FAMILY: ClassVar[str]
    BASES: ClassVar[Tuple[int, ...]]
    ACTIVATIONS: ClassVar[Tuple[str, ...]]
    SQUEEZES: ClassVar[Tuple[bool, ...]]
    BLOCKS: ClassVar[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", tuple(self.strides))
        stages = len(self.ACTIVATIONS)
        require_settings(self, self.FAMILY, {
            "width_mult": (0 < self.width_mult <= 8, "positive, and 8 or less"),
            "stem_stride": (self.stem_stride in (1, 2), "1 or 2"),
            "strides": (len(self.strides) == stages and set(self.strides) <= {1, 2},
                        f"{stages} numbers of 1 or 2")})

    def arch(self, text: Text) -> Arch:
        """The subnet of so many blocks "54 76 - - ...", of once-for-all's dict, or of "K7_E6_D4"."""
        return parse_arch(text, self.BLOCKS)

    def once_for_all(self, arch: Arch) -> Dict[str, List[Any]]:
        """The subnet as once-for-all's dict."""
        return to_dict(arch)

    def space(self, name: str) -> Space:
        """The space "K357_E346_D234", or that of one subnet."""
        if str(name).strip().startswith("K"):
            return parse_space(name, self.BLOCKS)
        return Space.of(self.arch(name))

    def widths(self) -> List[int]:
        """BASES times the factor."""
        return [make_divisible(width * self.width_mult) for width in self.BASES]

    def blocks(self, space: Space, arch: Arch) -> List[Layer]:
        """The elastic blocks of `arch` as they read the weights that are stored for `space`."""
        widths = self.widths()
        return [inverted(self._shape(i, widths), cast(Units, choices), cast(Unit, unit))
                for i, (choices, unit) in enumerate(zip(space.blocks, arch.canonical().blocks))]

    def _shape(self, place: int, widths: Sequence[int]) -> Shape:
        """What is fixed of the elastic block at a place."""
        stage, number = divmod(place, LONGEST)
        w_out = widths[stage + 2]
        return Shape(f"blocks/{place + 1}", widths[stage + 1] if number == 0 else w_out, w_out,
                     self.strides[stage] if number == 0 else 1, self.ACTIVATIONS[stage],
                     self.SQUEEZES[stage])
