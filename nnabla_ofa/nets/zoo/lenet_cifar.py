"""LeNet-5 for colour images of 32 pixels (LeCun et al., Proc. IEEE 1998), as kuangliu/pytorch-cifar has it.

    twice   5x5 without padding (6, then 16 channels), ReLU, 2x2 maximum
    head    affine -> 120, ReLU, affine -> 84, ReLU, affine
"""

from __future__ import annotations

from typing import Dict, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import conv, dense, flatten, max_pool
from .entry import Entry, Rule


def lenet(x: nn.Variable, classes: int, mode: Mode) -> nn.Variable:
    """Logits (N, classes)."""
    for i, width in enumerate((6, 16)):
        x = max_pool(conv(x, f"stem/{i}", width, 5, mode, pad=0, bias=True, bn=False), 2, mode)
    y = flatten(x, mode)
    for i, width in enumerate((120, 84)):
        y = dense(y, f"hidden/{i}", width, mode, act="relu")
    return dense(y, "classifier", classes, mode, scores=True)


KUANGLIU: Tuple[Rule, ...] = (
    (r"stem/(\d)", lambda i: f"conv{i + 1}"),
    (r"hidden/(\d)", lambda i: f"fc{i + 1}"),
    ("classifier", lambda: "fc3"),
)
NETWORKS: Dict[str, Entry] = {
    "lenet_cifar": Entry(lenet, "LeCun et al., Proc. IEEE 1998",
                         {"pytorch-cifar/LeNet": KUANGLIU, "MutableNAS/LeNet": KUANGLIU}, exact=True),
}
