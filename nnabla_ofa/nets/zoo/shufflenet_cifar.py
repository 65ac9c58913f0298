"""ShuffleNet and ShuffleNetV2 for images of 32 pixels, in the forms of two collections.

ShuffleNet of 3 groups (Zhang et al., CVPR 2018), of weiaicunzai/pytorch-cifar100; convolutions have a bias:

    stem    3x3 -> 24, BN, ReLU
    stages  4, 8, 4 units; 240, 480, 960 channels
    head    mean, affine

A unit is a 1x1 of 3 groups, BN, ReLU, the shuffle, a depthwise 3x3, BN, and a 1x1 of 3 groups, BN. Its
input is added. The first unit of a stage has stride 2, and the 3x3 mean of its input beside its output. ReLU
follows.

ShuffleNetV2 (Ma et al., ECCV 2018) of width 1:

    stem    3x3 -> 24, BN, activation
    stages  4, 8, 4 units; 116, 232, 464 channels
    head    1x1 -> 1024, BN, ReLU, mean, affine

A unit leaves the first half of its channels alone, and takes 1x1, BN, ReLU, depthwise 3x3, BN, 1x1, BN,
ReLU of the second; the shuffle follows. The first unit of a stage has stride 2; both sides read all channels,
and the first side is depthwise 3x3, BN, 1x1, BN, ReLU. In kuangliu/pytorch-cifar the stem has a ReLU,
and the first 1x1 of a unit gives half the output's channels. In pytorch-cifar100 the stem has none, that 1x1
keeps the channels in the first unit of a stage, and convolutions have a bias.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import activate, average_pool, channels, classifier, concat, conv, shuffle, split
from .entry import Entry, Rule, in_row

DEPTHS, GROUPS = (4, 8, 4), 3

# ShuffleNet ---------------------------------------------------------------------------------------


def shufflenet(x: nn.Variable, classes: int, mode: Mode) -> nn.Variable:
    """Logits (N, classes) of ShuffleNet."""
    y = conv(x, "stem", 24, 3, mode, bias=True)
    for i, (count, width) in enumerate(zip(DEPTHS, (240, 480, 960))):
        for j in range(count):
            y = unit(y, f"stages/{i}/{j}", width, j == 0, mode)
    return classifier(y, "classifier", classes, mode)


def unit(x: nn.Variable, name: str, width: int, first: bool, mode: Mode) -> nn.Variable:
    """One unit of ShuffleNet; first: of its stage."""
    inner, new = width // 4, width - channels(x, mode) if first else width
    y = shuffle(conv(x, f"{name}/0", inner, 1, mode, groups=GROUPS, bias=True), GROUPS, mode)
    y = conv(y, f"{name}/1", inner, 3, mode, 2 if first else 1, groups=inner, bias=True, act="none")
    y = conv(y, f"{name}/2", new, 1, mode, groups=GROUPS, bias=True, act="none")
    return activate(concat(average_pool(x, 3, mode, pad=1), y, mode=mode) if first else x + y, "relu", mode)


PARTS = ("bottlneck.0.pointwise", "depthwise.depthwise", "expand.pointwise")  # so spelt in the original
V1: Tuple[Rule, ...] = (
    ("stem", lambda: ("conv1.conv", "conv1.bn")),
    (r"stages/(\d)/(\d)/(\d)", lambda i, j, k: in_row(f"stage{i + 2}.{j}.{PARTS[k]}")),
    ("classifier", lambda: "fc"),
)

# ShuffleNetV2 -------------------------------------------------------------------------------------


def shufflenetv2(x: nn.Variable, classes: int, mode: Mode, cifar100: bool = False) -> nn.Variable:
    """Logits (N, classes) of ShuffleNetV2; cifar100: whether of the form of pytorch-cifar100."""
    y = conv(x, "stem", 24, 3, mode, bias=cifar100, act="none" if cifar100 else "relu")
    for i, (count, width) in enumerate(zip(DEPTHS, (116, 232, 464))):
        for j in range(count):
            y = unit_v2(y, f"stages/{i}/{j}", width // 2, j == 0, mode, cifar100)
    return classifier(conv(y, "head", 1024, 1, mode, bias=cifar100), "classifier", classes, mode)


def unit_v2(x: nn.Variable, name: str, half: int, first: bool, mode: Mode, cifar100: bool) -> nn.Variable:
    """One unit of ShuffleNetV2.

    Args:
        x: The trunk.
        name: Of the unit.
        half: Of the channels of its output.
        first: Whether it is the first one of its stage.
        mode: How the graph is built.
        cifar100: Whether in the form of pytorch-cifar100.
    """
    own, stride, bias = channels(x, mode), 2 if first else 1, cifar100
    left, right = (x, x) if first else split(x, (own // 2, own // 2), mode)
    if first:
        left = conv(left, f"{name}/left/0", own, 3, mode, stride, groups=own, bias=bias, act="none")
        left = conv(left, f"{name}/left/1", half, 1, mode, bias=bias)
    inner = own if cifar100 and first else half
    right = conv(right, f"{name}/right/0", inner, 1, mode, bias=bias)
    right = conv(right, f"{name}/right/1", inner, 3, mode, stride, groups=inner, bias=bias, act="none")
    right = conv(right, f"{name}/right/2", half, 1, mode, bias=bias)
    return shuffle(concat(left, right, mode=mode), 2, mode)


LEFT, RIGHT = r"stages/(\d)/(\d)/left/(\d)", r"stages/(\d)/(\d)/right/(\d)"
KUANGLIU: Tuple[Rule, ...] = (
    ("stem", lambda: ("conv1", "bn1")),
    (LEFT, lambda i, j, k: (f"layer{i + 1}.{j}.conv{k + 1}", f"layer{i + 1}.{j}.bn{k + 1}")),
    (r"stages/(\d)/0/right/(\d)", lambda i, k: (f"layer{i + 1}.0.conv{k + 3}", f"layer{i + 1}.0.bn{k + 3}")),
    (RIGHT, lambda i, j, k: (f"layer{i + 1}.{j}.conv{k + 1}", f"layer{i + 1}.{j}.bn{k + 1}")),
    ("head", lambda: ("conv2", "bn2")),
    ("classifier", lambda: "linear"),
)
WEIAICUNZAI: Tuple[Rule, ...] = (
    ("stem", lambda: in_row("pre")),
    (LEFT, lambda i, j, k: in_row(f"stage{i + 2}.{j}.shortcut", 2 * k)),
    (RIGHT, lambda i, j, k: in_row(f"stage{i + 2}.{j}.residual", (0, 3, 5)[k])),
    ("head", lambda: in_row("conv5")),
    ("classifier", lambda: "fc"),
)

PAPER = "Ma et al., ECCV 2018"
NETWORKS: Dict[str, Entry] = {
    "shufflenet_cifar100": Entry(shufflenet, "Zhang et al., CVPR 2018",
                                 {"pytorch-cifar100/shufflenet": V1}, classes=100),
    "shufflenetv2_cifar": Entry(shufflenetv2, PAPER, {"pytorch-cifar/ShuffleNetV2": KUANGLIU,
                                                      "MutableNAS/ShuffleNetV2": KUANGLIU}),
    "shufflenetv2_cifar100": Entry(partial(shufflenetv2, cifar100=True), PAPER,
                                   {"pytorch-cifar100/shufflenetv2": WEIAICUNZAI}, classes=100),
}
