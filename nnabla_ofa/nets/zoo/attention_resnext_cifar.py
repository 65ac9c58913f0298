"""ResNeXt-29 with attention within its blocks, for images of 32 pixels, as MutableNAS has it.

    stem    3x3 -> 64, BN, ReLU
    stages  bottlenecks [1x1, grouped 3x3, 1x1] with attention beside shortcuts, three of each width;
            256, 512, 1024 channels, stride 1, 2, 2; ReLU after the sum
    head    mean, affine

    ge      gather and excite (Hu et al., NeurIPS 2018): a depthwise convolution as large as the image gathers
            each channel, two 1x1 convolutions without bias make its gate; after the last BN
    cbam    (Woo et al., ECCV 2018): gates of the channels, then of the pixels; after the last BN
    sk      selective kernels (Li et al., CVPR 2019): a 1x1 and a 3x3 in place of the 3x3, mixed by
            channel. Unlike the paper's, neither BN nor ReLU follows the first affine layer.

The name says <groups>x<channels of a group where the width is 256>.
"""

from __future__ import annotations

from functools import partial
from typing import Callable, Dict, Optional, Tuple

import nnabla as nn

from ...layers import Mode
from ...layers.functional import (
    activate,
    batch_norm,
    channel_max,
    channel_mean,
    channels,
    classifier,
    concat,
    conv,
    dense,
    global_max,
    global_mean,
    scale,
    sides,
)
from .entry import Entry, Rule, in_row
from .resnet_cifar import plan, projected

Core = Callable[[nn.Variable, str, int, int, Mode], nn.Variable]  # (trunk, block, stride, groups, mode)
Attention = Callable[[nn.Variable, str, Mode], nn.Variable]       # (trunk, block, mode)


def grouped(x: nn.Variable, name: str, stride: int, groups: int, mode: Mode) -> nn.Variable:
    """The grouped 3x3 of ResNeXt."""
    return conv(x, f"{name}/1", channels(x, mode), 3, mode, stride, groups=groups)


