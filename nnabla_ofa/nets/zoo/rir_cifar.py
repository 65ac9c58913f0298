"""ResNet in ResNet (Targ et al., 2016) for CIFAR-100, as weiaicunzai/pytorch-cifar100 has it.

    stem    two 3x3 -> 48 side by side: the residual and the transient stream
    blocks  eight of two layers; 48, 48, 96, 96, 96, 192, 192, 192 channels a stream
    head    both streams, 3x3/2 -> 100 without padding, affine -> 450, ReLU, dropout, affine

In a layer every stream has a 3x3 of its own and gets one of the other stream; the residual one a shortcut,
too. BN and ReLU follow the sum.

The original gives its last convolution and its last layer as many channels as there are classes. The affine
function between them has 900 inputs, so it runs with 100 classes alone. Here the convolution always has 100
channels, and another number of classes changes the last layer only.
"""

from __future__ import annotations

from typing import Dict, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import batch_norm, channels, concat, conv, dense, flatten
from ...layers.functional import dropout as dropped
from .entry import Entry, Rule, in_row

WIDTHS, HALVES = (48, 48, 96, 96, 96, 192, 192, 192), (2, 5)  # the blocks that halve the image


def rir(x: nn.Variable, classes: int, mode: Mode, dropout: float = 0.5) -> nn.Variable:
    """Logits (N, classes).

    Args:
        x: Images of 32 pixels in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        dropout: Before the last affine function, rate in [0, 1).
    """
    residual = conv(x, "stem/residual", 48, 3, mode, bias=True)
    transient = conv(x, "stem/transient", 48, 3, mode, bias=True)
    for i, width in enumerate(WIDTHS):
        for j in range(2):
            stride = 2 if i in HALVES and j == 0 else 1
            residual, transient = layer(residual, transient, f"blocks/{i}/{j}", width, stride, mode)
    y = conv(concat(residual, transient, mode=mode), "join", 100, 3, mode, 2, pad=0, bias=True)
    y = dense(flatten(y, mode), "hidden", 450, mode, act="relu")
    return dense(dropped(y, "hidden", dropout, mode), "classifier", classes, mode, scores=True)


def layer(residual: nn.Variable, transient: nn.Variable, name: str, width: int, stride: int, mode: Mode
          ) -> Tuple[nn.Variable, nn.Variable]:
    """One layer of both streams (paper, figure 2)."""
    def plain(x: nn.Variable, part: str, kernel: int = 3) -> nn.Variable:
        return conv(x, f"{name}/{part}", width, kernel, mode, stride, bias=True, bn=False, act="none")

    same = stride == 1 and channels(residual, mode) == width
    shortcut = residual if same else plain(residual, "skip", 1)
    return (batch_norm(plain(residual, "residual") + plain(transient, "from_transient") + shortcut,
                       f"{name}/residual_sum", mode),
            batch_norm(plain(residual, "from_residual") + plain(transient, "transient"),
                       f"{name}/transient_sum", mode))


LAYER = r"blocks/(\d)/(\d)/"


def module(block: int, place: int, part: str) -> str:
    """The original's module of a part of a layer; the space is the original's."""
    return f"rir{block + 1}.resnetinit.generalized layers{place}.{part}"


RULES: Tuple[Rule, ...] = (
    (r"stem/(\w+)", lambda stream: in_row(f"{stream}_pre_conv")),
    (LAYER + "skip", lambda i, j: module(i, j, "short_cut.0")),
    (LAYER + r"(\w+)_sum", lambda i, j, stream: module(i, j, f"{stream}_bn_relu.0")),
    (LAYER + r"from_(\w+)", lambda i, j, stream: module(i, j, f"{stream}_stream_conv_across")),
    (LAYER + r"(\w+)", lambda i, j, stream: module(i, j, f"{stream}_stream_conv")),
    ("join", lambda: in_row("conv1")),
    ("hidden", lambda: "classifier.0"),
    ("classifier", lambda: "classifier.3"),
)

NETWORKS: Dict[str, Entry] = {
    "rir_cifar100": Entry(rir, "Targ et al., ICLR 2016 workshop",
                          {"pytorch-cifar100/rir": RULES, "MutableNAS/resnet_in_resnet": RULES}, classes=100,
                          exact=True),
}
