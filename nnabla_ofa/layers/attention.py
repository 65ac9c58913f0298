"""Multi-head self-attention (Vaswani et al., NeurIPS 2017, section 3.2) of the pixels of an image."""

from __future__ import annotations

import nnabla as nn
import nnabla.functions as F

from .base import Mode, cut, in_nchw


def self_attention(x: nn.Variable, heads: int, mode: Mode) -> nn.Variable:
    """For each pixel the mean of all pixels' values, weighted by how its query fits their keys.

    Args:
        x: The trunk: queries, keys and values, a third of the channels each.
        heads: How many the channels of a third are divided among.
        mode: How the graph is built.
    """
    return in_nchw(x, mode, lambda own: _attended(own, heads))


def _attended(x: nn.Variable, heads: int) -> nn.Variable:
    """(N, 3 C, H, W) -> (N, C, H, W)."""
    count, all_three, height, across = x.shape
    width = all_three // 3
    each = (count, heads, width // heads, height * across)  # a head's channels of every pixel
    everywhere = slice(None)
    queries, keys, values = (
        F.reshape(cut(x, slice(i * width, (i + 1) * width), everywhere, everywhere), each) for i in range(3))
    fits = F.batch_matmul(queries * each[2] ** -0.5, keys, transpose_a=True)
    y = F.batch_matmul(values, F.softmax(fits, axis=3), transpose_b=True)
    return F.reshape(y, (count, width, height, across))