def select_kernel(x: nn.Variable, name: str, stride: int, groups: int, mode: Mode) -> nn.Variable:
    """A grouped 1x1 and 3x3, of each channel a mixture that the means of all channels decide."""
    width = channels(x, mode)
    small, large = (conv(x, f"{name}/sk/{k}", width, kernel, mode, stride, groups=groups, bias=True)
                    for k, kernel in enumerate((1, 3)))
    seen = dense(global_mean(small + large, mode), f"{name}/sk/fc", max(width // 32, 32), mode)
    votes = [dense(seen, f"{name}/sk/fcs/{k}", width, mode) for k in (0, 1)]
    share = activate(votes[0] - votes[1], "sigmoid", mode)  # the softmax of two
    return batch_norm(scale(small - large, share, mode) + large, f"{name}/1", mode)


def gather_excite(x: nn.Variable, name: str, mode: Mode) -> nn.Variable:
    """Each channel scaled by a gate that sees all channels, gathered by a convolution of the image's size."""
    width = channels(x, mode)
    gate = conv(x, f"{name}/gather", width, sides(x, mode), mode, pad=0, groups=width, act="none")
    gate = conv(gate, f"{name}/excite/0", width // 16, 1, mode, bn=False)
    gate = conv(gate, f"{name}/excite/1", width, 1, mode, bn=False, act="sigmoid")
    return scale(x, gate, mode)


def cbam(x: nn.Variable, name: str, mode: Mode) -> nn.Variable:
    """Channels scaled by what their means and largest values say, then pixels likewise."""
    def mlp(features: nn.Variable) -> nn.Variable:
        hidden = dense(features, f"{name}/gate/0", channels(x, mode) // 16, mode, act="relu")
        return dense(hidden, f"{name}/gate/1", channels(x, mode), mode)

    gate = activate(mlp(global_mean(x, mode)) + mlp(global_max(x, mode)), "sigmoid", mode)
    y = scale(x, gate, mode)
    gate = concat(channel_max(y, mode), channel_mean(y, mode), mode=mode)
    gate = conv(gate, f"{name}/pixels", 1, 7, mode, bn=False, act="none")
    return scale(y, batch_norm(gate, f"{name}/pixels", mode, act="sigmoid", decay=0.99), mode)


def resnext29(x: nn.Variable, classes: int, mode: Mode, groups: int, group_width: int, core: Core = grouped,
              attention: Optional[Attention] = None) -> nn.Variable:
    """Logits (N, classes).

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        groups: Of the 3x3 convolutions.
        group_width: Channels of a group where the width is 256.
        core: The 3x3 of a block, or what replaces it.
        attention: What follows the last BN of a block; None: nothing.
    """
    y = conv(x, "stem", 64, 3, mode)
    for name, width, stride in plan((3, 3, 3), (256, 512, 1024)):
        shortcut = projected(y, f"{name}/skip", width, stride, mode)
        y = conv(y, f"{name}/0", groups * (group_width * width // 256), 1, mode)
        y = conv(core(y, name, stride, groups, mode), f"{name}/2", width, 1, mode, act="none")
        y = y if attention is None else attention(y, name, mode)
        y = activate(y + shortcut, "relu", mode)
    return classifier(y, "classifier", classes, mode)


def at(i: int, j: int) -> str:
    """The module of a block."""
    return f"stage_{i + 1}.stage_{i + 1}_bottleneck_{j}"


BLOCK = r"stages/(\d+)/(\d+)"
MUTABLENAS: Tuple[Rule, ...] = (
    ("stem", lambda: ("conv_1_3x3", "bn_1")),
    (f"{BLOCK}/skip", lambda i, j: (f"{at(i, j)}.shortcut.shortcut_conv",
                                    f"{at(i, j)}.shortcut.shortcut_bn")),
    (f"{BLOCK}/0", lambda i, j: (f"{at(i, j)}.conv_reduce", f"{at(i, j)}.bn_reduce")),
    (f"{BLOCK}/1", lambda i, j: (f"{at(i, j)}.conv_conv", f"{at(i, j)}.bn")),
    (f"{BLOCK}/2", lambda i, j: (f"{at(i, j)}.conv_expand", f"{at(i, j)}.bn_expand")),
    (f"{BLOCK}/gather", lambda i, j: (f"{at(i, j)}.ge_module.downop.dwconv",
                                      f"{at(i, j)}.ge_module.downop.bn")),
    (rf"{BLOCK}/excite/(\d)", lambda i, j, k: f"{at(i, j)}.ge_module.mlp.{2 * k}"),
    (rf"{BLOCK}/gate/(\d)", lambda i, j, k: f"{at(i, j)}.cbam_module.ChannelGate.mlp.{2 * k + 1}"),
    (f"{BLOCK}/pixels", lambda i, j: (f"{at(i, j)}.cbam_module.SpatialGate.spatial.conv",
                                      f"{at(i, j)}.cbam_module.SpatialGate.spatial.bn")),
    (rf"{BLOCK}/sk/(\d)", lambda i, j, k: in_row(f"{at(i, j)}.conv_sk.convs.{k}")),
    (f"{BLOCK}/sk/fc", lambda i, j: f"{at(i, j)}.conv_sk.fc"),
    (rf"{BLOCK}/sk/fcs/(\d)", lambda i, j, k: f"{at(i, j)}.conv_sk.fcs.{k}"),
    ("classifier", lambda: "fc"),
)


def entry(kind: str, paper: str, groups: int, width: int, core: Core = grouped,
          attention: Optional[Attention] = None) -> Entry:
    """The network with one kind of attention; see `resnext29`."""
    return Entry(partial(resnext29, groups=groups, group_width=width, core=core, attention=attention), paper,
                 {f"MutableNAS/{kind}_resnext29_{groups}x{width}d": MUTABLENAS},
                 exact=attention is gather_excite)


GE, CBAM, SK = "Hu et al., NeurIPS 2018", "Woo et al., ECCV 2018", "Li et al., CVPR 2019"
NETWORKS: Dict[str, Entry] = {
    "ge_resnext29_8x64d_cifar": entry("ge", GE, 8, 64, attention=gather_excite),
    "ge_resnext29_16x64d_cifar": entry("ge", GE, 16, 64, attention=gather_excite),
    "cbam_resnext29_8x64d_cifar": entry("cbam", CBAM, 8, 64, attention=cbam),
    "cbam_resnext29_16x64d_cifar": entry("cbam", CBAM, 16, 64, attention=cbam),
    "sk_resnext29_16x32d_cifar": entry("sk", SK, 16, 32, core=select_kernel),
    "sk_resnext29_16x64d_cifar": entry("sk", SK, 16, 64, core=select_kernel),
}
