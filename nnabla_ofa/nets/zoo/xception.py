"""Xception (Chollet, CVPR 2017): for ImageNet as timm's legacy_xception, and for images of 32 pixels.

    entry   3x3 -> 32, 64; three blocks -> 128, 256, 728
    middle  eight blocks of three separable convolutions
    exit    one block -> 1024, separable convolutions -> 1536, 2048
    head    mean, affine

A separable convolution is a depthwise 3x3 and a pointwise one, BN follows both together. ReLU precedes each
but the first of the network. A block of the entry and the exit pools with stride 2 and has a 1x1 convolution
with BN as its shortcut; one of the middle has the identity.

`xception_imagenet` is that network; the elastic family `xception` has the same plan. `xception_cifar100` is
the form of weiaicunzai/pytorch-cifar100: the first two convolutions keep the image's size, the third block's
pool and shortcut have stride 1, shortcuts have a bias. In the second and third block and in those of the
middle, the shortcut, too, starts after ReLU (the original computes it in place).
"""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import activate, channels, classifier, conv, max_pool
from .entry import Entry, Modules, Rule, in_row

ENTRY, MIDDLE, EXIT = (128, 256, 728), 8, (728, 1024)


def xception(x: nn.Variable, classes: int, mode: Mode, dropout: float = 0.0) -> nn.Variable:
    """Logits (N, classes) of the form for ImageNet.

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        dropout: Before the classifier, rate in [0, 1).
    """
    y = conv(x, "stem/0", 32, 3, mode, 2, pad=0)
    y = conv(y, "stem/1", 64, 3, mode, pad=0)
    for i, width in enumerate(ENTRY):
        y = block(y, f"entry/{i}", (width, width), 2, mode, relu_first=i > 0)
    for i in range(MIDDLE):
        y = block(y, f"middle/{i}", (728,) * 3, 0, mode)
    y = block(y, "exit", EXIT, 2, mode)
    return head(y, classes, mode, dropout)


def xception_cifar(x: nn.Variable, classes: int, mode: Mode, dropout: float = 0.0) -> nn.Variable:
    """Logits (N, classes) of the form for 32 pixels; see `xception`."""
    y = conv(x, "stem/0", 32, 3, mode)
    y = conv(y, "stem/1", 64, 3, mode)
    for i, (width, stride) in enumerate(zip(ENTRY, (2, 2, 1))):
        y = activate(y, "relu", mode) if i else y
        y = block(y, f"entry/{i}", (width, width), stride, mode, relu_first=False, bias=True)
    for i in range(MIDDLE):
        y = block(activate(y, "relu", mode), f"middle/{i}", (728,) * 3, 0, mode, relu_first=False)
    y = block(y, "exit", EXIT, 2, mode, bias=True)
    return head(y, classes, mode, dropout)


def block(x: nn.Variable, name: str, widths: Sequence[int], stride: int, mode: Mode, relu_first: bool = True,
          bias: bool = False) -> nn.Variable:
    """Separable convolutions beside a shortcut: the identity, or a convolution, and then a pool follows them.

    Args:
        x: The trunk.
        name: Of the block.
        widths: Of its separable convolutions.
        stride: Of the pool and the shortcut; 0: there is neither.
        mode: How the graph is built.
        relu_first: Whether ReLU precedes the first one.
        bias: Whether the shortcut has one.
    """
    y = x
    for i, width in enumerate(widths):
        y = separable(activate(y, "relu", mode) if i or relu_first else y, f"{name}/{i}", width, mode)
    if not stride:
        return y + x
    shortcut = conv(x, f"{name}/skip", widths[-1], 1, mode, stride, bias=bias, act="none")
    return max_pool(y, 3, mode, stride, 1) + shortcut


def separable(x: nn.Variable, name: str, width: int, mode: Mode, act: str = "none") -> nn.Variable:
    """[depthwise 3x3, pointwise, BN, activation]."""
    w_in = channels(x, mode)
    y = conv(x, f"{name}/depthwise", w_in, 3, mode, groups=w_in, bn=False, act="none")
    return conv(y, f"{name}/pointwise", width, 1, mode, act=act)


def head(x: nn.Variable, classes: int, mode: Mode, dropout: float) -> nn.Variable:
    """From the last block to the logits."""
    y = separable(x, "head/0", 1536, mode, "relu")
    y = separable(y, "head/1", 2048, mode, "relu")
    return classifier(y, "classifier", classes, mode, dropout)


def part(kind: str, module: str, bn: str, depthwise: str = "depthwise") -> Modules:
    """The modules of one half of a separable convolution; kind: "depthwise" or "pointwise"."""
    return f"{module}.{depthwise}" if kind == "depthwise" else (f"{module}.pointwise", bn)


UNIT = r"(\d)/(depthwise|pointwise)"
WEIAICUNZAI: Tuple[Rule, ...] = (
    (r"stem/(\d)", lambda i: in_row(f"entry_flow.conv{i + 1}")),
    (r"entry/(\d)/skip", lambda i: in_row(f"entry_flow.conv{i + 3}_shortcut")),
    (r"entry/(\d)/" + UNIT,
     lambda i, j, kind: part(kind, *in_row(f"entry_flow.conv{i + 3}_residual", 3 * j + (i > 0)))),
    (r"middle/(\d)/" + UNIT,
     lambda i, j, kind: part(kind, *in_row(f"middel_flow.middel_block.{i}.conv{j + 1}", 1))),
    ("exit/skip", lambda: in_row("exit_flow.shortcut")),
    ("exit/" + UNIT, lambda j, kind: part(kind, *in_row("exit_flow.residual", 3 * j + 1))),
    ("head/" + UNIT, lambda j, kind: part(kind, *in_row("exit_flow.conv", 3 * j))),
    ("classifier", lambda: "fc"),
)
TIMM: Tuple[Rule, ...] = (
    (r"stem/(\d)", lambda i: (f"conv{i + 1}", f"bn{i + 1}")),
    (r"entry/(\d)/skip", lambda i: (f"block{i + 1}.skip", f"block{i + 1}.skipbn")),
    (r"entry/(\d)/" + UNIT,
     lambda i, j, kind: part(kind, *in_row(f"block{i + 1}.rep", 3 * j + (i > 0)), "conv1")),
    (r"middle/(\d)/" + UNIT, lambda i, j, kind: part(kind, *in_row(f"block{i + 4}.rep", 3 * j + 1), "conv1")),
    ("exit/skip", lambda: ("block12.skip", "block12.skipbn")),
    ("exit/" + UNIT, lambda j, kind: part(kind, *in_row("block12.rep", 3 * j + 1), "conv1")),
    ("head/" + UNIT, lambda j, kind: part(kind, f"conv{j + 3}", f"bn{j + 3}", "conv1")),
    ("classifier", lambda: "fc"),
)

NETWORKS: Dict[str, Entry] = {
    "xception_imagenet": Entry(
        xception, "Chollet, CVPR 2017", {"timm/legacy_xception": TIMM, "timm/legacy_xception@96": TIMM},
        image_size=299, classes=1000, least=7),
    "xception_cifar100": Entry(
        xception_cifar, "Chollet, CVPR 2017",
        {"pytorch-cifar100/xception": WEIAICUNZAI, "MutableNAS/xception": WEIAICUNZAI}, classes=100),
}
