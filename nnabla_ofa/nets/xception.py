"""Elastic Xception41 (Chollet, CVPR 2017; elastic as in Cai et al., ICLR 2020) as a tuple of layers.

    stem    3x3/s -> w0, 3x3 -> w1
    entry   3 x residual [2 separable 3x3, max-pool 3x3/2]            w2, w3, w4
    middle  `middle_blocks` x residual [depth x separable KxK]        w4, inner width expand * w4
    exit    residual [2 separable 3x3, max-pool], separable x 2, mean, affine    w5, w6, w7

Only the middle blocks are elastic. Layers are values: archs with equal first layers share them.
"""

from __future__ import annotations

from typing import Tuple

from ..arch import Arch, Block, Choices, Space
from ..ops import ConvBn, Layer, Linear, Residual, Separable

WIDTHS = (32, 64, 128, 256, 728, 1024, 1536, 2048)


def make_divisible(width: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `width`, never more than 10% below it."""
    nearest = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * width else nearest


def inner_width(width: int, expand: float) -> int:
    """Channels between the layers of a middle block: 728 -> 440 at 0.6, 584 at 0.8, 728 at 1."""
    return make_divisible(round(width * expand), 8) if expand < 1 else width


def layers(config, space: Space, arch: Arch) -> Tuple[Layer, ...]:
    """Every layer of `arch` as it reads the weights that are stored for `space`.

    config: a `supernet.NetConfig`. Raises OfaError when `arch` is outside `space`.
    """
    space.check(arch)
    w = tuple(make_divisible(width * config.width_mult) for width in config.widths)
    middle = tuple(middle_block(f"middle/{i}", w[4], choices, block)
                   for i, (choices, block) in enumerate(zip(space.blocks, arch.blocks)))
    return (ConvBn("stem/0", 3, w[0], 3, config.stem_stride, relu_out=True),
            ConvBn("stem/1", w[0], w[1], 3, relu_out=True),
            downsample("entry/0", w[1], w[2], w[2], relu_first=False),
            downsample("entry/1", w[2], w[3], w[3]),
            downsample("entry/2", w[3], w[4], w[4]),
            *middle,
            downsample("exit/0", w[4], w[4], w[5]),
            plain("exit/1", w[5], w[6], relu_in=False, relu_out=True),
            plain("exit/2", w[6], w[7], relu_in=False, relu_out=True),
            Linear("classifier", w[7], config.classes))


def plain(name: str, w_in: int, w_out: int, relu_in=True, relu_out=False) -> Separable:
    """A separable 3x3 layer that is the same in every subnet."""
    return Separable(name, w_in, w_out, w_in, w_out, relu_in=relu_in, relu_out=relu_out)


def downsample(name: str, w_in: int, w_mid: int, w_out: int, relu_first=True) -> Residual:
    """Two separable layers and a max-pool, beside a 1x1/2 convolution."""
    return Residual((plain(f"{name}/0", w_in, w_mid, relu_in=relu_first),
                     plain(f"{name}/1", w_mid, w_out)),
                    skip=ConvBn(f"{name}/skip", w_in, w_out, 1, 2), pool=True)


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
            restore=ordered and output, segments=segments))
    return Residual(tuple(units))
