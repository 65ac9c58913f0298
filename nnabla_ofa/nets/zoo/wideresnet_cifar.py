"""Wide ResNets for images of 32 pixels (Zagoruyko and Komodakis, BMVC 2016).

    stem    3x3 -> 16
    stages  pre-activation blocks; 16, 32, 64 channels times the width, stride 1, 2, 2
    head    BN, ReLU, mean, affine

Dropout stands before a block's last convolution. As weiaicunzai/pytorch-cifar100 and MutableNAS have it: all
convolutions have a bias, and the shortcut takes the raw input.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import batch_norm, classifier, conv
from .entry import Entry, Rule, in_row
from .preact_cifar import raw_block
from .resnet_cifar import plan


def wide_resnet(x: nn.Variable, classes: int, mode: Mode, depth: int, widen: int, dropout: float = 0.5
                ) -> nn.Variable:
    """Logits (N, classes).

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        depth: Layers, 6 n + 4; each stage has n blocks.
        widen: Times 16, 32, 64 channels.
        dropout: Rate in [0, 1), within each block.
    """
    y = conv(x, "stem", 16, 3, mode, bias=True, bn=False, act="none")
    for name, width, stride in plan(((depth - 4) // 6,) * 3, (16 * widen, 32 * widen, 64 * widen)):
        y = raw_block(y, name, width, stride, False, mode, dropout)
    return classifier(batch_norm(y, "last", mode), "classifier", classes, mode)


BLOCK = r"stages/(\d+)/(\d+)"
WEIAICUNZAI: Tuple[Rule, ...] = (
    ("stem", lambda: "init_conv"),
    (f"{BLOCK}/pre", lambda i, j: f"conv{i + 2}.{j}.residual.0"),
    (f"{BLOCK}/skip", lambda i, j: f"conv{i + 2}.{j}.shortcut.0"),
    (rf"{BLOCK}/(\d)", lambda i, j, k: in_row(f"conv{i + 2}.{j}.residual", 4 * k + 2)),
    ("last", lambda: "bn"),
    ("classifier", lambda: "linear"),
)
NETWORKS: Dict[str, Entry] = {
    "wideresnet40_10_cifar100": Entry(
        partial(wide_resnet, depth=40, widen=10), "Zagoruyko and Komodakis, BMVC 2016",
        {"pytorch-cifar100/wideresnet40_10": WEIAICUNZAI, "MutableNAS/wideresnet": WEIAICUNZAI},
        classes=100),
}
