"""SE-ResNets for images of 32 pixels (Hu et al., CVPR 2018), as weiaicunzai/pytorch-cifar100 has them.

    stem    3x3 -> 64, BN, ReLU
    stages  as of the ResNet; each block's result is scaled by squeeze and excitation before the sum
    head    mean, affine

Unlike the paper's, ReLU follows the last BN before the squeeze, too. All convolutions have a bias.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, Sequence, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import activate, classifier, conv, dense, global_mean, scale
from .entry import Entry, Rule, in_row
from .resnet_cifar import DEPTHS, plan, projected, residual


def seresnet(x: nn.Variable, classes: int, mode: Mode, blocks: Sequence[int],
             bottleneck: bool = False) -> nn.Variable:
    """Logits (N, classes); see `resnet_cifar.resnet`."""
    y = conv(x, "stem", 64, 3, mode, bias=True)
    for name, width, stride in plan(blocks):
        out = 4 * width if bottleneck else width
        shortcut = projected(y, f"{name}/skip", out, stride, mode, bias=True)
        y = residual(y, name, width, stride, bottleneck, mode, bias=True)
        gate = dense(global_mean(y, mode), f"{name}/se/0", out // 16, mode, act="relu")
        gate = dense(gate, f"{name}/se/1", out, mode, act="sigmoid")
        y = activate(scale(y, gate, mode) + shortcut, "relu", mode)
    return classifier(y, "classifier", classes, mode)


BLOCK = r"stages/(\d+)/(\d+)"
WEIAICUNZAI: Tuple[Rule, ...] = (
    ("stem", lambda: in_row("pre")),
    (f"{BLOCK}/skip", lambda i, j: in_row(f"stage{i + 1}.{j}.shortcut")),
    (rf"{BLOCK}/(\d)", lambda i, j, k: in_row(f"stage{i + 1}.{j}.residual", 3 * k)),
    (rf"{BLOCK}/se/(\d)", lambda i, j, k: f"stage{i + 1}.{j}.excitation.{2 * k}"),
    ("classifier", lambda: "linear"),
)


def entry(depth: int) -> Entry:
    """The network of so many layers."""
    return Entry(partial(seresnet, blocks=DEPTHS[depth], bottleneck=depth >= 50), "Hu et al., CVPR 2018",
                 {f"pytorch-cifar100/seresnet{depth}": WEIAICUNZAI}, classes=100)


NETWORKS: Dict[str, Entry] = {f"seresnet{depth}_cifar100": entry(depth) for depth in DEPTHS}
