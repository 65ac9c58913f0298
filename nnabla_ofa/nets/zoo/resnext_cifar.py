"""ResNeXts for images of 32 pixels (Xie et al., CVPR 2017): rows of AnyNet.

resnext29_<C>x<W>d, as kuangliu/pytorch-cifar has them: the stem is a 1x1 convolution; three stages of three
blocks, whose 3x3 has C groups of W, 2 W, 4 W channels, and whose width is twice that.

resnext50, 101 and 152, as weiaicunzai/pytorch-cifar100 has them: stages as of the ResNet for ImageNet, 32
groups of 4, 8, 16, 32 channels. Unlike the paper's, a block's first 1x1 is grouped, too, and the second stage
of resnext152 has 4 blocks.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, Tuple

from .anynet import KUANGLIU, Stage, Stem, anynet, resnet_stages
from .entry import Entry, Rule, in_row

BLOCK = r"stages/(\d+)/(\d+)"
WEIAICUNZAI: Tuple[Rule, ...] = (
    ("stem", lambda: in_row("conv1")),
    (f"{BLOCK}/skip", lambda i, j: in_row(f"conv{i + 2}.{j}.shortcut")),
    (rf"{BLOCK}/(\d)", lambda i, j, k: in_row(f"conv{i + 2}.{j}.split_transforms", 3 * k)),
    ("classifier", lambda: "fc"),
)
PAPER = "Xie et al., CVPR 2017"


def resnext29(groups: int, width: int) -> Entry:
    """kuangliu's of so many groups of so many channels."""
    inner = groups * width
    stages = [Stage(3, 2 * inner * n, stride, inner * n, groups) for n, stride in ((1, 1), (2, 2), (4, 2))]
    return Entry(partial(anynet, stem=Stem(64, 1), stages=stages), PAPER,
                 {f"{place}/ResNeXt29_{groups}x{width}d": KUANGLIU
                  for place in ("pytorch-cifar", "MutableNAS")})


def resnext(depth: int, blocks: Tuple[int, ...]) -> Entry:
    """weiaicunzai's of so many layers."""
    return Entry(partial(anynet, stem=Stem(64), stages=resnet_stages(blocks, 2, 32), grouped=True), PAPER,
                 {f"pytorch-cifar100/resnext{depth}": WEIAICUNZAI}, classes=100)


NETWORKS: Dict[str, Entry] = {
    "resnext29_2x64d_cifar": resnext29(2, 64),
    "resnext29_4x64d_cifar": resnext29(4, 64),
    "resnext29_8x64d_cifar": resnext29(8, 64),
    "resnext29_32x4d_cifar": resnext29(32, 4),
    "resnext50_cifar100": resnext(50, (3, 4, 6, 3)),
    "resnext101_cifar100": resnext(101, (3, 4, 23, 3)),
    "resnext152_cifar100": resnext(152, (3, 4, 36, 3)),
}
