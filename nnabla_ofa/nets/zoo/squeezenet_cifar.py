"""SqueezeNet with BN and bypasses for images of 32 pixels (Iandola et al., 2016, arXiv 1602.07360).

    stem    3x3 -> 96
    fires   eight, 128 to 512 channels: 1x1 to an eighth, then 1x1 and 3x3 side by side, half each
    between 2x2 maximum after the stem, the third and the seventh fire
    head    1x1 -> classes, mean

Convolutions have a bias, BN and ReLU; that of the head has a bias alone. The inputs of the second, fourth
and sixth fire are added to their outputs.
"""

from __future__ import annotations

from typing import Dict, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import concat, conv, global_mean, max_pool
from .entry import Entry, Rule, in_row

WIDTHS = (128, 128, 256, 256, 384, 384, 512, 512)


def squeezenet(x: nn.Variable, classes: int, mode: Mode) -> nn.Variable:
    """Logits (N, classes)."""
    y = max_pool(conv(x, "stem", 96, 3, mode, bias=True), 2, mode)
    for i, width in enumerate(WIDTHS):
        out = fire(y, f"fires/{i}", width, mode)
        y = y + out if i in (1, 3, 5) else out
        if i in (2, 6):
            y = max_pool(y, 2, mode)
    return global_mean(conv(y, "classifier", classes, 1, mode, bias=True, bn=False, act="none", scores=True),
                       mode)


def fire(x: nn.Variable, name: str, width: int, mode: Mode) -> nn.Variable:
    """Few channels, then many."""
    y = conv(x, f"{name}/squeeze", width // 8, 1, mode, bias=True)
    return concat(*(conv(y, f"{name}/expand_{k}x{k}", width // 2, k, mode, bias=True) for k in (1, 3)),
                  mode=mode)


WEIAICUNZAI: Tuple[Rule, ...] = (
    ("stem", lambda: in_row("stem")),
    (r"fires/(\d)/(\w+)", lambda i, part: in_row(f"fire{i + 2}.{part}")),
    ("classifier", lambda: "conv10"),
)
NETWORKS: Dict[str, Entry] = {
    "squeezenet_cifar100": Entry(squeezenet, "Iandola et al., 2016",
                                 {"pytorch-cifar100/squeezenet": WEIAICUNZAI,
                                  "MutableNAS/squeezenet": WEIAICUNZAI}, classes=100, least=8),
}
