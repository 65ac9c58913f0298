"""Elastic MobileNetV3 (Howard et al., ICCV 2019; elastic as in Cai et al., ICLR 2020) as a tuple of layers.

    first_conv    3x3/2 -> w0, BN, h-swish
    blocks/0      depthwise 3x3, BN, ReLU, 1x1 -> w1, BN, + input where w0 = w1
    blocks/1..20  five stages of up to four inverted residual blocks (mbconv.py)        w2 .. w6
    final_expand  1x1 -> w7, BN, h-swish
    feature_mix   mean, 1x1 -> w8, h-swish
    classifier    dropout, affine

It is the network of once-for-all's ofa_mbv3_d234_e346_k357_w1.0 and w1.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Tuple

from ...layers import Depthwise, FeatureMix, Layer, Linear, Residual
from ..arch import Arch, Space
from .mbconv import LONGEST, conv
from .mobile import Mobile


@dataclass(frozen=True)
class MobileNetV3(Mobile):
    """What fixes a network besides its search space: see `Mobile`."""

    family: str = "mobilenetv3"
    strides: Tuple[int, ...] = (2, 2, 2, 1, 2)

    FAMILY: ClassVar[str] = "mobilenetv3"
    BASES: ClassVar[Tuple[int, ...]] = (16, 16, 24, 40, 80, 112, 160, 960, 1280)
    ACTIVATIONS: ClassVar[Tuple[str, ...]] = ("relu", "relu", "hard_swish", "hard_swish", "hard_swish")
    SQUEEZES: ClassVar[Tuple[bool, ...]] = (False, True, False, True, True)
    BLOCKS: ClassVar[int] = 5 * LONGEST

    def layers(self, space: Space, arch: Arch) -> Tuple[Layer, ...]:
        """Every layer of `arch` as it reads the weights that are stored for `space`."""
        space.check(arch)
        widths = self.widths()
        first = Residual((Depthwise("blocks/0/depthwise", widths[0]),
                          conv("blocks/0/project", widths[0], widths[1], 1)),
                         shortcut="within" if widths[0] == widths[1] else "none")
        return (conv("first_conv", 3, widths[0], 3, "hard_swish", stride=self.stem_stride), first,
                *self.blocks(space, arch), conv("final_expand", widths[6], widths[7], 1, "hard_swish"),
                FeatureMix("feature_mix", widths[7], widths[8]),
                Linear("classifier", widths[8], self.classes, dropout=self.dropout))

    def deciding_blocks(self) -> Tuple[Tuple[int, ...], ...]:
        """For each of `layers` the places of the blocks that it depends on."""
        return ((), (), *((i,) for i in range(self.BLOCKS)), (), (), ())
