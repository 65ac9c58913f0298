"""ResNets for images of 32 pixels (He et al., CVPR 2016), as kuangliu/pytorch-cifar has them.

    stem    3x3 -> 64, BN, ReLU
    stages  blocks beside shortcuts; 64, 128, 256, 512 channels (times 4 for bottlenecks), stride 1, 2, 2, 2
    head    mean, affine

A basic block is [3x3, BN, ReLU, 3x3, BN], a bottleneck [1x1, BN, ReLU, 3x3, BN, ReLU, 1x1, BN]; ReLU
follows the sum. The shortcut is a 1x1 convolution with BN where stride or width change, else the identity.
ResNet-20 is that of section 4.2: 16, 32, 64 channels.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, Iterator, Optional, Sequence, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import channels, classifier, conv
from .entry import Entry, Rule, in_row

WIDTHS, STRIDES = (64, 128, 256, 512), (1, 2, 2, 2)
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def resnet(x: nn.Variable, classes: int, mode: Mode, blocks: Sequence[int], bottleneck: bool = False,
           widths: Sequence[int] = WIDTHS) -> nn.Variable:
    """Logits (N, classes).

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        blocks: How many each stage has.
        bottleneck: Whether blocks are bottlenecks.
        widths: Channels of each stage; of the 3x3 in bottlenecks.
    """
    y = conv(x, "stem", widths[0], 3, mode)
    for name, width, stride in plan(blocks, widths):
        out = 4 * width if bottleneck else width
        shortcut = projected(y, f"{name}/skip", out, stride, mode)
        y = residual(y, name, width, stride, bottleneck, mode, shortcut=shortcut)
    return classifier(y, "classifier", classes, mode)


def plan(blocks: Sequence[int], widths: Sequence[int] = WIDTHS) -> Iterator[Tuple[str, int, int]]:
    """Name, width and stride of each block; from the second stage on the first block halves the image."""
    for i, (count, width, stride) in enumerate(zip(blocks, widths, STRIDES)):
        for j in range(count):
            yield f"stages/{i}/{j}", width, stride if j == 0 else 1


def projected(x: nn.Variable, name: str, width: int, stride: int, mode: Mode, bias: bool = False
              ) -> nn.Variable:
    """The shortcut: `x` itself, or where stride or width change [1x1, BN]; bias: of the convolution."""
    if stride == 1 and channels(x, mode) == width:
        return x
    return conv(x, name, width, 1, mode, stride, bias=bias, act="none")


def residual(x: nn.Variable, name: str, width: int, stride: int, bottleneck: bool, mode: Mode,
             bias: bool = False, act: str = "relu", shortcut: Optional[nn.Variable] = None) -> nn.Variable:
    """Two 3x3 convolutions, or a 3x3 between two 1x1, the last four times as wide.

    Args:
        x: The trunk.
        name: Of the block.
        width: Channels; of the 3x3 in a bottleneck.
        stride: Of the first 3x3.
        bottleneck: Which of the two.
        mode: How the graph is built.
        bias: Of the convolutions.
        act: The last activation.
        shortcut: What is added before it.
    """
    if not bottleneck:
        y = conv(x, f"{name}/0", width, 3, mode, stride, bias=bias)
        return conv(y, f"{name}/1", width, 3, mode, bias=bias, act=act, residual=shortcut)
    y = conv(x, f"{name}/0", width, 1, mode, bias=bias)
    y = conv(y, f"{name}/1", width, 3, mode, stride, bias=bias)
    return conv(y, f"{name}/2", 4 * width, 1, mode, bias=bias, act=act, residual=shortcut)


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


def entry(depth: int) -> Entry:
    """The ResNet of so many layers."""
    return Entry(partial(resnet, blocks=DEPTHS[depth], bottleneck=depth >= 50), "He et al., CVPR 2016",
                 {f"pytorch-cifar/ResNet{depth}": KUANGLIU, f"MutableNAS/ResNet{depth}": KUANGLIU,
                  f"pytorch-cifar100/resnet{depth}": WEIAICUNZAI})


NETWORKS: Dict[str, Entry] = {
    **{f"resnet{depth}_cifar": entry(depth) for depth in DEPTHS},
    "resnet20_cifar": Entry(partial(resnet, blocks=(3, 3, 3), widths=(16, 32, 64)), "He et al., CVPR 2016",
                            {"MutableNAS/resnet20": KUANGLIU}),
}
