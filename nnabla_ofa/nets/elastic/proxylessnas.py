"""Elastic ProxylessNAS (Cai et al., ICLR 2019; elastic as in Cai et al., ICLR 2020) as a tuple of layers.

    first_conv    3x3/2 -> w0, BN, ReLU6
    blocks/0      depthwise 3x3, BN, ReLU6, 1x1 -> w1, BN
    blocks/1..20  five stages of up to four inverted residual blocks (mbconv.py)        w2 .. w6
    blocks/21     one more, of width w7, never absent
    feature_mix   1x1 -> w8, BN, ReLU6
    classifier    mean, dropout, affine

It is the network of once-for-all's ofa_proxyless_d234_e346_k357_w1.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple, cast

from ...errors import require
from ...layers import Depthwise, Layer, Linear, Residual
from ..arch import Arch, Space, Text
from .mbconv import LONGEST, Shape, Unit, Units, conv, inverted, parse_arch, parse_space, to_dict
from .widths import make_divisible

WIDTHS = (32, 16, 24, 40, 80, 96, 192, 320, 1280)
STAGES = 6
BLOCKS = (STAGES - 1) * LONGEST + 1


@dataclass(frozen=True)
class ProxylessNAS:
    """What fixes a network besides its search space; as of `MobileNetV3`."""

    family: str = "proxylessnas"
    classes: int = 1000
    width_mult: float = 1.3
    stem_stride: int = 2
    strides: Tuple[int, ...] = (2, 2, 2, 1, 2, 1)
    dropout: float = 0.1
    bn_eps: float = 1e-3
    bn_decay: float = 0.9

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", tuple(self.strides))
        require(self, "net", {
            "family": (self.family == "proxylessnas", "proxylessnas"),
            "classes": (self.classes >= 1, "1 or more"),
            "width_mult": (0 < self.width_mult <= 8, "positive, and 8 or less"),
            "stem_stride": (self.stem_stride in (1, 2), "1 or 2"),
            "strides": (len(self.strides) == STAGES and set(self.strides) <= {1, 2},
                        f"{STAGES} numbers of 1 or 2"),
            "dropout": (0 <= self.dropout < 1, "in [0, 1)"),
            "bn_eps": (self.bn_eps > 0, "positive"),
            "bn_decay": (0 <= self.bn_decay < 1, "in [0, 1)")})

    @property
    def fused(self) -> bool:
        """Whether the fused CPU functions serve it by default."""
        return True

    def arch(self, text: Text) -> Arch:
        """The subnet of 21 blocks "54 76 - - ...", of once-for-all's dict, or of "K7_E6_D4"."""
        return parse_arch(text, BLOCKS)

    def once_for_all(self, arch: Arch) -> Dict[str, List[Any]]:
        """The subnet as once-for-all's dict."""
        return to_dict(arch)

    def space(self, name: str) -> Space:
        """The space "K357_E346_D234", or that of one subnet."""
        if str(name).strip().startswith("K"):
            return parse_space(name, BLOCKS)
        return Space.of(self.arch(name))

    def layers(self, space: Space, arch: Arch) -> Tuple[Layer, ...]:
        """Every layer of `arch` as it reads the weights that are stored for `space`."""
        space.check(arch)
        widths = [make_divisible(width * self.width_mult) for width in WIDTHS]
        units = cast(Tuple[Unit, ...], arch.canonical().blocks)
        first = Residual((Depthwise("blocks/0/depthwise", widths[0], activation="relu6"),
                          conv("blocks/0/project", widths[0], widths[1], 1)), shortcut="none")
        blocks = (inverted(self._shape(i, widths), cast(Units, space.blocks[i]), unit)
                  for i, unit in enumerate(units))
        return (conv("first_conv", 3, widths[0], 3, "relu6", stride=self.stem_stride), first, *blocks,
                conv("feature_mix", widths[7], widths[8], 1, "relu6"),
                Linear("classifier", widths[8], self.classes, dropout=self.dropout))

    def _shape(self, place: int, widths: Sequence[int]) -> Shape:
        """What is fixed of the elastic block at a place."""
        stage, number = divmod(place, LONGEST)
        w_out = widths[stage + 2]
        return Shape(f"blocks/{place + 1}", widths[stage + 1] if number == 0 else w_out, w_out,
                     self.strides[stage] if number == 0 else 1, "relu6")

    def deciding_blocks(self) -> Tuple[Tuple[int, ...], ...]:
        """For each of `layers` the places of the blocks that it depends on."""
        return ((), (), *((i,) for i in range(BLOCKS)), (), ())
