"""Dual path networks for images of 32 pixels (Chen et al., NeurIPS 2017), as kuangliu/pytorch-cifar has them.

    stem    3x3 -> 64, BN, ReLU
    stages  blocks [1x1, BN, ReLU, 3x3 of 32 groups, BN, ReLU, 1x1, BN], stride 1, 2, 2, 2
    head    mean, affine

The first channels of a block's output are added to those of its input, as in a ResNet; the others join the
input's, as in a DenseNet. The first block of a stage projects its input: 1x1, BN.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, NamedTuple, Sequence, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import activate, channels, classifier, concat, conv, split
from .entry import Entry, Rule, in_row


class Stage(NamedTuple):
    """What the blocks of a stage have in common.

    Args:
        inner: Channels of the 3x3.
        added: Channels of the residual path.
        joined: Channels that each block adds to the dense path.
        stride: Of the first block.
    """

    inner: int
    added: int
    joined: int
    stride: int


STAGES = (Stage(96, 256, 16, 1), Stage(192, 512, 32, 2), Stage(384, 1024, 24, 2), Stage(768, 2048, 128, 2))


def dpn(x: nn.Variable, classes: int, mode: Mode, blocks: Sequence[int]) -> nn.Variable:
    """Logits (N, classes); blocks: how many each of the four stages has."""
    y = conv(x, "stem", 64, 3, mode)
    for i, (count, stage) in enumerate(zip(blocks, STAGES)):
        for j in range(count):
            y = block(y, f"stages/{i}/{j}", stage, j == 0, mode)
    return classifier(y, "classifier", classes, mode)


def block(x: nn.Variable, name: str, stage: Stage, first: bool, mode: Mode) -> nn.Variable:
    """One block; first: of its stage."""
    inner, added, joined, stride = stage if first else stage._replace(stride=1)
    y = conv(x, f"{name}/0", inner, 1, mode)
    y = conv(y, f"{name}/1", inner, 3, mode, stride, groups=32)
    y = conv(y, f"{name}/2", added + joined, 1, mode, act="none")
    if first:
        x = conv(x, f"{name}/skip", added + joined, 1, mode, stride, act="none")
    residual, dense = split(x, (added, channels(x, mode) - added), mode)
    more, new = split(y, (added, joined), mode)
    return activate(concat(residual + more, dense, new, mode=mode), "relu", mode)


KUANGLIU: Tuple[Rule, ...] = (
    ("stem", lambda: ("conv1", "bn1")),
    (r"stages/(\d+)/(\d+)/skip", lambda i, j: in_row(f"layer{i + 1}.{j}.shortcut")),
    (r"stages/(\d+)/(\d+)/(\d)",
     lambda i, j, k: (f"layer{i + 1}.{j}.conv{k + 1}", f"layer{i + 1}.{j}.bn{k + 1}")),
    ("classifier", lambda: "linear"),
)
PAPER = "Chen et al., NeurIPS 2017"
NETWORKS: Dict[str, Entry] = {
    "dpn26_cifar": Entry(partial(dpn, blocks=(2, 2, 2, 2)), PAPER,
                         {"pytorch-cifar/DPN26": KUANGLIU, "MutableNAS/DPN26": KUANGLIU}),
    "dpn92_cifar": Entry(partial(dpn, blocks=(3, 4, 20, 3)), PAPER, {"pytorch-cifar/DPN92": KUANGLIU}),
}
