"""GoogLeNet for images of 32 pixels (Szegedy et al., CVPR 2015), in the forms of two collections.

    stem        see below
    inceptions  nine, each four branches side by side: 1x1; 1x1, 3x3; 1x1, 3x3, 3x3; 3x3 maximum, 1x1
    between     3x3 maximum of stride 2 after the second and the seventh
    head        mean, affine

Convolutions have a bias, BN and ReLU. The stem of kuangliu/pytorch-cifar is one 3x3. That of
weiaicunzai/pytorch-cifar100 is three 3x3 without bias and a 3x3 maximum of stride 2; in each inception the
first 3x3 of the third branch normalises with an epsilon as large as the number of its channels.
"""

from __future__ import annotations

from typing import Dict, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import classifier, concat, conv, max_pool
from .entry import Entry, Rule, in_row

# Of each inception: 1x1; 1x1 and 3x3; 1x1 and both 3x3; 1x1 after the maximum
WIDTHS: Dict[str, Tuple[int, ...]] = {
    "a3": (64, 96, 128, 16, 32, 32),
    "b3": (128, 128, 192, 32, 96, 64),
    "a4": (192, 96, 208, 16, 48, 64),
    "b4": (160, 112, 224, 24, 64, 64),
    "c4": (128, 128, 256, 24, 64, 64),
    "d4": (112, 144, 288, 32, 64, 64),
    "e4": (256, 160, 320, 32, 128, 128),
    "a5": (256, 160, 320, 32, 128, 128),
    "b5": (384, 192, 384, 48, 128, 128),
}


def googlenet(x: nn.Variable, classes: int, mode: Mode) -> nn.Variable:
    """Logits (N, classes) of the form of pytorch-cifar."""
    y = conv(x, "stem", 192, 3, mode, bias=True)
    return classifier(inceptions(y, mode), "classifier", classes, mode)


def googlenet_cifar100(x: nn.Variable, classes: int, mode: Mode, dropout: float = 0.4) -> nn.Variable:
    """Logits (N, classes) of the form of pytorch-cifar100; dropout: rate before the classifier."""
    for i, width in enumerate((64, 64, 192)):
        x = conv(x, f"stem/{i}", width, 3, mode)
    y = inceptions(max_pool(x, 3, mode, pad=1), mode, wide_eps=True)
    return classifier(y, "classifier", classes, mode, dropout)


def inceptions(x: nn.Variable, mode: Mode, wide_eps: bool = False) -> nn.Variable:
    """All nine; wide_eps: as of `inception`."""
    for name, widths in WIDTHS.items():
        x = inception(x, name, widths, mode, wide_eps)
        if name in ("b3", "e4"):
            x = max_pool(x, 3, mode, pad=1)
    return x


def inception(x: nn.Variable, name: str, widths: Tuple[int, ...], mode: Mode, wide_eps: bool) -> nn.Variable:
    """Four branches.

    Args:
        x: The trunk.
        name: Of the inception.
        widths: A row of WIDTHS.
        mode: How the graph is built.
        wide_eps: Whether the BN of the third branch's first 3x3 adds the number of its channels to the
            variance, in place of the network's epsilon.
    """
    one, to_three, three, to_five, five, pooled = widths
    first = conv(x, f"{name}/0/0", one, 1, mode, bias=True)
    second = conv(x, f"{name}/1/0", to_three, 1, mode, bias=True)
    second = conv(second, f"{name}/1/1", three, 3, mode, bias=True)
    third = conv(x, f"{name}/2/0", to_five, 1, mode, bias=True)
    third = conv(third, f"{name}/2/1", five, 3, mode, bias=True, eps=float(five) if wide_eps else None)
    third = conv(third, f"{name}/2/2", five, 3, mode, bias=True)
    fourth = conv(max_pool(x, 3, mode, stride=1, pad=1), f"{name}/3/0", pooled, 1, mode, bias=True)
    return concat(first, second, third, fourth, mode=mode)


INCEPTIONS: Tuple[Rule, ...] = (
    (r"(\w\d)/3/0", lambda name: in_row(f"{name}.b4", 1)),
    (r"(\w\d)/(\d)/(\d)", lambda name, branch, k: in_row(f"{name}.b{branch + 1}", 3 * k)),
    ("classifier", lambda: "linear"),
)
KUANGLIU: Tuple[Rule, ...] = (("stem", lambda: in_row("pre_layers")), *INCEPTIONS)
WEIAICUNZAI: Tuple[Rule, ...] = ((r"stem/(\d)", lambda k: in_row("prelayer", 3 * k)), *INCEPTIONS)
PAPER = "Szegedy et al., CVPR 2015"
NETWORKS: Dict[str, Entry] = {
    "googlenet_cifar": Entry(googlenet, PAPER, {"pytorch-cifar/GoogLeNet": KUANGLIU,
                                                "MutableNAS/GoogLeNet": KUANGLIU}),
    "googlenet_cifar100": Entry(googlenet_cifar100, PAPER, {"pytorch-cifar100/googlenet": WEIAICUNZAI},
                                classes=100),
}
