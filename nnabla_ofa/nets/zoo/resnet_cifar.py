"""ResNets for images of 32 pixels (He et al., CVPR 2016), as kuangliu/pytorch-cifar has them.

    stem    3x3 -> 64, BN, ReLU
    stages  blocks of 3x3, BN, ReLU, 3x3, BN, + shortcut, ReLU; 64, 128, 256, 512 channels, stride 1, 2, 2, 2
    head    mean, affine

The shortcut is a 1x1 convolution with BN where stride or width change, else the identity.
"""

from __future__ import annotations

from typing import Sequence

import nnabla as nn

from ...layers import Mode
from ...layers.functional import channels, classifier, conv_bn

WIDTHS, STRIDES = (64, 128, 256, 512), (1, 2, 2, 2)


def resnet(x: nn.Variable, classes: int, mode: Mode, blocks: Sequence[int]) -> nn.Variable:
    """Logits of a ResNet of basic blocks.

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        blocks: How many each of the four stages has.
    """
    y = conv_bn(x, "stem", WIDTHS[0], 3, mode)
    for i, (count, width, stride) in enumerate(zip(blocks, WIDTHS, STRIDES)):
        for j in range(count):
            y = basic_block(y, f"stages/{i}/{j}", width, stride if j == 0 else 1, mode)
    return classifier(y, "classifier", classes, mode)


def basic_block(x: nn.Variable, name: str, width: int, stride: int, mode: Mode) -> nn.Variable:
    """Two 3x3 convolutions beside a shortcut."""
    same = stride == 1 and channels(x, mode) == width
    shortcut = x if same else conv_bn(x, f"{name}/skip", width, 1, mode, stride, relu=False)
    y = conv_bn(x, f"{name}/0", width, 3, mode, stride)
    return conv_bn(y, f"{name}/1", width, 3, mode, residual=shortcut)
