"""Pre-activation ResNets for images of 32 pixels (He et al., Identity mappings, ECCV 2016).

    stem    3x3 -> 64
    stages  blocks beside shortcuts; 64, 128, 256, 512 channels (times 4 for bottlenecks), stride 1, 2, 2, 2
    head    mean, affine

BN and ReLU stand before the convolutions of a block, and nothing follows the sum. Unlike the paper's, no
BN follows the last block. Shortcuts that change stride or width are bare 1x1 convolutions. Two forms:

    kuangliu     the shortcut takes the activated input; a bottleneck's stride is that of its 3x3
    weiaicunzai  the shortcut takes the raw input; a bottleneck's stride is that of its first 1x1; the stem
                 has BN and ReLU; all convolutions have a bias

SENet-18 is kuangliu's with squeeze and excitation (Hu et al., CVPR 2018) of each block's result, and BN and
ReLU in the stem.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, Sequence, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import batch_norm, channels, classifier, conv, dropout, squeeze_excite
from .entry import Entry, Rule, in_row
from .resnet_cifar import DEPTHS, plan


def preact_resnet(x: nn.Variable, classes: int, mode: Mode, blocks: Sequence[int], bottleneck: bool = False,
                  se: bool = False) -> nn.Variable:
    """Logits (N, classes) of kuangliu's form.

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        blocks: How many each stage has.
        bottleneck: Whether blocks are bottlenecks.
        se: Whether blocks have squeeze and excitation.
    """
    y = conv(x, "stem", 64, 3, mode, bn=se, act="relu" if se else "none")
    for name, width, stride in plan(blocks):
        out = 4 * width if bottleneck else width
        h = batch_norm(y, f"{name}/pre", mode)
        same = stride == 1 and channels(y, mode) == out
        shortcut = y if same else conv(h, f"{name}/skip", out, 1, mode, stride, bn=False, act="none")
        if bottleneck:
            h = conv(h, f"{name}/0", width, 1, mode)
            h = conv(h, f"{name}/1", width, 3, mode, stride)
            h = conv(h, f"{name}/2", out, 1, mode, bn=False, act="none")
        else:
            h = conv(h, f"{name}/0", width, 3, mode, stride)
            h = conv(h, f"{name}/1", width, 3, mode, bn=False, act="none")
        y = (squeeze_excite(h, f"{name}/se", out // 16, mode) if se else h) + shortcut
    return classifier(y, "classifier", classes, mode)


def preact_resnet_raw(x: nn.Variable, classes: int, mode: Mode, blocks: Sequence[int],
                      bottleneck: bool = False) -> nn.Variable:
    """Logits (N, classes) of weiaicunzai's form; see `preact_resnet`."""
    y = conv(x, "stem", 64, 3, mode, bias=True)
    for name, width, stride in plan(blocks):
        y = raw_block(y, name, width, stride, bottleneck, mode)
    return classifier(y, "classifier", classes, mode)


def raw_block(x: nn.Variable, name: str, width: int, stride: int, bottleneck: bool, mode: Mode,
              rate: float = 0.0) -> nn.Variable:
    """A block of weiaicunzai's form.

    Args:
        x: The trunk.
        name: Of the block.
        width: Channels; of the 3x3 in a bottleneck.
        stride: Of the first convolution and of the shortcut.
        bottleneck: Whether it is one.
        mode: How the graph is built.
        rate: Of the dropout before the last convolution.
    """
    out = 4 * width if bottleneck else width
    same = stride == 1 and channels(x, mode) == out
    shortcut = x if same else conv(x, f"{name}/skip", out, 1, mode, stride, bias=True, bn=False, act="none")
    kernels = (1, 3, 1) if bottleneck else (3, 3)
    y = batch_norm(x, f"{name}/pre", mode)
    for k, kernel in enumerate(kernels[:-1]):
        y = conv(y, f"{name}/{k}", width, kernel, mode, stride if k == 0 else 1, bias=True)
    y = dropout(y, name, rate, mode)
    return conv(y, f"{name}/{len(kernels) - 1}", out, kernels[-1], mode, bias=True, bn=False, act="none",
                residual=shortcut)


BLOCK = r"stages/(\d+)/(\d+)"
KUANGLIU: Tuple[Rule, ...] = (
    ("stem", lambda: ("conv1", "bn1")),
    (f"{BLOCK}/pre", lambda i, j: f"layer{i + 1}.{j}.bn1"),
    (f"{BLOCK}/skip", lambda i, j: f"layer{i + 1}.{j}.shortcut.0"),
    (rf"{BLOCK}/(\d)", lambda i, j, k: (f"layer{i + 1}.{j}.conv{k + 1}", f"layer{i + 1}.{j}.bn{k + 2}")),
    (rf"{BLOCK}/se/(\d)", lambda i, j, k: f"layer{i + 1}.{j}.fc{k + 1}"),
    ("classifier", lambda: "linear"),
)
WEIAICUNZAI: Tuple[Rule, ...] = (
    ("stem", lambda: in_row("pre")),
    (f"{BLOCK}/pre", lambda i, j: f"stage{i + 1}.{j}.residual.0"),
    (f"{BLOCK}/skip", lambda i, j: f"stage{i + 1}.{j}.shortcut"),
    (rf"{BLOCK}/(\d)", lambda i, j, k: in_row(f"stage{i + 1}.{j}.residual", 3 * k + 2)),
    ("classifier", lambda: "linear"),
)
PAPER = "He et al., ECCV 2016"


def entry(depth: int) -> Entry:
    """kuangliu's network of so many layers."""
    sources = {f"{place}/PreActResNet{depth}": KUANGLIU for place in ("pytorch-cifar", "MutableNAS")}
    return Entry(partial(preact_resnet, blocks=DEPTHS[depth], bottleneck=depth >= 50), PAPER, sources)


def raw_entry(depth: int) -> Entry:
    """weiaicunzai's network of so many layers."""
    return Entry(partial(preact_resnet_raw, blocks=DEPTHS[depth], bottleneck=depth >= 50), PAPER,
                 {f"pytorch-cifar100/preactresnet{depth}": WEIAICUNZAI}, classes=100)


NETWORKS: Dict[str, Entry] = {
    **{f"preactresnet{depth}_cifar": entry(depth) for depth in DEPTHS},
    **{f"preactresnet{depth}_cifar100": raw_entry(depth) for depth in DEPTHS},
    "senet18_cifar": Entry(partial(preact_resnet, blocks=DEPTHS[18], se=True), "Hu et al., CVPR 2018",
                           {"pytorch-cifar/SENet18": KUANGLIU, "MutableNAS/senet18_cifar": KUANGLIU}),
}
