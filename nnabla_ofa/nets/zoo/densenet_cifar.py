"""DenseNets for images of 32 pixels (Huang et al., CVPR 2017), in the forms of two collections.

    stem    3x3 -> 2 growth, without BN
    stages  layers [BN, ReLU, 1x1 -> 4 growth, BN, ReLU, 3x3 -> growth], whose output joins their input
    between transition [BN, activation, 1x1 -> half the channels, 2x2 mean]
    head    BN, ReLU, mean, affine

kuangliu/pytorch-cifar puts a layer's output before its input, and ReLU into the transition.
weiaicunzai/pytorch-cifar100 puts the output behind the input, and no activation into the transition.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, Sequence, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import average_pool, batch_norm, channels, classifier, concat, conv
from .entry import Entry, Rule


def densenet(x: nn.Variable, classes: int, mode: Mode, blocks: Sequence[int], growth: int,
             output_first: bool = True, transition_act: str = "relu") -> nn.Variable:
    """Logits (N, classes).

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        blocks: How many layers each of the four stages has.
        growth: Channels that a layer adds.
        output_first: Whether a layer's output comes before its input in the concatenation.
        transition_act: The transition's activation.
    """
    y = conv(x, "stem", 2 * growth, 3, mode, bn=False, act="none")
    for i, count in enumerate(blocks):
        if i > 0:
            y = batch_norm(y, f"transitions/{i - 1}/norm", mode, transition_act)
            y = conv(y, f"transitions/{i - 1}/0", channels(y, mode) // 2, 1, mode, bn=False, act="none")
            y = average_pool(y, 2, mode)
        for j in range(count):
            new = layer(y, f"stages/{i}/{j}", growth, mode)
            y = concat(*((new, y) if output_first else (y, new)), mode=mode)
    return classifier(batch_norm(y, "norm", mode), "classifier", classes, mode)


def layer(x: nn.Variable, name: str, growth: int, mode: Mode) -> nn.Variable:
    """The channels that one layer adds."""
    y = batch_norm(x, f"{name}/norm", mode)
    y = conv(y, f"{name}/0", 4 * growth, 1, mode)
    return conv(y, f"{name}/1", growth, 3, mode, bn=False, act="none")


LAYER, TRANSITION = r"stages/(\d+)/(\d+)", r"transitions/(\d+)"
KUANGLIU: Tuple[Rule, ...] = (
    ("stem", lambda: "conv1"),
    (f"{LAYER}/norm", lambda i, j: f"dense{i + 1}.{j}.bn1"),
    (f"{LAYER}/0", lambda i, j: (f"dense{i + 1}.{j}.conv1", f"dense{i + 1}.{j}.bn2")),
    (f"{LAYER}/1", lambda i, j: f"dense{i + 1}.{j}.conv2"),
    (f"{TRANSITION}/norm", lambda i: f"trans{i + 1}.bn"),
    (f"{TRANSITION}/0", lambda i: f"trans{i + 1}.conv"),
    ("norm", lambda: "bn"),
    ("classifier", lambda: "linear"),
)


def bottle_neck(i: int, j: int, place: int) -> str:
    """A module of a layer in pytorch-cifar100, which names the last stage otherwise."""
    stage = f"dense_block_layer_{i}" if i < 3 else "dense_block3"
    return f"features.{stage}.bottle_neck_layer_{j}.bottle_neck.{place}"


WEIAICUNZAI: Tuple[Rule, ...] = (
    ("stem", lambda: "conv1"),
    (f"{LAYER}/norm", lambda i, j: bottle_neck(i, j, 0)),
    (f"{LAYER}/0", lambda i, j: (bottle_neck(i, j, 2), bottle_neck(i, j, 3))),
    (f"{LAYER}/1", lambda i, j: bottle_neck(i, j, 5)),
    (f"{TRANSITION}/norm", lambda i: f"features.transition_layer_{i}.down_sample.0"),
    (f"{TRANSITION}/0", lambda i: f"features.transition_layer_{i}.down_sample.1"),
    ("norm", lambda: "features.bn"),
    ("classifier", lambda: "linear"),
)
PAPER = "Huang et al., CVPR 2017"
SIZES: Dict[int, Tuple[Tuple[int, ...], int]] = {  # layers of each stage, growth
    121: ((6, 12, 24, 16), 32),
    161: ((6, 12, 36, 24), 48),
    169: ((6, 12, 32, 32), 32),
    201: ((6, 12, 48, 32), 32),
}
NETWORKS: Dict[str, Entry] = {
    **{f"densenet{depth}_cifar": Entry(
        partial(densenet, blocks=blocks, growth=growth), PAPER,
        {f"pytorch-cifar/DenseNet{depth}": KUANGLIU}, least=8)
       for depth, (blocks, growth) in SIZES.items()},
    **{f"densenet{depth}_cifar100": Entry(
        partial(densenet, blocks=blocks, growth=growth, output_first=False, transition_act="none"), PAPER,
        {f"pytorch-cifar100/densenet{depth}": WEIAICUNZAI}, classes=100, least=8)
       for depth, (blocks, growth) in SIZES.items()},
    "densenet_cifar": Entry(
        partial(densenet, blocks=(6, 12, 24, 16), growth=12), PAPER,
        {"pytorch-cifar/densenet_cifar": KUANGLIU, "MutableNAS/densenet_cifar": KUANGLIU}, least=8),
}
