"""Elastic ResNet50-D (He et al., CVPR 2016 and 2019; Cai et al., ICLR 2020) as a tuple of layers.

    stem     3x3/2 -> m, BN, ReLU; x + [3x3, BN, ReLU](x), unless left out; 3x3 -> w, BN, ReLU;
             max-pool 3x3/2
    stages   four of 2 to 4, 2 to 4, 4 to 6, 2 to 4 bottlenecks: 1x1, BN, ReLU, 3x3/s, BN, ReLU, 1x1, BN,
             + shortcut, ReLU; stride 1, 2, 2, 2
    head     mean, dropout, affine

The shortcut of a stage's first block is [mean of 2x2 pixels where the stride is 2, 1x1, BN]; else the input
itself. The width between a bottleneck's 1x1 convolutions is `ratio` times the active width of its stage.

Names of subnets and spaces are in bottlenecks.py. It is the network of once-for-all's ofa_resnet50.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple, cast

from ...layers import Absent, ConvBn, Layer, Linear, MaxPool, Residual
from ..arch import Arch, Space, Text
from .bottlenecks import LEAST, MORE, Bottleneck, Bottlenecks, Width, Widths, parse_arch, parse_space, to_dict
from .settings import require_settings
from .widths import make_divisible

STEM, STAGE_WIDTHS = 64, (256, 512, 1024, 2048)


@dataclass(frozen=True)
class OfaResNet50:
    """What fixes a network besides its search space.

    stage_widths: of the four stages at factor 1. stem_stride: of the first convolution, 1 or 2. stem_pool:
    whether max-pooling follows the stem. dropout: rate in [0, 1) before the classifier. bn_eps, bn_decay: of
    every BN; the latter only of running statistics.
    """

    family: str = "ofa_resnet50"
    classes: int = 1000
    stage_widths: Tuple[int, ...] = STAGE_WIDTHS
    stem_stride: int = 2
    stem_pool: bool = True
    dropout: float = 0.0
    bn_eps: float = 1e-5
    bn_decay: float = 0.9

    def __post_init__(self) -> None:
        object.__setattr__(self, "stage_widths", tuple(self.stage_widths))
        require_settings(self, "ofa_resnet50", {
            "stage_widths": (len(self.stage_widths) == 4 and min(self.stage_widths) >= 8,
                             "four widths of 8 or more"),
            "stem_stride": (self.stem_stride in (1, 2), "1 or 2")})

    def arch(self, text: Text) -> Arch:
        """The subnet of 24 words, of once-for-all's dict, or of "D2_E0.35_W1"."""
        return parse_arch(text)

    def once_for_all(self, arch: Arch) -> Dict[str, List[Any]]:
        """The subnet as once-for-all's dict."""
        return to_dict(arch)

    def space(self, name: str) -> Space:
        """The space "D012_E0.2+0.25+0.35_W0.65+0.8+1", or that of one subnet."""
        return parse_space(name) if str(name).strip().startswith("D") else Space.of(self.arch(name))

    def layers(self, space: Space, arch: Arch) -> Tuple[Layer, ...]:
        """Every layer of `arch` as it reads the weights that are stored for `space`."""
        space.check(arch)
        chosen, stored = arch.canonical().blocks, space.blocks
        mid, top = cast(Width, chosen[0]), cast(Width, chosen[1])
        mids, tops = (cast(Widths, own).factors for own in stored[:2])
        layers: List[Layer] = [*self._stem(mid, top, mids, tops)]
        w_in, ins = _scaled(STEM, top.factor), _scaled_all(STEM, tops)
        place, reads = 2, "stem/out"
        for stage, (least, width) in enumerate(zip(LEAST, self.stage_widths)):
            factors, writes = cast(Widths, stored[place]).factors, f"stages/{stage}/out"
            w_out, outs = _scaled(width, cast(Width, chosen[place]).factor), _scaled_all(width, factors)
            for number in range(least + MORE):
                at = place + 1 + number
                block, choices = cast(Bottleneck, chosen[at]), cast(Bottlenecks, stored[at])
                if not block.ratio:
                    layers.append(Absent())
                    continue
                layers.append(bottleneck(
                    f"stages/{stage}/{number}", Flow(w_in, w_out, ins, outs, reads, writes),
                    make_divisible(round(w_out * block.ratio)),
                    tuple(sorted({make_divisible(round(out * ratio)) for out in outs
                                  for ratio in choices.ratios})),
                    2 if stage > 0 and number == 0 else 1, number == 0))
                w_in, ins, reads = w_out, outs, writes
            place += 1 + least + MORE
        return (*layers, Linear("classifier", w_in, self.classes, ins[-1], reads, self.dropout))

    def _stem(self, mid: Width, top: Width, mids: Sequence[float], tops: Sequence[float]
              ) -> Tuple[Layer, ...]:
        """Its three convolutions and its pooling."""
        inner, inners = (make_divisible(_scaled(STEM, mid.factor) // 2),
                         tuple(make_divisible(width // 2) for width in _scaled_all(STEM, mids)))
        segments = tuple(sorted(set(inners)))
        within = ConvBn("stem/1", inner, inner, 3, 1, True, inners[-1], inners[-1], segments,
                        "stem/mid", "stem/mid")
        width = _scaled(STEM, top.factor)
        return (ConvBn("stem/0", 3, inner, 3, self.stem_stride, True, 0, inners[-1], segments,
                       writes="stem/mid"),
                Residual((within,), shortcut="after") if mid.residual else Absent(),
                ConvBn("stem/2", inner, width, 3, 1, True, inners[-1], _scaled(STEM, tops[-1]),
                       _scaled_all(STEM, tops), "stem/mid", "stem/out"),
                MaxPool() if self.stem_pool else Absent())

    def deciding_blocks(self) -> Tuple[Tuple[int, ...], ...]:
        """For each of `layers` the places of the choices that it depends on."""
        found: List[Tuple[int, ...]] = [(0,), (0,), (0, 1), (1,)]
        place, before = 2, 1
        for least in LEAST:
            found += [(before, place, place + 1), *((place, place + 1 + i) for i in range(1, least + MORE))]
            before, place = place, place + 1 + least + MORE
        return (*found, (before,))


def _scaled(width: int, factor: float) -> int:
    return make_divisible(width * factor)


def _scaled_all(width: int, factors: Sequence[float]) -> Tuple[int, ...]:
    return tuple(sorted({make_divisible(width * factor) for factor in factors}))


@dataclass(frozen=True)
class Flow:
    """Channels that come and go: active widths, the widths of the space, and the names sorting knows."""

    w_in: int
    w_out: int
    ins: Tuple[int, ...]
    outs: Tuple[int, ...]
    reads: str
    writes: str


def bottleneck(name: str, flow: Flow, inner: int, inners: Tuple[int, ...], stride: int, first: bool) -> Layer:
    """A block; the first one of a stage has a convolution in its shortcut.

    Args:
        name: Of the block.
        flow: Its channels.
        inner, inners: Active width between its 1x1 convolutions, and the widths of the space there.
        stride: Of its 3x3 convolution.
        first: Whether it is its stage's first one.
    """
    before, after = f"{name}/0", f"{name}/1"
    units = (ConvBn(before, flow.w_in, inner, 1, 1, True, flow.ins[-1], inners[-1], inners, flow.reads,
                    before),
             ConvBn(after, inner, inner, 3, stride, True, inners[-1], inners[-1], inners, before, after),
             ConvBn(f"{name}/2", inner, flow.w_out, 1, 1, True, inners[-1], flow.outs[-1], flow.outs, after,
                    flow.writes))
    skip = ConvBn(f"{name}/skip", flow.w_in, flow.w_out, 1, 1, False, flow.ins[-1], flow.outs[-1], flow.outs,
                  flow.reads, flow.writes, mean_pool=stride)
    return Residual(units, skip=skip if first else None)
