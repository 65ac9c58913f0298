"""MobileNet and MobileNetV2 for images of 32 pixels, in the forms of two collections.

MobileNet (Howard et al., 2017, arXiv 1704.04861):

    stem    3x3 -> 32, BN, ReLU
    blocks  thirteen: depthwise 3x3, BN, ReLU, 1x1, BN, ReLU
    head    mean, affine

The 1x1 convolutions of weiaicunzai/pytorch-cifar100 have a bias, those of kuangliu/pytorch-cifar none.

MobileNetV2 (Sandler et al., CVPR 2018):

    stem    3x3 -> 32, BN, activation
    blocks  seventeen: 1x1 -> more channels, BN, activation, depthwise 3x3, BN, activation, 1x1, BN
    head    1x1 -> 1280, BN, activation, mean, affine

In kuangliu/pytorch-cifar the activation is ReLU, and every block of stride 1 has a shortcut: 1x1 and BN where
the width changes. In weiaicunzai/pytorch-cifar100 it is ReLU6, and blocks that keep stride and width have a
shortcut; convolutions have a bias; the stem is a 1x1 on padded images; the classifier is a convolution.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, Optional, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import channels, classifier, conv, flatten, global_mean
from .entry import Entry, Rule, in_row

# MobileNet ----------------------------------------------------------------------------------------

BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


def mobilenet(x: nn.Variable, classes: int, mode: Mode, bias: bool = False) -> nn.Variable:
    """Logits (N, classes); bias: whether the 1x1 convolutions have one."""
    y = conv(x, "stem", 32, 3, mode)
    for i, (width, stride) in enumerate(BLOCKS):
        own = channels(y, mode)
        y = conv(y, f"blocks/{i}/depthwise", own, 3, mode, stride, groups=own)
        y = conv(y, f"blocks/{i}/pointwise", width, 1, mode, bias=bias)
    return classifier(y, "classifier", classes, mode)


DEPTHWISE, POINTWISE = r"blocks/(\d+)/depthwise", r"blocks/(\d+)/pointwise"
KUANGLIU: Tuple[Rule, ...] = (
    ("stem", lambda: ("conv1", "bn1")),
    (DEPTHWISE, lambda i: (f"layers.{i}.conv1", f"layers.{i}.bn1")),
    (POINTWISE, lambda i: (f"layers.{i}.conv2", f"layers.{i}.bn2")),
    ("classifier", lambda: "linear"),
)
PLACES = ("stem.1", *(f"conv{stage}.{i}" for stage, count in ((1, 2), (2, 2), (3, 6), (4, 2))
                      for i in range(count)))
WEIAICUNZAI: Tuple[Rule, ...] = (
    ("stem", lambda: ("stem.0.conv", "stem.0.bn")),
    (DEPTHWISE, lambda i: in_row(f"{PLACES[i]}.depthwise")),
    (POINTWISE, lambda i: in_row(f"{PLACES[i]}.pointwise")),
    ("classifier", lambda: "fc"),
)

# MobileNetV2 --------------------------------------------------------------------------------------

WIDTHS, DEPTHS = (16, 24, 32, 64, 96, 160, 320), (1, 2, 3, 4, 3, 3, 1)


def mobilenetv2(x: nn.Variable, classes: int, mode: Mode) -> nn.Variable:
    """Logits (N, classes) of the form of pytorch-cifar."""
    y = conv(x, "stem", 32, 3, mode)
    for i, stride in enumerate((1, 1, 2, 2, 1, 2, 1)):
        for j in range(DEPTHS[i]):
            name, own = f"stages/{i}/{j}", stride if j == 0 else 1
            shortcut = y if own == 1 else None
            if shortcut is not None and channels(y, mode) != WIDTHS[i]:
                shortcut = conv(y, f"{name}/skip", WIDTHS[i], 1, mode, act="none")
            y = inverted(y, name, WIDTHS[i], i > 0, own, mode, "relu", shortcut)
    return classifier(conv(y, "head", 1280, 1, mode), "classifier", classes, mode)


def mobilenetv2_cifar100(x: nn.Variable, classes: int, mode: Mode) -> nn.Variable:
    """Logits (N, classes) of the form of pytorch-cifar100."""
    y = conv(x, "stem", 32, 1, mode, pad=1, bias=True, act="relu6")
    for i, stride in enumerate((1, 2, 2, 2, 1, 1, 1)):
        for j in range(DEPTHS[i]):
            own = stride if j == 0 else 1
            same = own == 1 and channels(y, mode) == WIDTHS[i]
            y = inverted(y, f"stages/{i}/{j}", WIDTHS[i], i > 0, own, mode, "relu6", y if same else None,
                         bias=True)
    y = global_mean(conv(y, "head", 1280, 1, mode, bias=True, act="relu6"), mode, keep=True)
    y = conv(y, "classifier", classes, 1, mode, bias=True, bn=False, act="none", scores=True)
    return flatten(y, mode)


def inverted(x: nn.Variable, name: str, width: int, expand: bool, stride: int, mode: Mode, act: str,
             shortcut: Optional[nn.Variable], bias: bool = False) -> nn.Variable:
    """The convolutions of an inverted residual block.

    Args:
        x: The trunk.
        name: Of the block.
        width: Channels of its output.
        expand: Whether the depthwise convolution has six times the input's channels, or as many.
        stride: Of the depthwise convolution, in pixels.
        mode: How the graph is built.
        act: The activation of the first two.
        shortcut: What is added to the last, or None.
        bias: Whether they have one.
    """
    inner = channels(x, mode) * (6 if expand else 1)
    y = conv(x, f"{name}/0", inner, 1, mode, bias=bias, act=act)
    y = conv(y, f"{name}/1", inner, 3, mode, stride, groups=inner, bias=bias, act=act)
    return conv(y, f"{name}/2", width, 1, mode, bias=bias, act="none", residual=shortcut)


def stage(i: int, j: int) -> str:
    """A block of V2 in pytorch-cifar100, which does not number those that are a stage's only one."""
    return f"stage{i + 1}.{j}" if DEPTHS[i] > 1 else f"stage{i + 1}"


