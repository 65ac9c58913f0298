"""Inception-v4 and Inception-ResNet-v2 for images of 32 pixels (Szegedy et al., AAAI 2017).

    stem    3x3 -> 32 without padding, 3x3 -> 32, 64, then three pairs of branches -> 384
    35      blocks of 1x1, 3x3 and two 3x3, then reduction A
    17      blocks of factorised 7x7, then reduction B
    8       blocks of 1x3 beside 3x1, or of 1x3 and 3x1 in a row
    head    mean, dropout, affine

As weiaicunzai/pytorch-cifar100 has them: BN and ReLU follow every convolution in a branch, and the stem does
not halve the image. A residual block adds its branches, joined by a 1x1 convolution and scaled by 1 (35) or
0.1 (17, 8), to a 1x1 convolution of its input, not to the input itself; BN and ReLU follow the sum. Reduction
B of Inception-v4 is padded. Layers have the names of the original's modules.
"""

from __future__ import annotations

from functools import partial
from typing import Callable, Dict, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import average_pool, batch_norm, classifier, concat, conv, max_pool
from .entry import Entry, Modules, Rule
from .inception_cifar import inside, row


def inception_v4(x: nn.Variable, classes: int, mode: Mode, dropout: float = 0.2) -> nn.Variable:
    """Logits (N, classes): 4, 7 and 3 blocks.

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        dropout: Before the classifier, rate in [0, 1).
    """
    y = stem(x, mode)
    for i in range(4):
        y = block_35(y, f"inception_a/{i}", mode)
    y = reduction_a(y, (192, 224, 256), mode)
    for i in range(7):
        y = block_17(y, f"inception_b/{i}", mode)
    y = concat(row(y, "reduction_b/branch3x3", mode, (192, 1), (192, 3), stride=2),
               row(y, "reduction_b/branch7x7", mode, (256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3),
                   stride=2),
               max_pool(y, 3, mode, 2, 1), mode=mode)
    for i in range(3):
        y = block_8(y, f"inception_c/{i}", mode)
    return classifier(y, "classifier", classes, mode, dropout)


def inception_resnet_v2(x: nn.Variable, classes: int, mode: Mode, dropout: float = 0.2) -> nn.Variable:
    """Logits (N, classes): 5, 10 and 5 blocks; see `inception_v4`."""
    y = stem(x, mode)
    for i in range(5):
        y = residual_35(y, f"inception_resnet_a/{i}", mode)
    y = reduction_a(y, (256, 256, 384), mode)
    for i in range(10):
        y = residual_17(y, f"inception_resnet_b/{i}", mode)
    y = concat(row(y, "reduction_b/branch3x3a", mode, (256, 1), (384, 3), stride=2, pad=0),
               row(y, "reduction_b/branch3x3b", mode, (256, 1), (288, 3), stride=2, pad=0),
               row(y, "reduction_b/branch3x3stack", mode, (256, 1), (288, 3), (320, 3), stride=2,
                   pad=0),
               max_pool(y, 3, mode), mode=mode)
    for i in range(5):
        y = residual_8(y, f"inception_resnet_c/{i}", mode)
    return classifier(y, "classifier", classes, mode, dropout)


# Both ---------------------------------------------------------------------------------------------

def stem(x: nn.Variable, mode: Mode) -> nn.Variable:
    """384 channels at the image's size less two pixels (paper, figure 3, without its strides)."""
    y = conv(x, "stem/conv1/0", 32, 3, mode, pad=0)
    y = conv(y, "stem/conv1/1", 32, 3, mode)
    y = conv(y, "stem/conv1/2", 64, 3, mode)
    y = concat(conv(y, "stem/branch3x3_conv", 96, 3, mode), max_pool(y, 3, mode, 1, 1), mode=mode)
    y = concat(row(y, "stem/branch7x7a", mode, (64, 1), (64, (7, 1)), (64, (1, 7)), (96, 3)),
               row(y, "stem/branch7x7b", mode, (64, 1), (96, 3)), mode=mode)
    return concat(max_pool(y, 3, mode, 1, 1), conv(y, "stem/branchpoolb", 192, 3, mode), mode=mode)


def reduction_a(x: nn.Variable, widths: Tuple[int, int, int], mode: Mode) -> nn.Variable:
    """Half the size; widths: of the branch of three convolutions."""
    one, two, three = widths
    return concat(row(x, "reduction_a/branch3x3stack", mode, (one, 1), (two, 3), (three, 3), stride=2, pad=0),
                  conv(x, "reduction_a/branch3x3", 384, 3, mode, 2, pad=0),
                  max_pool(x, 3, mode), mode=mode)


# Inception-v4 -------------------------------------------------------------------------------------

def pooled(x: nn.Variable, name: str, width: int, mode: Mode) -> nn.Variable:
    """The pooled branch."""
    return conv(average_pool(x, 3, mode, 1, 1), f"{name}/branchpool/1", width, 1, mode)


