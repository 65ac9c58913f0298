"""Inception-v3 for images of 32 pixels (Szegedy et al., CVPR 2016), as weiaicunzai/pytorch-cifar100 has it.

    stem    3x3 -> 32, 32, 64, 1x1 -> 80, 3x3 -> 192 without padding
    35      three blocks of 1x1, 5x5 and two 3x3 beside a pool, then a reduction
    17      four blocks of factorised 7x7, then a reduction
    8       two blocks whose last convolutions are a 1x3 beside a 3x1
    head    mean, dropout, affine

BN and ReLU follow every convolution. Other than in the paper the stem keeps the image's size, the pooled
branch of the first blocks ends with a 3x3, and the second reduction pools by the mean. Layers have the names
of the original's modules.
"""

from __future__ import annotations

from typing import Dict, Optional, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import Sizes, average_pool, classifier, concat, conv, max_pool
from .entry import Entry, Rule

STEM = (("1a_3x3", 32, 3, None), ("2a_3x3", 32, 3, None), ("2b_3x3", 64, 3, None), ("3b_1x1", 80, 1, None),
        ("4a_3x3", 192, 3, 0))


def inception_v3(x: nn.Variable, classes: int, mode: Mode, dropout: float = 0.5) -> nn.Variable:
    """Logits (N, classes).

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        dropout: Before the classifier, rate in [0, 1).
    """
    y = x
    for name, width, kernel, pad in STEM:
        y = conv(y, f"conv2d_{name}", width, kernel, mode, pad=pad)
    for name, pooled in (("b", 32), ("c", 64), ("d", 64)):
        y = block_35(y, f"mixed_5{name}", pooled, mode)
    y = reduction_35(y, "mixed_6a", mode)
    for name, inner in (("b", 128), ("c", 160), ("d", 160), ("e", 192)):
        y = block_17(y, f"mixed_6{name}", inner, mode)
    y = reduction_17(y, "mixed_7a", mode)
    for name in "bc":
        y = block_8(y, f"mixed_7{name}", mode)
    return classifier(y, "classifier", classes, mode, dropout)


def row(x: nn.Variable, name: str, mode: Mode, *steps: Tuple[int, Sizes], stride: int = 1,
        pad: Optional[int] = None) -> nn.Variable:
    """Convolutions one after another, `<name>/0` and so on.

    Args:
        x: The trunk.
        name: Of the branch.
        mode: How the graph is built.
        steps: (width, kernel) of each.
        stride, pad: Of the last one; the others keep the size.
    """
    for i, (width, kernel) in enumerate(steps[:-1]):
        x = conv(x, f"{name}/{i}", width, kernel, mode)
    width, kernel = steps[-1]
    return conv(x, f"{name}/{len(steps) - 1}", width, kernel, mode, stride, pad)


def block_35(x: nn.Variable, name: str, pooled: int, mode: Mode) -> nn.Variable:
    """Kernels of 1, 5 and twice 3 (paper, figure 5); pooled: the width of the pooled branch."""
    return concat(
        conv(x, f"{name}/branch1x1", 64, 1, mode),
        row(x, f"{name}/branch5x5", mode, (48, 1), (64, 5)),
        row(x, f"{name}/branch3x3", mode, (64, 1), (96, 3), (96, 3)),
        conv(average_pool(x, 3, mode, 1, 1), f"{name}/branchpool/1", pooled, 3, mode), mode=mode)


def reduction_35(x: nn.Variable, name: str, mode: Mode) -> nn.Variable:
    """Half the size (figure 10)."""
    return concat(conv(x, f"{name}/branch3x3", 384, 3, mode, stride=2, pad=0),
                  row(x, f"{name}/branch3x3stack", mode, (64, 1), (96, 3), (96, 3), stride=2,
                      pad=0),
                  max_pool(x, 3, mode), mode=mode)


def block_17(x: nn.Variable, name: str, inner: int, mode: Mode) -> nn.Variable:
    """7x7 as 7x1 and 1x7, once and twice (figure 6); inner: the width between them."""
    tall, wide = (7, 1), (1, 7)
    return concat(
        conv(x, f"{name}/branch1x1", 192, 1, mode),
        row(x, f"{name}/branch7x7", mode, (inner, 1), (inner, tall), (192, wide)),
        row(x, f"{name}/branch7x7stack", mode, (inner, 1), (inner, tall), (inner, wide), (inner, tall),
            (192, wide)),
        conv(average_pool(x, 3, mode, 1, 1), f"{name}/branch_pool/1", 192, 1, mode), mode=mode)


def reduction_17(x: nn.Variable, name: str, mode: Mode) -> nn.Variable:
    """Half the size again; the pooled branch takes the mean."""
    return concat(row(x, f"{name}/branch3x3", mode, (192, 1), (320, 3), stride=2, pad=0),
                  row(x, f"{name}/branch7x7", mode, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3),
                      stride=2, pad=0),
                  average_pool(x, 3, mode), mode=mode)


def block_8(x: nn.Variable, name: str, mode: Mode) -> nn.Variable:
    """3x3 as a 1x3 beside a 3x1 (figure 7)."""
    short = conv(x, f"{name}/branch3x3_1", 384, 1, mode)
    long = conv(x, f"{name}/branch3x3stack_1", 448, 1, mode)
    long = conv(long, f"{name}/branch3x3stack_2", 384, 3, mode)
    return concat(
        conv(x, f"{name}/branch1x1", 320, 1, mode),
        conv(short, f"{name}/branch3x3_2a", 384, (1, 3), mode),
        conv(short, f"{name}/branch3x3_2b", 384, (3, 1), mode),
        conv(long, f"{name}/branch3x3stack_3a", 384, (1, 3), mode),
        conv(long, f"{name}/branch3x3stack_3b", 384, (3, 1), mode),
        conv(average_pool(x, 3, mode, 1, 1), f"{name}/branch_pool/1", 192, 1, mode), mode=mode)


def inside(layer: str) -> Tuple[str, str]:
    """The convolution and the BN in the original's module of the same name."""
    module = layer.replace("/", ".")
    return f"{module}.conv", f"{module}.bn"


RULES: Tuple[Rule, ...] = (("classifier", lambda: "linear"), ("(.+)", lambda name: inside(name.capitalize())))

NETWORKS: Dict[str, Entry] = {
    "inceptionv3_cifar100": Entry(
        inception_v3, "Szegedy et al., CVPR 2016",
        {"pytorch-cifar100/inceptionv3": RULES, "MutableNAS/inceptionv3": RULES}, classes=100, least=9),
}
