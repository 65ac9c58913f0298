"""PNASNet cells for images of 32 pixels (Liu et al., ECCV 2018), as kuangliu/pytorch-cifar has them.

    stem    3x3, BN, ReLU
    stages  six cells; a cell that halves the image and doubles the width; six; another; six
    head    mean, affine

A cell takes one input, not the two of the paper. Its separable convolution is one grouped convolution, as
many groups as input channels, and BN; there is no pointwise one. Where a cell halves the image, a 1x1
convolution with BN follows its pool. Cell A is one sum, cell B two of them that a 1x1 convolution joins.
"""

from __future__ import annotations

from functools import partial
from typing import Callable, Dict, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import activate, channels, classifier, concat, conv, max_pool
from .entry import Entry, Modules, Rule

Cell = Callable[[nn.Variable, str, int, int, Mode], nn.Variable]  # (trunk, name, width, stride, mode)
CELLS = 6  # of a stage


def pnasnet(x: nn.Variable, classes: int, mode: Mode, cell: Cell, width: int) -> nn.Variable:
    """Logits (N, classes).

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        cell: `cell_a` or `cell_b`.
        width: Of the first stage.
    """
    y = conv(x, "stem", width, 3, mode)
    for stage in range(3):
        if stage:
            y = cell(y, f"stages/{2 * stage - 1}", width << stage, 2, mode)
        for i in range(CELLS):
            y = cell(y, f"stages/{2 * stage}/{i}", width << stage, 1, mode)
    return classifier(y, "classifier", classes, mode)


def cell_a(x: nn.Variable, name: str, width: int, stride: int, mode: Mode) -> nn.Variable:
    """7x7 beside a pool."""
    return activate(separable(x, f"{name}/sep/1", width, 7, stride, mode)
                    + pooled(x, name, width, stride, mode), "relu", mode)


def cell_b(x: nn.Variable, name: str, width: int, stride: int, mode: Mode) -> nn.Variable:
    """7x7 beside 3x3, a pool beside 5x5, and what joins the two."""
    left = (separable(x, f"{name}/sep/1", width, 7, stride, mode)
            + separable(x, f"{name}/sep/2", width, 3, stride, mode))
    right = pooled(x, name, width, stride, mode) + separable(x, f"{name}/sep/3", width, 5, stride, mode)
    both = concat(activate(left, "relu", mode), activate(right, "relu", mode), mode=mode)
    return conv(both, f"{name}/2", width, 1, mode)


def separable(x: nn.Variable, name: str, width: int, kernel: int, stride: int, mode: Mode) -> nn.Variable:
    """[grouped convolution, BN]."""
    return conv(x, name, width, kernel, mode, stride, groups=channels(x, mode), act="none")


def pooled(x: nn.Variable, name: str, width: int, stride: int, mode: Mode) -> nn.Variable:
    """The largest of 3x3 pixels, and a 1x1 convolution where the width changes."""
    y = max_pool(x, 3, mode, stride, 1)
    return y if stride == 1 else conv(y, f"{name}/1", width, 1, mode, act="none")


def module(stage: int, cell: str) -> str:
    """The original's module of a cell; cell: "/" and its place in the stage, or nothing."""
    return f"layer{stage + 1}{cell.replace('/', '.')}"


def numbered(stage: int, cell: str, place: int) -> Modules:
    """A convolution and the BN of the same number."""
    return f"{module(stage, cell)}.conv{place}", f"{module(stage, cell)}.bn{place}"


CELL = r"stages/(\d)((?:/\d)?)/"
RULES: Tuple[Rule, ...] = (
    ("stem", lambda: ("conv1", "bn1")),
    (CELL + r"sep/(\d)", lambda i, j, k: (f"{module(i, j)}.sep_conv{k}.conv1",
                                          f"{module(i, j)}.sep_conv{k}.bn1")),
    (CELL + r"(\d)", numbered),
    ("classifier", lambda: "linear"),
)


def entry(letter: str, cell: Cell, width: int) -> Entry:
    """The network of one of the two cells."""
    return Entry(partial(pnasnet, cell=cell, width=width), "Liu et al., ECCV 2018",
                 {f"pytorch-cifar/PNASNet{letter}": RULES, f"MutableNAS/PNASNet{letter}": RULES})


NETWORKS: Dict[str, Entry] = {
    "pnasneta_cifar": entry("A", cell_a, 44),
    "pnasnetb_cifar": entry("B", cell_b, 32),
}
