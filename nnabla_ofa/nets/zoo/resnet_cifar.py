"""ResNets for images of 32 pixels (He et al., CVPR 2016), as kuangliu/pytorch-cifar has them.

    stem    3x3 -> 64, BN, ReLU
    stages  blocks beside shortcuts; 64, 128, 256, 512 channels (times 4 for bottlenecks), stride 1, 2, 2, 2
    head    mean, affine

A basic block is [3x3, BN, ReLU, 3x3, BN], a bottleneck [1x1, BN, ReLU, 3x3, BN, ReLU, 1x1, BN]; ReLU
follows the sum. The shortcut is a 1x1 convolution with BN where stride or width change, else the identity.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, Sequence, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import channels, classifier, conv
from .entry import Entry, Rule, in_row

WIDTHS, STRIDES = (64, 128, 256, 512), (1, 2, 2, 2)


def resnet(x: nn.Variable, classes: int, mode: Mode, blocks: Sequence[int],
           bottleneck: bool = False) -> nn.Variable:
    """Logits (N, classes).

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        blocks: How many each of the four stages has.
        bottleneck: Whether blocks are bottlenecks.
    """
    y = conv(x, "stem", WIDTHS[0], 3, mode)
    for i, (count, width, stride) in enumerate(zip(blocks, WIDTHS, STRIDES)):
        for j in range(count):
            y = block(y, f"stages/{i}/{j}", width, stride if j == 0 else 1, bottleneck, mode)
    return classifier(y, "classifier", classes, mode)


def block(x: nn.Variable, name: str, width: int, stride: int, bottleneck: bool, mode: Mode) -> nn.Variable:
    """Two convolutions, or three around a narrow 3x3, beside a shortcut."""
    out = 4 * width if bottleneck else width
    same = stride == 1 and channels(x, mode) == out
    shortcut = x if same else conv(x, f"{name}/skip", out, 1, mode, stride, act="none")
    if not bottleneck:
        y = conv(x, f"{name}/0", width, 3, mode, stride)
        return conv(y, f"{name}/1", width, 3, mode, residual=shortcut)
    y = conv(x, f"{name}/0", width, 1, mode)
    y = conv(y, f"{name}/1", width, 3, mode, stride)
    return conv(y, f"{name}/2", out, 1, mode, residual=shortcut)


SKIP, PART = r"stages/(\d+)/(\d+)/skip", r"stages/(\d+)/(\d+)/(\d)"
KUANGLIU: Tuple[Rule, ...] = (
    ("stem", lambda: ("conv1", "bn1")),
    (SKIP, lambda i, j: in_row(f"layer{i + 1}.{j}.shortcut")),
    (PART, lambda i, j, k: (f"layer{i + 1}.{j}.conv{k + 1}", f"layer{i + 1}.{j}.bn{k + 1}")),
    ("classifier", lambda: "linear"),
)
WEIAICUNZAI: Tuple[Rule, ...] = (
    ("stem", lambda: in_row("conv1")),
    (SKIP, lambda i, j: in_row(f"conv{i + 2}_x.{j}.shortcut")),
    (PART, lambda i, j, k: in_row(f"conv{i + 2}_x.{j}.residual_function", 3 * k)),
    ("classifier", lambda: "fc"),
)


def entry(depth: int, blocks: Sequence[int], bottleneck: bool = False) -> Entry:
    """The ResNet of so many layers."""
    return Entry(partial(resnet, blocks=blocks, bottleneck=bottleneck), "He et al., CVPR 2016",
                 {f"pytorch-cifar/ResNet{depth}": KUANGLIU, f"MutableNAS/ResNet{depth}": KUANGLIU,
                  f"pytorch-cifar100/resnet{depth}": WEIAICUNZAI}, fused=True)


NETWORKS: Dict[str, Entry] = {
    "resnet18_cifar": entry(18, (2, 2, 2, 2)),
    "resnet34_cifar": entry(34, (3, 4, 6, 3)),
    "resnet50_cifar": entry(50, (3, 4, 6, 3), bottleneck=True),
    "resnet101_cifar": entry(101, (3, 4, 23, 3), bottleneck=True),
    "resnet152_cifar": entry(152, (3, 8, 36, 3), bottleneck=True),
}