SKIP, PART = r"stages/(\d)/(\d)/skip", r"stages/(\d)/(\d)/(\d)"
KUANGLIU_V2: Tuple[Rule, ...] = (
    ("stem", lambda: ("conv1", "bn1")),
    (SKIP, lambda i, j: in_row(f"layers.{sum(DEPTHS[:i]) + j}.shortcut")),
    (PART, lambda i, j, k: (f"layers.{sum(DEPTHS[:i]) + j}.conv{k + 1}",
                            f"layers.{sum(DEPTHS[:i]) + j}.bn{k + 1}")),
    ("head", lambda: ("conv2", "bn2")),
    ("classifier", lambda: "linear"),
)
WEIAICUNZAI_V2: Tuple[Rule, ...] = (
    ("stem", lambda: in_row("pre")),
    (PART, lambda i, j, k: in_row(f"{stage(i, j)}.residual", 3 * k)),
    ("head", lambda: in_row("conv1")),
    ("classifier", lambda: "conv2"),
)

V1_PAPER, V2_PAPER = "Howard et al., 2017", "Sandler et al., CVPR 2018"
NETWORKS: Dict[str, Entry] = {
    "mobilenet_cifar": Entry(mobilenet, V1_PAPER, {"pytorch-cifar/MobileNet": KUANGLIU,
                                                   "MutableNAS/MobileNet": KUANGLIU}),
    "mobilenet_cifar100": Entry(partial(mobilenet, bias=True), V1_PAPER,
                                {"pytorch-cifar100/mobilenet": WEIAICUNZAI}, classes=100),
    "mobilenetv2_cifar": Entry(mobilenetv2, V2_PAPER, {"pytorch-cifar/MobileNetV2": KUANGLIU_V2,
                                                       "MutableNAS/MobileNetV2": KUANGLIU_V2}),
    "mobilenetv2_cifar100": Entry(mobilenetv2_cifar100, V2_PAPER,
                                  {"pytorch-cifar100/mobilenetv2": WEIAICUNZAI_V2}, classes=100),
}
