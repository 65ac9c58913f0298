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
from typing import ClassVar, Tuple

from ...layers import Depthwise, Layer, Linear, Residual
from ..arch import Arch, Space
from .mbconv import LONGEST, conv
from .mobile import Mobile


@dataclass(frozen=True)
class ProxylessNAS(Mobile):
    """What fixes a network besides its search space: see `Mobile`."""

    family: str = "proxylessnas"
    width_mult: float = 1.3
    strides: Tuple[int, ...] = (2, 2, 2, 1, 2, 1)
    bn_eps: float = 1e-3

    FAMILY: ClassVar[str] = "proxylessnas"
    BASES: ClassVar[Tuple[int, ...]] = (32, 16, 24, 40, 80, 96, 192, 320, 1280)
    ACTIVATIONS: ClassVar[Tuple[str, ...]] = ("relu6",) * 6
    SQUEEZES: ClassVar[Tuple[bool, ...]] = (False,) * 6
    BLOCKS: ClassVar[int] = 5 * LONGEST + 1

    def layers(self, space: Space, arch: Arch) -> Tuple[Layer, ...]:
        """Every layer of `arch` as it reads the weights that are stored for `space`."""
        space.check(arch)
        widths = self.widths()
        first = Residual((Depthwise("blocks/0/depthwise", widths[0], activation="relu6"),
                          conv("blocks/0/project", widths[0], widths[1], 1)), shortcut="none")
        return (conv("first_conv", 3, widths[0], 3, "relu6", stride=self.stem_stride), first,
                *self.blocks(space, arch), conv("feature_mix", widths[7], widths[8], 1, "relu6"),
                Linear("classifier", widths[8], self.classes, dropout=self.dropout))

    def deciding_blocks(self) -> Tuple[Tuple[int, ...], ...]:
        """For each of `layers` the places of the blocks that it depends on."""
        return ((), (), *((i,) for i in range(self.BLOCKS)), (), ())
