"""Deep layer aggregation for images of 32 pixels (Yu et al., CVPR 2018), as kuangliu/pytorch-cifar has it.

    stem    3x3 -> 16, 3x3 -> 16, 3x3 -> 32, each with BN and ReLU
    trees   64, 128, 256, 512 channels of level 1, 2, 2, 1, stride 1, 2, 2, 2
    head    mean, affine

A tree of level 1 is two basic blocks, one after the other, and a root: 1x1, BN, ReLU of the blocks' outputs
together. In DLA a tree of level 2 is a tree of level 1 and two more blocks, whose root also reads that tree
and one more block beside all of them. In SimpleDLA it is two trees of level 1 and a root.
"""

from __future__ import annotations

from typing import Dict, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import channels, classifier, concat, conv
from .entry import Entry, Modules, Rule, in_row

TREES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 1, 2))  # width, level, stride


def dla(x: nn.Variable, classes: int, mode: Mode) -> nn.Variable:
    """Logits (N, classes) of DLA."""
    y = stem(x, mode)
    for i, (width, level, stride) in enumerate(TREES):
        y = (tree if level == 1 else deep_tree)(y, f"trees/{i}", width, stride, mode)
    return classifier(y, "classifier", classes, mode)


def simple_dla(x: nn.Variable, classes: int, mode: Mode) -> nn.Variable:
    """Logits (N, classes) of SimpleDLA."""
    y = stem(x, mode)
    for i, (width, level, stride) in enumerate(TREES):
        y = (tree if level == 1 else double_tree)(y, f"trees/{i}", width, stride, mode)
    return classifier(y, "classifier", classes, mode)


def stem(x: nn.Variable, mode: Mode) -> nn.Variable:
    """Three convolutions."""
    for i, width in enumerate((16, 16, 32)):
        x = conv(x, f"stem/{i}", width, 3, mode)
    return x


def tree(x: nn.Variable, name: str, width: int, stride: int, mode: Mode) -> nn.Variable:
    """A tree of level 1."""
    left = block(x, f"{name}/left", width, stride, mode)
    right = block(left, f"{name}/right", width, 1, mode)
    return conv(concat(left, right, mode=mode), f"{name}/root", width, 1, mode)


def deep_tree(x: nn.Variable, name: str, width: int, stride: int, mode: Mode) -> nn.Variable:
    """A tree of level 2 of DLA."""
    beside = block(x, f"{name}/beside", width, stride, mode)
    inner = tree(x, f"{name}/inner", width, stride, mode)
    left = block(inner, f"{name}/left", width, 1, mode)
    right = block(left, f"{name}/right", width, 1, mode)
    return conv(concat(beside, inner, left, right, mode=mode), f"{name}/root", width, 1, mode)


def double_tree(x: nn.Variable, name: str, width: int, stride: int, mode: Mode) -> nn.Variable:
    """A tree of level 2 of SimpleDLA."""
    left = tree(x, f"{name}/left", width, stride, mode)
    right = tree(left, f"{name}/right", width, 1, mode)
    return conv(concat(left, right, mode=mode), f"{name}/root", width, 1, mode)


def block(x: nn.Variable, name: str, width: int, stride: int, mode: Mode) -> nn.Variable:
    """A ResNet's basic block."""
    same = stride == 1 and channels(x, mode) == width
    shortcut = x if same else conv(x, f"{name}/skip", width, 1, mode, stride, act="none")
    y = conv(x, f"{name}/0", width, 3, mode, stride)
    return conv(y, f"{name}/1", width, 3, mode, residual=shortcut)


def rules(names: Dict[str, str]) -> Tuple[Rule, ...]:
    """names: what pytorch-cifar calls the branches of a tree."""
    def branch(i: int, path: str) -> str:
        return ".".join([f"layer{i + 3}", *(names.get(part, part) for part in path.split("/"))])

    def part(i: int, path: str, k: int) -> Modules:
        return f"{branch(i, path)}.conv{k + 1}", f"{branch(i, path)}.bn{k + 1}"

    return (
        (r"stem/(\d)", lambda i: in_row(("base", "layer1", "layer2")[i])),
        (r"trees/(\d)/(.*root)", lambda i, path: (f"{branch(i, path)}.conv", f"{branch(i, path)}.bn")),
        (r"trees/(\d)/(.*)/skip", lambda i, path: in_row(f"{branch(i, path)}.shortcut")),
        (r"trees/(\d)/(.*)/(\d)", part),
        ("classifier", lambda: "linear"),
    )


PAPER = "Yu et al., CVPR 2018"
DLA = rules({"beside": "prev_root", "inner": "level_1", "left": "left_node", "right": "right_node"})
SIMPLE_DLA = rules({"left": "left_tree", "right": "right_tree"})
NETWORKS: Dict[str, Entry] = {
    "dla_cifar": Entry(dla, PAPER, {"pytorch-cifar/DLA": DLA, "MutableNAS/DLA": DLA}),
    "simpledla_cifar": Entry(simple_dla, PAPER, {"pytorch-cifar/SimpleDLA": SIMPLE_DLA}),
}
