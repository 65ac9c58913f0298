"""Contender: NNabla's ways to compute one separable layer, forward and backward, on any device.

Variants are "<way>@<device>": "grouped" is F.convolution with a group a channel, "depthwise" is
F.depthwise_convolution, "channel_last" grouped in NHWC (CUDA only); devices as `--device` takes them.
"""

from __future__ import annotations

from typing import Callable

import nnabla as nn
import nnabla.functions as F
import numpy as np

from nnabla_ofa.system.comm import connect

CHANNELS, KERNEL = 728, 7


def prepare(variant: str, job: dict) -> Callable[[], object]:
    """[depthwise 7x7, pointwise] of 728 channels at the middle blocks' resolution, and its gradients."""
    way, _, device = variant.partition("@")
    connect(device)
    side, last = job["image_size"] // 16, way == "channel_last"
    spatial = (side, side, CHANNELS) if last else (CHANNELS, side, side)
    x = variable((job["batch"], *spatial))
    kernel, point = (KERNEL, KERNEL), (1, 1)
    pad = (KERNEL // 2,) * 2
    if way == "depthwise":
        y = F.depthwise_convolution(x, variable((CHANNELS, *kernel)), pad=pad)
    else:
        weight = variable((CHANNELS, *kernel, 1) if last else (CHANNELS, 1, *kernel))
        y = F.convolution(x, weight, pad=pad, group=CHANNELS, channel_last=last)
    weight = variable((CHANNELS, *point, CHANNELS) if last else (CHANNELS, CHANNELS, *point))
    total = F.mean(F.convolution(y, weight, channel_last=last))

    def step():
        total.forward(clear_no_need_grad=True)
        total.backward(clear_buffer=True)
        return float(total.d), float(x.g.flat[0])  # waits for the device

    return step


def variable(shape) -> nn.Variable:
    """Small random values, with gradients."""
    values = 0.1 * np.random.default_rng(0).standard_normal(shape)
    return nn.Variable.from_numpy_array(values.astype(np.float32)).apply(need_grad=True)
