"""Shake-Shake networks for images of 32 pixels (Gastaldi, 2017), as MutableNAS has them.

    stem    3x3 -> 16 with a bias, BN
    stages  blocks of two branches [ReLU, 3x3, BN, ReLU, 3x3, BN] beside a shortcut; four of each width
    head    ReLU, mean, affine

In training an image's two branches are mixed by a random coefficient, and their gradients by another one
(section 2, "Shake-Shake-Image"); in evaluation each counts one half. A shortcut that changes width is
[ReLU, two 1x1 convolutions side by side, BN]; the second sees the image shifted by one pixel. Blocks that
keep the width store a shortcut, too, which nothing computes.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.conv import Conv
from ...layers.functional import (
    activate,
    batch_norm,
    by_image,
    channels,
    classifier,
    concat,
    conv,
    idle,
    shift,
    subsample,
)
from ...layers.standing_norm import BatchNorm
from .entry import Entry, Rule, in_row
from .resnet_cifar import plan


def shake_resnet(x: nn.Variable, classes: int, mode: Mode, width: int, blocks: int = 4) -> nn.Variable:
    """Logits (N, classes).

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        width: Channels of the first stage; the next have two and four times as many.
        blocks: How many each stage has.
    """
    y = conv(x, "stem", 16, 3, mode, bias=True, act="none")
    for name, wide, stride in plan((blocks,) * 3, (width, 2 * width, 4 * width)):
        first, second = (branch(y, f"{name}/{k}", wide, stride, mode) for k in (0, 1))
        y = shaken(first, second, name, mode) + shortcut(y, f"{name}/skip", wide, stride, mode)
    return classifier(activate(y, "relu", mode), "classifier", classes, mode)


def branch(x: nn.Variable, name: str, width: int, stride: int, mode: Mode) -> nn.Variable:
    """[ReLU, 3x3, BN, ReLU, 3x3, BN]."""
    y = conv(activate(x, "relu", mode), f"{name}/0", width, 3, mode, stride)
    return conv(y, f"{name}/1", width, 3, mode, act="none")


def shaken(first: nn.Variable, second: nn.Variable, name: str, mode: Mode) -> nn.Variable:
    """a first + (1 - a) second, with the gradients of b first + (1 - b) second.

    Each image has its own a and b; without noise both are one half.
    """
    if mode.random is None:
        return (first + second) * 0.5
    count = first.shape[-1 if mode.fast else 0]
    forward, backward = (mode.random(f"shake/{name}/{way}", (count,)) for way in ("forward", "backward"))
    difference = first - second
    seen = difference * by_image(forward - backward, difference, mode)
    seen = seen.apply(need_grad=False)  # no gradient passes here
    return second + difference * by_image(backward, difference, mode) + seen


def shortcut(x: nn.Variable, name: str, width: int, stride: int, mode: Mode) -> nn.Variable:
    """`x` itself where the width is kept, else half of the channels from each of two shifted views."""
    if channels(x, mode) == width:
        for half in (0, 1):
            idle(Conv(f"{name}/{half}", width, width // 2, (1, 1), bn=False), mode)
        idle(BatchNorm(name, width), mode)
        return x
    y = activate(x, "relu", mode)
    halves = (conv(subsample(view, stride, mode), f"{name}/{half}", width // 2, 1, mode, bn=False, act="none")
              for half, view in enumerate((y, shift(y, mode))))
    return batch_norm(concat(*halves, mode=mode), name, mode, act="none")


BLOCK = r"stages/(\d+)/(\d+)"
MUTABLENAS: Tuple[Rule, ...] = (
    ("stem", lambda: ("conv_1", "bn_1")),
    (f"{BLOCK}/skip", lambda i, j: f"stage_{i + 1}.{j}.shortcut.bn"),
    (rf"{BLOCK}/skip/(\d)", lambda i, j, half: f"stage_{i + 1}.{j}.shortcut.conv{half + 1}"),
    (rf"{BLOCK}/(\d)/(\d)", lambda i, j, k, place: in_row(f"stage_{i + 1}.{j}.branch{k + 1}", 3 * place + 1)),
    ("classifier", lambda: "fc_out"),
)


def entry(width: int) -> Entry:
    """The network of 26 layers whose first stage is so wide."""
    return Entry(partial(shake_resnet, width=width), "Gastaldi, 2017",
                 {f"MutableNAS/shake_resnet26_2x{width}d": MUTABLENAS})


NETWORKS: Dict[str, Entry] = {f"shake_resnet26_2x{width}d_cifar": entry(width) for width in (32, 64)}
