"""AnyNet, and its rows: ResNet, ResNeXt and RegNet of pycls, and RegNets for 32 pixels.

    stem    a convolution, BN, ReLU; some with a max-pool
    stages  bottlenecks [1x1, BN, ReLU, grouped 3x3, BN, ReLU, squeeze and excitation, 1x1, BN] beside
            shortcuts, ReLU after the sum; a stage's first block has its stride
    head    mean, affine

AnyNet (Radosavovic et al., Designing network design spaces, CVPR 2020) leaves all numbers free. RegNets are
those whose inner width is the block's own; RegNetY has squeeze and excitation, a quarter of the block's
*input* wide. The shortcut is a 1x1 convolution with BN where stride or width change, else the identity.
Sources: facebookresearch/pycls, and kuangliu/pytorch-cifar for 32 pixels.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, NamedTuple, Sequence, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import channels, classifier, conv, max_pool, squeeze_excite
from .entry import Entry, Function, Rule, in_row
from .resnet_cifar import DEPTHS, STRIDES, WIDTHS, projected


class Stem(NamedTuple):
    """Channels, kernel, stride of the first convolution; pool: whether a 3x3 max-pool, stride 2, follows."""

    width: int
    kernel: int = 3
    stride: int = 1
    pool: bool = False


class Stage(NamedTuple):
    """Blocks of `width` channels around a 3x3 of `inner` channels in `groups`; the first has the stride."""

    blocks: int
    width: int
    stride: int
    inner: int
    groups: int


def anynet(x: nn.Variable, classes: int, mode: Mode, stem: Stem, stages: Sequence[Stage], se: float = 0.0,
           grouped: bool = False) -> nn.Variable:
    """Logits (N, classes).

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        stem: Its first convolution.
        stages: All others.
        se: Channels within squeeze and excitation, over those of the block's input; 0: there is none.
        grouped: Whether a block's first 1x1 has the groups of the 3x3.
    """
    y = conv(x, "stem", stem.width, stem.kernel, mode, stem.stride)
    if stem.pool:
        y = max_pool(y, 3, mode, 2, pad=1)
    for i, stage in enumerate(stages):
        for j in range(stage.blocks):
            y = block(y, f"stages/{i}/{j}", stage._replace(stride=stage.stride if j == 0 else 1), mode,
                      round(se * channels(y, mode)), grouped)
    return classifier(y, "classifier", classes, mode)


def block(x: nn.Variable, name: str, stage: Stage, mode: Mode, squeezed: int = 0, grouped: bool = False
          ) -> nn.Variable:
    """A bottleneck beside its shortcut; squeezed: channels within squeeze and excitation."""
    shortcut = projected(x, f"{name}/skip", stage.width, stage.stride, mode)
    y = conv(x, f"{name}/0", stage.inner, 1, mode, groups=stage.groups if grouped else 1)
    y = conv(y, f"{name}/1", stage.inner, 3, mode, stage.stride, groups=stage.groups)
    if squeezed:
        y = squeeze_excite(y, f"{name}/se", squeezed, mode)
    return conv(y, f"{name}/2", stage.width, 1, mode, residual=shortcut)


# Names of the originals ---------------------------------------------------------------------------

BLOCK = r"stages/(\d+)/(\d+)"
PYCLS: Tuple[Rule, ...] = (
    ("stem", lambda: ("stem.conv", "stem.bn")),
    (f"{BLOCK}/skip", lambda i, j: (f"s{i + 1}.b{j + 1}.proj", f"s{i + 1}.b{j + 1}.bn")),
    (rf"{BLOCK}/(\d)", lambda i, j, k: (f"s{i + 1}.b{j + 1}.f.{'abc'[k]}",
                                        f"s{i + 1}.b{j + 1}.f.{'abc'[k]}_bn")),
    (rf"{BLOCK}/se/(\d)", lambda i, j, k: f"s{i + 1}.b{j + 1}.f.se.f_ex.{2 * k}"),
    ("classifier", lambda: "head.fc"),
)
KUANGLIU: Tuple[Rule, ...] = (
    ("stem", lambda: ("conv1", "bn1")),
    (f"{BLOCK}/skip", lambda i, j: in_row(f"layer{i + 1}.{j}.shortcut")),
    (rf"{BLOCK}/(\d)", lambda i, j, k: (f"layer{i + 1}.{j}.conv{k + 1}", f"layer{i + 1}.{j}.bn{k + 1}")),
    (rf"{BLOCK}/se/(\d)", lambda i, j, k: f"layer{i + 1}.{j}.se.se{k + 1}"),
    ("classifier", lambda: "linear"),
)


# Rows ---------------------------------------------------------------------------------------------

IMAGENET = Stem(64, 7, 2, pool=True)


def resnet_stages(blocks: Sequence[int], ratio: int, groups: int) -> Tuple[Stage, ...]:
    """Those of ResNets and ResNeXts, whose 3x3 has `ratio` times 64, 128, 256, 512 channels."""
    return tuple(Stage(n, 4 * w, s, ratio * w, groups) for n, w, s in zip(blocks, WIDTHS, STRIDES))


def resnet(depth: int) -> Entry:
    """The ResNet of so many layers for ImageNet (He et al., CVPR 2016), its stride on the 3x3."""
    return Entry(partial(anynet, stem=IMAGENET, stages=resnet_stages(DEPTHS[depth], 1, 1)),
                 "He et al., CVPR 2016", {f"pycls/R-{depth}-1x64d": PYCLS}, image_size=224, classes=1000)


def resnext(depth: int) -> Entry:
    """The ResNeXt of so many layers for ImageNet (Xie et al., CVPR 2017), 32 groups of 4 channels."""
    return Entry(partial(anynet, stem=IMAGENET, stages=resnet_stages(DEPTHS[depth], 2, 32)),
                 "Xie et al., CVPR 2017", {f"pycls/X-{depth}-32x4d": PYCLS}, image_size=224, classes=1000)


class RegNet(NamedTuple):
    """A row of Radosavovic et al., appendix: blocks and channels of the stages, and channels of a group.

    first: channels of a group in the first stage, where they differ.
    """

    blocks: Tuple[int, ...]
    widths: Tuple[int, ...]
    group: int
    first: int = 0

    def stages(self, strides: Tuple[int, ...]) -> Tuple[Stage, ...]:
        """The stages with these strides."""
        groups = (self.first or self.group, *(self.group,) * 3)
        return tuple(Stage(n, w, s, w, w // g)
                     for n, w, s, g in zip(self.blocks, self.widths, strides, groups))


X = {
    "200MF": RegNet((1, 1, 4, 7), (24, 56, 152, 368), 8),
    "400MF": RegNet((1, 2, 7, 12), (32, 64, 160, 384), 16),
    "600MF": RegNet((1, 3, 5, 7), (48, 96, 240, 528), 24),
    "800MF": RegNet((1, 3, 7, 5), (64, 128, 288, 672), 16),
    "1.6GF": RegNet((2, 4, 10, 2), (72, 168, 408, 912), 24),
    "3.2GF": RegNet((2, 6, 15, 2), (96, 192, 432, 1008), 48),
    "4.0GF": RegNet((2, 5, 14, 2), (80, 240, 560, 1360), 40),
    "6.4GF": RegNet((2, 4, 10, 1), (168, 392, 784, 1624), 56),
    "8.0GF": RegNet((2, 5, 15, 1), (80, 240, 720, 1920), 120, first=80),
    "12GF": RegNet((2, 5, 11, 1), (224, 448, 896, 2240), 112),
    "16GF": RegNet((2, 6, 13, 1), (256, 512, 896, 2048), 128),
    "32GF": RegNet((2, 7, 13, 1), (336, 672, 1344, 2520), 168),
}
Y = {
    "200MF": RegNet((1, 1, 4, 7), (24, 56, 152, 368), 8),
    "400MF": RegNet((1, 3, 6, 6), (48, 104, 208, 440), 8),
    "600MF": RegNet((1, 3, 7, 4), (48, 112, 256, 608), 16),
    "800MF": RegNet((1, 3, 8, 2), (64, 128, 320, 768), 16),
    "1.6GF": RegNet((2, 6, 17, 2), (48, 120, 336, 888), 24),
    "3.2GF": RegNet((2, 5, 13, 1), (72, 216, 576, 1512), 24),
    "4.0GF": RegNet((2, 6, 12, 2), (128, 192, 512, 1088), 64),
    "6.4GF": RegNet((2, 7, 14, 2), (144, 288, 576, 1296), 72),
    "8.0GF": RegNet((2, 4, 10, 1), (168, 448, 896, 2016), 56),
    "12GF": RegNet((2, 5, 11, 1), (224, 448, 896, 2240), 112),
    "16GF": RegNet((2, 4, 11, 1), (224, 448, 1232, 3024), 112),
    "32GF": RegNet((2, 5, 12, 1), (232, 696, 1392, 3712), 232),
}
PAPER = "Radosavovic et al., CVPR 2020"


def regnet(kind: str, stem: Stem, stages: Sequence[Stage]) -> Function:
    """RegNet of the kind "X" or "Y"."""
    return partial(anynet, stem=stem, stages=stages, se=0.25 if kind == "Y" else 0.0)


def imagenet(kind: str, size: str, row: RegNet) -> Entry:
    """A RegNet for ImageNet."""
    return Entry(regnet(kind, Stem(32, 3, 2), row.stages((2, 2, 2, 2))), PAPER,
                 {f"pycls/RegNet{kind}-{size}": PYCLS}, image_size=224, classes=1000)


def cifar(kind: str, size: str) -> Entry:
    """A RegNet for 32 pixels; RegNetY has the stages of RegNetX."""
    return Entry(regnet(kind, Stem(64), X[size].stages((1, 1, 2, 2))), PAPER,
                 {f"{place}/RegNet{kind}_{size}": KUANGLIU for place in ("pytorch-cifar", "MutableNAS")})


def named(kind: str, size: str) -> str:
    """"regnetx_1_6gf" of "X" and "1.6GF"."""
    return f"regnet{kind}_{size.replace('.', '_')}".lower()


NETWORKS: Dict[str, Entry] = {
    **{f"resnet{depth}": resnet(depth) for depth in (50, 101, 152)},
    **{f"resnext{depth}_32x4d": resnext(depth) for depth in (50, 101, 152)},
    **{named("X", size): imagenet("X", size, row) for size, row in X.items()},
    **{named("Y", size): imagenet("Y", size, row) for size, row in Y.items()},
    "regnetx_200mf_cifar": cifar("X", "200MF"),
    "regnetx_400mf_cifar": cifar("X", "400MF"),
    "regnety_400mf_cifar": cifar("Y", "400MF"),
}
