"""VGG with BN for images of 32 pixels (Simonyan and Zisserman, ICLR 2015), in the forms of two collections.

    stages  3x3 with bias, BN, ReLU; 64, 128, 256, 512, 512 channels; 2x2 maximum at the end of each
    head    affine in kuangliu/pytorch-cifar and MutableNAS;
            affine -> 4096, ReLU, affine -> 4096, ReLU, affine in weiaicunzai/pytorch-cifar100

The stages leave one pixel of an image of 32. We take the mean over more, where the originals accept no
larger image.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, Sequence, Tuple

import nnabla as nn

from ...layers import Mode, functional
from .entry import Entry, Rule, in_row

WIDTHS = (64, 128, 256, 512, 512)


def vgg(x: nn.Variable, classes: int, mode: Mode, blocks: Sequence[int]) -> nn.Variable:
    """Logits (N, classes), of one affine layer; blocks: how many convolutions each stage has."""
    return functional.classifier(stages(x, mode, blocks), "classifier", classes, mode)


def vgg_cifar100(x: nn.Variable, classes: int, mode: Mode, blocks: Sequence[int],
                 dropout: float = 0.5) -> nn.Variable:
    """Logits (N, classes), of three affine layers.

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        blocks: How many convolutions each of the five stages has.
        dropout: Rate after each hidden affine layer, in [0, 1).
    """
    y = functional.global_mean(stages(x, mode, blocks), mode)
    for i in range(2):
        y = functional.dense(y, f"hidden/{i}", 4096, mode, act="relu")
        y = functional.dropout(y, f"hidden/{i}", dropout, mode)
    return functional.dense(y, "classifier", classes, mode, scores=True)


def stages(x: nn.Variable, mode: Mode, blocks: Sequence[int]) -> nn.Variable:
    """All convolutions, and a maximum after each stage."""
    for i, (count, width) in enumerate(zip(blocks, WIDTHS)):
        for j in range(count):
            x = functional.conv(x, f"stages/{i}/{j}", width, 3, mode, bias=True)
        x = functional.max_pool(x, 2, mode)
    return x


def convolutions(blocks: Sequence[int]) -> Rule:
    """Both collections count convolutions, BNs, ReLUs and pools in one row."""
    return r"stages/(\d)/(\d)", lambda i, j: in_row("features", 3 * (sum(blocks[:i]) + j) + i)


def small(blocks: Sequence[int], *sources: str) -> Entry:
    """The form with one affine layer."""
    rules: Tuple[Rule, ...] = (convolutions(blocks), ("classifier", lambda: "classifier"))
    return Entry(partial(vgg, blocks=blocks), PAPER, {source: rules for source in sources}, least=32)


def large(depth: int, blocks: Sequence[int]) -> Entry:
    """The form with three affine layers."""
    rules: Tuple[Rule, ...] = (convolutions(blocks), (r"hidden/(\d)", lambda i: f"classifier.{3 * i}"),
                               ("classifier", lambda: "classifier.6"))
    return Entry(partial(vgg_cifar100, blocks=blocks), PAPER, {f"pytorch-cifar100/vgg{depth}_bn": rules},
                 classes=100, least=32)


PAPER = "Simonyan and Zisserman, ICLR 2015"
NETWORKS: Dict[str, Entry] = {
    "vgg11_cifar": small((1, 1, 2, 2, 2), "MutableNAS/vgg11"),
    "vgg16_cifar": small((2, 2, 3, 3, 3), "pytorch-cifar/VGG16"),
    "vgg11_bn_cifar100": large(11, (1, 1, 2, 2, 2)),
    "vgg13_bn_cifar100": large(13, (2, 2, 2, 2, 2)),
    "vgg16_bn_cifar100": large(16, (2, 2, 3, 3, 3)),
    "vgg19_bn_cifar100": large(19, (2, 2, 4, 4, 4)),
}