def block_35(x: nn.Variable, name: str, mode: Mode) -> nn.Variable:
    """Paper, figure 4."""
    return concat(row(x, f"{name}/branch3x3stack", mode, (64, 1), (96, 3), (96, 3)),
                  row(x, f"{name}/branch3x3", mode, (64, 1), (96, 3)),
                  conv(x, f"{name}/branch1x1", 96, 1, mode), pooled(x, name, 96, mode), mode=mode)


def block_17(x: nn.Variable, name: str, mode: Mode) -> nn.Variable:
    """Figure 5."""
    tall, wide = (7, 1), (1, 7)
    return concat(conv(x, f"{name}/branch1x1", 384, 1, mode),
                  row(x, f"{name}/branch7x7", mode, (192, 1), (224, wide), (256, tall)),
                  row(x, f"{name}/branch7x7stack", mode, (192, 1), (192, wide), (224, tall), (224, wide),
                      (256, tall)),
                  pooled(x, name, 128, mode), mode=mode)


def block_8(x: nn.Variable, name: str, mode: Mode) -> nn.Variable:
    """Figure 6."""
    tall, wide = (3, 1), (1, 3)
    short = conv(x, f"{name}/branch3x3", 384, 1, mode)
    long = row(x, f"{name}/branch3x3stack", mode, (384, 1), (448, wide), (512, tall))
    return concat(conv(x, f"{name}/branch1x1", 256, 1, mode),
                  conv(short, f"{name}/branch3x3a", 256, tall, mode),
                  conv(short, f"{name}/branch3x3b", 256, wide, mode),
                  conv(long, f"{name}/branch3x3stacka", 256, wide, mode),
                  conv(long, f"{name}/branch3x3stackb", 256, tall, mode),
                  pooled(x, name, 256, mode), mode=mode)


# Inception-ResNet-v2 ------------------------------------------------------------------------------

def residual(x: nn.Variable, name: str, width: int, factor: float, mode: Mode, *branches: nn.Variable
             ) -> nn.Variable:
    """BN and ReLU of a 1x1 convolution of the block's input plus `factor` times one of its branches."""
    plain = partial(conv, width=width, kernel=1, mode=mode, bias=True, bn=False, act="none")
    joined = plain(concat(*branches, mode=mode), f"{name}/reduction1x1")
    return batch_norm(plain(x, f"{name}/shortcut") + factor * joined, f"{name}/sum", mode)


def residual_35(x: nn.Variable, name: str, mode: Mode) -> nn.Variable:
    """Paper, figure 16."""
    return residual(x, name, 384, 1.0, mode, conv(x, f"{name}/branch1x1", 32, 1, mode),
                    row(x, f"{name}/branch3x3", mode, (32, 1), (32, 3)),
                    row(x, f"{name}/branch3x3stack", mode, (32, 1), (48, 3), (64, 3)))


def residual_17(x: nn.Variable, name: str, mode: Mode) -> nn.Variable:
    """Figure 17."""
    return residual(x, name, 1154, 0.1, mode, conv(x, f"{name}/branch1x1", 192, 1, mode),
                    row(x, f"{name}/branch7x7", mode, (128, 1), (160, (1, 7)), (192, (7, 1))))


def residual_8(x: nn.Variable, name: str, mode: Mode) -> nn.Variable:
    """Figure 19."""
    return residual(x, name, 2048, 0.1, mode, conv(x, f"{name}/branch1x1", 192, 1, mode),
                    row(x, f"{name}/branch3x3", mode, (192, 1), (224, (1, 3)), (256, (3, 1))))


# Elsewhere ----------------------------------------------------------------------------------------

BLOCK = r"(inception_(?:resnet_)?)([abc])/(\d+)/"


def block(kind: str, letter: str, place: int) -> str:
    """The original's module of a block."""
    title = {"inception_": "Inception", "inception_resnet_": "InceptionResNet"}[kind]
    return f"{kind}{letter}.{title}{letter.upper()}_{place}"


def shortcut(kind: str, letter: str, place: int) -> Modules:
    """The original's module of a shortcut; it misspells those of the last blocks."""
    return f"{block(kind, letter, place)}.{'shorcut' if letter == 'c' else 'shortcut'}"


RULES: Tuple[Rule, ...] = (
    ("classifier", lambda: "linear"),
    (BLOCK + "reduction1x1", lambda *which: f"{block(*which)}.reduction1x1"),
    (BLOCK + "shortcut", shortcut),
    (BLOCK + "sum", lambda *which: f"{block(*which)}.bn"),
    (BLOCK + "(.+)", lambda kind, letter, place, name: inside(f"{block(kind, letter, place)}.{name}")),
    ("(.+)", inside),
)


def entry(build: Callable[..., nn.Variable], least: int, *sources: str) -> Entry:
    """The row of one of the two."""
    return Entry(build, "Szegedy et al., AAAI 2017", {source: RULES for source in sources}, classes=100,
                 least=least)


NETWORKS: Dict[str, Entry] = {
    "inceptionv4_cifar100": entry(inception_v4, 5, "pytorch-cifar100/inceptionv4", "MutableNAS/inceptionv4"),
    "inceptionresnetv2_cifar100": entry(inception_resnet_v2, 9, "pytorch-cifar100/inceptionresnetv2",
                                        "MutableNAS/inception_resnet_v2"),
}
