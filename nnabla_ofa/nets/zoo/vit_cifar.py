"""Vision transformer for images of 32 pixels (Dosovitskiy et al., ICLR 2021).

    patches  4x4 pixels -> 192 channels of one pixel; learned positions added
    blocks   nine of self-attention and of an MLP, each after layer normalisation and beside the identity
    head     layer normalisation, mean, affine

Width, heads and MLP are those of DeiT-Ti (Touvron et al., ICML 2021), which has twelve blocks and patches of
16 pixels. The mean of all patches takes the place of a class token (Beyer et al., Better plain ViT baselines
for ImageNet-1k, 2022). GELU is its tanh form. No published network of this size is known to compare with.

Affine functions of each patch are 1x1 convolutions here, so a patch is a pixel of the trunk. MACs are those
of convolutions and the classifier; the two matrix products of attention are not among them.
"""

from __future__ import annotations

from functools import partial
from typing import Dict

import nnabla as nn

from ...layers import Mode
from ...layers.attention import self_attention
from ...layers.functional import channels, classifier, conv, layer_norm, learned, sides
from ...layers.functional import drop_path as dropped_path
from ...layers.functional import dropout as dropped
from .entry import Entry

PATCH, WIDTH, HEADS, DEPTH = 4, 192, 3, 9


def vit(x: nn.Variable, classes: int, mode: Mode, dropout: float = 0.0, drop_path: float = 0.1
        ) -> nn.Variable:
    """Logits (N, classes).

    Args:
        x: Images in the trunk's layout.
        classes: How many scores.
        mode: How the graph is built.
        dropout: After the positions and every affine function but those of queries, keys and values; rate
            in [0, 1).
        drop_path: Of the last block's branches, rate in [0, 1); it rises from 0 in the first one.
    """
    y = conv(x, "patches", WIDTH, PATCH, mode, PATCH, pad=0, bias=True, bn=False, act="none")
    y = dropped(y + learned("positions", (WIDTH, *sides(y, mode)), mode), "positions", dropout, mode)
    for i in range(DEPTH):
        rate = drop_path * i / (DEPTH - 1)
        for part, branch in (("attention", attention), ("mlp", partial(mlp, dropout=dropout))):
            name = f"blocks/{i}/{part}"
            z = branch(layer_norm(y, name, mode), name, mode)
            y = y + dropped_path(dropped(z, name, dropout, mode), name, rate, mode)
    return classifier(layer_norm(y, "last", mode), "classifier", classes, mode)


def attention(x: nn.Variable, name: str, mode: Mode) -> nn.Variable:
    """[affine to queries, keys and values; self-attention; affine]."""
    width = channels(x, mode)
    y = self_attention(affine(x, f"{name}/qkv", 3 * width, mode), HEADS, mode)
    return affine(y, f"{name}/out", width, mode)


def mlp(x: nn.Variable, name: str, mode: Mode, dropout: float) -> nn.Variable:
    """[affine to four times the width, GELU, dropout, affine]."""
    width = channels(x, mode)
    y = dropped(affine(x, f"{name}/0", 4 * width, mode, "gelu"), f"{name}/0", dropout, mode)
    return affine(y, f"{name}/1", width, mode)


def affine(x: nn.Variable, name: str, width: int, mode: Mode, act: str = "none") -> nn.Variable:
    """[affine, activation] of each pixel."""
    return conv(x, name, width, 1, mode, bias=True, bn=False, act=act, init="small")


NETWORKS: Dict[str, Entry] = {
    "vit_tiny_cifar": Entry(vit, "Dosovitskiy et al., ICLR 2021", exact=True),
}
