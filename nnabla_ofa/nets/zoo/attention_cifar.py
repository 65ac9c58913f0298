"""Residual attention networks for images of 32 pixels (Wang et al., CVPR 2017).

    stem    3x3 -> 64, BN, ReLU
    stages  three of one unit with stride 2 and attention modules; 256, 512, 1024 channels
    tail    three units -> 2048, strides 2, 1, 1
    head    mean, affine

A unit is [BN, ReLU, 1x1, BN, ReLU, 3x3, BN, ReLU, 1x1] beside a 1x1 convolution of its input; all
convolutions have a bias. An attention module scales its trunk of two units by 1 + a mask in (0, 1).

As weiaicunzai/pytorch-cifar100 has them. In the paper every pool of the branch of the mask halves the level
above. Here each takes the module's first unit: all levels are half as large, and one upsampling to the
nearest pixel undoes it. In the first stage one unit serves twice, and one is stored unused, as in the third.
Attention-56 has one module a stage (some lists call it 52 or 59), Attention-92 has one, two and three.
Layers have the names of the original's modules.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Callable, Dict, List, Sequence, Tuple

import nnabla as nn

from ...layers import Mode, Owner
from ...layers.functional import (
    batch_norm,
    channels,
    classifier,
    conv,
    crop,
    idle,
    max_pool,
    sides,
    upsample,
)
from .entry import Entry, Rule, in_row

WIDTHS = (256, 512, 1024)
Unit = Callable[[nn.Variable, str], nn.Variable]
Soft = Callable[[nn.Variable, Unit, Callable[[str], None]], nn.Variable]


def attention(x: nn.Variable, classes: int, mode: Mode, blocks: Sequence[int]) -> nn.Variable:
    """Logits (N, classes).

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        blocks: How many attention modules each of the three stages has.
    """
    y = conv(x, "stem", 64, 3, mode, bias=True)
    for i, (count, width, soft) in enumerate(zip(blocks, WIDTHS, (soft_1, soft_2, soft_3))):
        y = unit(y, f"stage{i + 1}/0", width, mode, stride=2)
        for j in range(count):
            y = module(y, f"stage{i + 1}/{j + 1}", soft, mode)
    for j in range(3):
        y = unit(y, f"stage4/{j}", 2048, mode, stride=2 if j == 0 else 1)
    return classifier(y, "classifier", classes, mode)


def unit(x: nn.Variable, name: str, width: int, mode: Mode, stride: int = 1) -> nn.Variable:
    """A bottleneck that starts with BN, beside a shortcut."""
    shortcut = conv(x, f"{name}/shortcut", width, 1, mode, stride, bias=True, bn=False, act="none")
    y = batch_norm(x, f"{name}/0", mode)
    y = conv(y, f"{name}/1", width // 4, 1, mode, stride, bias=True)
    y = conv(y, f"{name}/2", width // 4, 3, mode, bias=True)
    return conv(y, f"{name}/3", width, 1, mode, bias=True, bn=False, act="none") + shortcut


def module(x: nn.Variable, name: str, soft: Soft, mode: Mode) -> nn.Variable:
    """[unit, (1 + mask) x trunk, unit] (paper, section 3)."""
    width = channels(x, mode)

    def own(y: nn.Variable, part: str) -> nn.Variable:
        return unit(y, f"{name}/{part}", width, mode)

    def unused(part: str) -> None:
        if mode.trace is not None:
            stored: List[Owner] = []
            unit(x, f"{name}/{part}", width, replace(mode, trace=stored))
            for layer in stored:
                idle(layer, mode)

    first = own(x, "pre/0")
    trunk = own(own(first, "trunk/0"), "trunk/1")
    mask = upsample(soft(max_pool(first, 3, mode, 2, 1), own, unused), 2, mode)
    mask = crop(mask, *sides(first, mode), mode)
    mask = batch_norm(mask, f"{name}/sigmoid/0", mode)
    mask = conv(mask, f"{name}/sigmoid/1", width, 1, mode, bias=True)
    mask = conv(mask, f"{name}/sigmoid/2", width, 1, mode, bias=True, bn=False, act="sigmoid")
    return own((1 + mask) * trunk, "last/0")


# Soft branches: x is pooled, own(x, part) a unit of the module, unused(part) one that is only stored.

def soft_1(x: nn.Variable, own: Unit, unused: Callable[[str], None]) -> nn.Variable:
    """Of the first stage."""
    unused("shortcut_short")
    long = own(own(x, "soft_resdown1/0"), "shortcut_long")
    short = own(own(x, "soft_resdown2/0"), "soft_resdown3/0")
    y = own(own(x, "soft_resdown3/0"), "soft_resdown4/0")
    y = own(own(y, "soft_resup1/0"), "soft_resup2/0") + short
    return own(own(y, "soft_resup3/0") + long, "soft_resup4/0")


def soft_2(x: nn.Variable, own: Unit, unused: Callable[[str], None]) -> nn.Variable:
    """Of the second stage."""
    shortcut = own(own(x, "soft_resdown1/0"), "shortcut")
    y = own(own(x, "soft_resdown2/0"), "soft_resdown3/0")
    return own(own(own(y, "soft_resup1/0"), "soft_resup2/0") + shortcut, "soft_resup3/0")


def soft_3(x: nn.Variable, own: Unit, unused: Callable[[str], None]) -> nn.Variable:
    """Of the third stage."""
    unused("shortcut")
    y = own(own(x, "soft_resdown1/0"), "soft_resdown2/0")
    return own(own(y, "soft_resup1/0"), "soft_resup2/0")


def dotted(layer: str) -> str:
    """The original's module of the same name."""
    return layer.replace("/", ".")


RULES: Tuple[Rule, ...] = (
    ("stem", lambda: in_row("pre_conv")),
    ("classifier", lambda: "linear"),
    ("(.+)/shortcut", lambda unit: f"{dotted(unit)}.shortcut"),
    (r"(.+/sigmoid)/(\d)", lambda sequence, i: in_row(dotted(sequence), 3 * i - 1)),
    (r"(.+)/(\d)", lambda unit, i: in_row(f"{dotted(unit)}.residual_function", 3 * i - 1)),
)


def entry(layers: int, *blocks: int) -> Entry:
    """The network of so many layers."""
    return Entry(partial(attention, blocks=blocks), "Wang et al., CVPR 2017",
                 {f"pytorch-cifar100/attention{layers}": RULES, f"MutableNAS/attention{layers}": RULES},
                 classes=100)


NETWORKS: Dict[str, Entry] = {
    "attention56_cifar100": entry(56, 1, 1, 1),
    "attention92_cifar100": entry(92, 1, 2, 3),
}
