"""ResNets of stochastic depth for images of 32 pixels (Huang et al., ECCV 2016).

    stem    3x3 -> 64, BN, ReLU
    stages  as of the ResNet, without ReLU after the sum
    head    mean, affine

In training block i of N survives with probability 1 - rate i / (N - 1), else its shortcut alone remains; one
draw serves the whole batch. In evaluation its result is scaled by that probability (section 3). As
weiaicunzai/pytorch-cifar100 and MutableNAS have it: convolutions of basic blocks and of the stem have a bias.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, Sequence, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import classifier, conv, survive
from .entry import Entry, Rule, in_row
from .resnet_cifar import DEPTHS, plan, projected, residual


def stochastic_depth(x: nn.Variable, classes: int, mode: Mode, blocks: Sequence[int],
                     bottleneck: bool = False, drop_path: float = 0.5) -> nn.Variable:
    """Logits (N, classes).

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        blocks: How many each stage has.
        bottleneck: Whether blocks are bottlenecks.
        drop_path: How often the last block is dropped, in [0, 1); the first never is.
    """
    y, last, biased = conv(x, "stem", 64, 3, mode, bias=True), sum(blocks) - 1, not bottleneck
    for i, (name, width, stride) in enumerate(plan(blocks)):
        out = 4 * width if bottleneck else width
        shortcut = projected(y, f"{name}/skip", out, stride, mode, bias=biased)
        y = residual(y, name, width, stride, bottleneck, mode, bias=biased, act="none")
        y = survive(y, name, drop_path * i / last, mode) + shortcut
    return classifier(y, "classifier", classes, mode)


BLOCK = r"stages/(\d+)/(\d+)"
WEIAICUNZAI: Tuple[Rule, ...] = (
    ("stem", lambda: in_row("conv1")),
    (f"{BLOCK}/skip", lambda i, j: in_row(f"conv{i + 2}_x.{j}.shortcut")),
    (rf"{BLOCK}/(\d)", lambda i, j, k: in_row(f"conv{i + 2}_x.{j}.residual", 3 * k)),
    ("classifier", lambda: "fc"),
)


def entry(depth: int) -> Entry:
    """The network of so many layers."""
    return Entry(partial(stochastic_depth, blocks=DEPTHS[depth], bottleneck=depth >= 50),
                 "Huang et al., ECCV 2016", {f"pytorch-cifar100/stochasticdepth{depth}": WEIAICUNZAI,
                                             f"MutableNAS/stochastic_depth_resnet{depth}": WEIAICUNZAI},
                 classes=100)


NETWORKS: Dict[str, Entry] = {f"stochasticdepth{depth}_cifar100": entry(depth) for depth in DEPTHS}
