"""EfficientNets (Tan and Le, ICML 2019): B0 to B5 of facebookresearch/pycls, and a B0 for 32 pixels.

    stem    3x3, BN, swish
    stages  seven of blocks [1x1 -> 6 times the channels, BN, swish, depthwise, BN, swish,
            squeeze and excitation, 1x1, BN]; the input is added where stride and width are kept
    head    1x1, BN, swish, mean, dropout, affine

Squeeze and excitation multiplies each channel by sigmoid(1x1(swish(1x1(mean)))), narrow between: a quarter
of the channels of the block's input. The first stage does not widen.

The B0 of kuangliu/pytorch-cifar has a stem of stride 1, no 1x1 in the head, and stores the first block's
1x1 without using it.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, NamedTuple, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.conv import Conv
from ...layers.functional import channels, classifier, conv, drop_path, idle, squeeze_excite
from .entry import Entry, Rule

KERNELS, STRIDES = (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 2, 1, 2, 1)


class Size(NamedTuple):
    """What the members of the family differ in: channels of stem, stages and head, blocks of each stage."""

    stem: int
    depths: Tuple[int, ...]
    widths: Tuple[int, ...]
    head: int


SIZES = (
    Size(32, (1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320), 1280),
    Size(32, (2, 3, 3, 4, 4, 5, 2), (16, 24, 40, 80, 112, 192, 320), 1280),
    Size(32, (2, 3, 3, 4, 4, 5, 2), (16, 24, 48, 88, 120, 208, 352), 1408),
    Size(40, (2, 3, 3, 5, 5, 6, 2), (24, 32, 48, 96, 136, 232, 384), 1536),
    Size(48, (2, 4, 4, 6, 6, 8, 2), (24, 32, 56, 112, 160, 272, 448), 1792),
    Size(48, (3, 5, 5, 7, 7, 9, 3), (24, 40, 64, 128, 176, 304, 512), 2048),
)


def efficientnet(x: nn.Variable, classes: int, mode: Mode, size: Size, dropout: float = 0.0,
                 drop_path: float = 0.0) -> nn.Variable:
    """Logits (N, classes).

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        size: Which of the family.
        dropout: Rate before the classifier, in [0, 1).
        drop_path: Rate of every branch beside an identity, in [0, 1).
    """
    y = conv(x, "stem", size.stem, 3, mode, 2, act="swish")
    y = conv(stages(y, mode, size, drop_path), "head", size.head, 1, mode, act="swish")
    return classifier(y, "classifier", classes, mode, dropout)


def efficientnet_cifar(x: nn.Variable, classes: int, mode: Mode, dropout: float = 0.2,
                       drop_path: float = 0.0) -> nn.Variable:
    """Logits (N, classes) of the B0 for 32 pixels; dropout, drop_path: as of `efficientnet`."""
    y = conv(x, "stem", 32, 3, mode, act="swish")
    idle(Conv("stages/0/0/expand", 32, 32, (1, 1)), mode)
    return classifier(stages(y, mode, SIZES[0], drop_path), "classifier", classes, mode, dropout)


def stages(x: nn.Variable, mode: Mode, size: Size, rate: float) -> nn.Variable:
    """All blocks; rate: of drop_path."""
    for i, (depth, width, kernel, stride) in enumerate(zip(size.depths, size.widths, KERNELS, STRIDES)):
        for j in range(depth):
            name, own = f"stages/{i}/{j}", stride if j == 0 else 1
            y = block(x, name, width, kernel, own, i > 0, mode)
            same = own == 1 and channels(x, mode) == width
            x = x + drop_path(y, name, rate, mode) if same else y
    return x


def block(x: nn.Variable, name: str, width: int, kernel: int, stride: int, expand: bool, mode: Mode
          ) -> nn.Variable:
    """The branch of an inverted residual block with squeeze and excitation.

    Args:
        x: The trunk.
        name: Of the block.
        width: Channels of its output.
        kernel, stride: Of the depthwise convolution, in pixels.
        expand: Whether that has six times the input's channels.
        mode: How the graph is built.
    """
    own = channels(x, mode)
    inner = 6 * own if expand else own
    y = conv(x, f"{name}/expand", inner, 1, mode, act="swish") if expand else x
    y = conv(y, f"{name}/depthwise", inner, kernel, mode, stride, groups=inner, act="swish")
    y = squeeze_excite(y, f"{name}/se", own // 4, mode, act="swish")
    return conv(y, f"{name}/project", width, 1, mode, act="none")


EXPAND, DEPTHWISE, SE, PROJECT = (rf"stages/(\d)/(\d)/{part}" for part in ("expand", "depthwise", r"se/(\d)",
                                                                           "project"))
PYCLS: Tuple[Rule, ...] = (
    ("stem", lambda: ("stem.conv", "stem.bn")),
    (EXPAND, lambda i, j: (f"s{i + 1}.b{j + 1}.exp", f"s{i + 1}.b{j + 1}.exp_bn")),
    (DEPTHWISE, lambda i, j: (f"s{i + 1}.b{j + 1}.dwise", f"s{i + 1}.b{j + 1}.dwise_bn")),
    (SE, lambda i, j, k: f"s{i + 1}.b{j + 1}.se.f_ex.{2 * k}"),
    (PROJECT, lambda i, j: (f"s{i + 1}.b{j + 1}.lin_proj", f"s{i + 1}.b{j + 1}.lin_proj_bn")),
    ("head", lambda: ("head.conv", "head.conv_bn")),
    ("classifier", lambda: "head.fc"),
)


def layer(i: int, j: int) -> str:
    """A block in pytorch-cifar, which counts the blocks of all stages."""
    return f"layers.{sum(SIZES[0].depths[:i]) + j}"


KUANGLIU: Tuple[Rule, ...] = (
    ("stem", lambda: ("conv1", "bn1")),
    (EXPAND, lambda i, j: (f"{layer(i, j)}.conv1", f"{layer(i, j)}.bn1")),
    (DEPTHWISE, lambda i, j: (f"{layer(i, j)}.conv2", f"{layer(i, j)}.bn2")),
    (SE, lambda i, j, k: f"{layer(i, j)}.se.se{k + 1}"),
    (PROJECT, lambda i, j: (f"{layer(i, j)}.conv3", f"{layer(i, j)}.bn3")),
    ("classifier", lambda: "linear"),
)
PAPER = "Tan and Le, ICML 2019"
NETWORKS: Dict[str, Entry] = {
    **{f"efficientnet_b{i}": Entry(partial(efficientnet, size=size), PAPER, {f"pycls/EN-B{i}": PYCLS},
                                   image_size=side, classes=1000)
       for i, (size, side) in enumerate(zip(SIZES, (224, 240, 260, 300, 380, 456)))},
    "efficientnetb0_cifar": Entry(efficientnet_cifar, PAPER,
                                  {"pytorch-cifar/EfficientNetB0": KUANGLIU,
                                   "MutableNAS/EfficientNetB0": KUANGLIU}),
}
