"""NASNet-A for images of 32 pixels (Zoph et al., CVPR 2018), as weiaicunzai/pytorch-cifar100 has it.

    stem    3x3 -> 44, BN
    cells   four normal ones, a reduction, four, a reduction, four; 44, 88, 176 channels a branch
    head    ReLU, mean, affine

A cell takes the outputs of the two cells before it; the first takes the stem's twice. The older one is
brought to the cell's size and width (`fit`) only where it differs. The original stores what `fit` could need
in every cell, so there are unused parameters. Layers have the names of the original's modules.
"""

from __future__ import annotations

from typing import Dict, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.conv import Conv
from ...layers.functional import (
    activate,
    average_pool,
    batch_norm,
    channels,
    classifier,
    concat,
    conv,
    idle,
    max_pool,
    shift,
    sides,
    subsample,
)
from ...layers.standing_norm import BatchNorm
from .entry import Entry, Rule, in_row
from .xception import part

CELLS = 4  # normal ones in a row


def nasnet(x: nn.Variable, classes: int, mode: Mode, dropout: float = 0.0) -> nn.Variable:
    """Logits (N, classes).

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        dropout: Before the classifier, rate in [0, 1).
    """
    previous = y = conv(x, "stem", 44, 3, mode, act="none")
    place = 0
    for stage, width in enumerate((44, 88, 176)):
        if stage:
            previous, y = y, reduction(y, previous, f"cells/{place}", width, mode)
            place += 1
        for _ in range(CELLS):
            previous, y = y, normal(y, previous, f"cells/{place}", width, mode)
            place += 1
    return classifier(activate(y, "relu", mode), "classifier", classes, mode, dropout)


def normal(x: nn.Variable, previous: nn.Variable, name: str, width: int, mode: Mode) -> nn.Variable:
    """Paper, figure 4, left, but `mean(h) + h` for `mean(h) + old`: six times the width, the same size."""
    def mean(y: nn.Variable) -> nn.Variable:
        return average_pool(y, 3, mode, 1, 1)

    def sep(y: nn.Variable, block: str, kernel: int) -> nn.Variable:
        return separable(y, f"{name}/{block}", width, kernel, mode, bias=False)

    old = fit(previous, x, f"{name}/fit", width, mode)
    h = conv(activate(x, "relu", mode), f"{name}/dem_reduce", width, 1, mode, act="none")
    return concat(
        old,
        sep(h, "block1_left", 3) + h,
        sep(old, "block2_left", 3) + sep(h, "block2_right", 5),
        mean(h) + h,
        mean(old) + mean(old),
        sep(old, "block5_left", 5) + sep(old, "block5_right", 3), mode=mode)


def reduction(x: nn.Variable, previous: nn.Variable, name: str, width: int, mode: Mode) -> nn.Variable:
    """Figure 4, right: four times the width at half the size."""
    def sep(y: nn.Variable, block: str, kernel: int, stride: int = 2) -> nn.Variable:
        return separable(y, f"{name}/{block}", width, kernel, mode, stride)

    old = fit(previous, x, f"{name}/fit", width, mode)
    h = conv(activate(x, "relu", mode), f"{name}/dim_reduce", width, 1, mode, bias=True, act="none")
    first = sep(old, "layer1block1_left", 7) + sep(h, "layer1block1_right", 5)
    second = max_pool(h, 3, mode, 2, 1) + sep(old, "layer1block2_right", 7)
    third = average_pool(h, 3, mode, 2, 1) + sep(old, "layer1block3_right", 5)
    return concat(second, third,
                  max_pool(h, 3, mode, 2, 1) + sep(first, "layer2block1_right", 3, 1),
                  average_pool(first, 3, mode, 1, 1) + second, mode=mode)


def separable(x: nn.Variable, name: str, width: int, kernel: int, mode: Mode, stride: int = 1,
              bias: bool = True) -> nn.Variable:
    """Twice [ReLU, depthwise, pointwise, BN].

    Args:
        x: The trunk.
        name: Of the two.
        width: Channels of the output.
        kernel: Of the depthwise convolutions.
        mode: How the graph is built.
        stride: Of the first one.
        bias: Whether the first depthwise convolution has one; all other convolutions have.
    """
    for i in (1, 2):
        w_in, x = channels(x, mode), activate(x, "relu", mode)
        x = conv(x, f"{name}/{i}/depthwise", w_in, kernel, mode, stride if i == 1 else 1, groups=w_in,
                 bias=bias or i == 2, bn=False, act="none")
        x = conv(x, f"{name}/{i}/pointwise", width, 1, mode, bias=True, act="none")
    return x


def fit(previous: nn.Variable, x: nn.Variable, name: str, width: int, mode: Mode) -> nn.Variable:
    """The older input of a cell with so many channels, as large as the other one."""
    w_in, halves = channels(previous, mode), sides(previous, mode) != sides(x, mode)
    if not halves:
        for half in ("p1", "p2"):
            idle(Conv(f"{name}/{half}", w_in, width // 2, (1, 1), bias=True, bn=False), mode)
        idle(BatchNorm(f"{name}/bn", width), mode)
    if halves or w_in == width:
        idle(Conv(f"{name}/dim_reduce", w_in, width, (1, 1), bias=True), mode)
    if not halves:
        if w_in == width:
            return previous
        y = activate(previous, "relu", mode)
        return conv(y, f"{name}/dim_reduce", width, 1, mode, bias=True, act="none")
    y = activate(previous, "relu", mode)
    both = (conv(subsample(pixels, 2, mode), f"{name}/{half}", width // 2, 1, mode, bias=True, bn=False,
                 act="none") for half, pixels in (("p1", y), ("p2", shift(y, mode))))
    return batch_norm(concat(*both, mode=mode), f"{name}/bn", mode, act="none")


CELL = r"cells/(\d+)/"
RULES: Tuple[Rule, ...] = (
    ("stem", lambda: in_row("stem")),
    (CELL + "fit/p([12])", lambda i, half: f"cell_layers.{i}.fit.p{half}.{2 * half - 1}"),
    (CELL + "fit/bn", lambda i: f"cell_layers.{i}.fit.bn"),
    (CELL + r"(\w+)/([12])/(depthwise|pointwise)",
     lambda i, branch, k, kind: part(kind, *in_row(f"cell_layers.{i}.{branch}.block{k}", 1))),
    (CELL + "(.+)", lambda i, reduce: in_row(f"cell_layers.{i}.{reduce.replace('/', '.')}", 1)),
    ("classifier", lambda: "fc"),
)

NETWORKS: Dict[str, Entry] = {
    "nasnet_cifar100": Entry(nasnet, "Zoph et al., CVPR 2018",
                             {"pytorch-cifar100/nasnet": RULES, "MutableNAS/nasnet": RULES}, classes=100,
                             least=3),
}
