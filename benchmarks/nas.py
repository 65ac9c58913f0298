"""Contender: the network as sony/nnabla-nas builds it, of its own modules.

The wheel of nnabla-nas 0.15.0 lacks the file with its Xception (`ofa/networks`), so the network is put
together here from the modules that the wheel has, as that file does: the dynamic middle block (weights
sliced in every layer, batch normalisation with sliced statistics) between static entry and exit flows.
As its searcher does, the graph is built anew for every batch, in training and in validation.
"""

from __future__ import annotations

import re
import sys
import types
from typing import Callable

import nnabla as nn
import nnabla.functions as F
import nnabla.solvers as S
import numpy as np

_LOST = types.ModuleType("nnabla_nas.contrib.classification.ofa.networks")
_LOST.ofa_mbv3 = _LOST.ofa_xception = _LOST.ofa_resnet50 = None
sys.modules[_LOST.__name__] = _LOST

from nnabla.ext_utils import get_extension_context  # noqa: E402
from nnabla_nas import module as Mo  # noqa: E402
from nnabla_nas.contrib.common.ofa.elastic_nn.modules.dynamic_layers import DynamicMiddleFlowXPBlock  # noqa: E402
from nnabla_nas.contrib.common.ofa.elastic_nn.modules.dynamic_op import DynamicBatchNorm  # noqa: E402
from nnabla_nas.contrib.common.ofa.layers import ConvLayer, DWSeparableConv, LinearLayer, XceptionBlock  # noqa: E402
from nnabla_nas.contrib.common.ofa.utils.common_tools import (  # noqa: E402
    cross_entropy_loss_with_label_smoothing,
    make_divisible,
)

WIDTHS = (32, 64, 128, 256, 728, 1024, 1536, 2048)


class Xception41(Mo.Module):
    """The elastic network; `active` is a list of eight (expand ratio, kernel, depth)."""

    def __init__(self, job: dict):
        w = [make_divisible(width * job["net"]["width_mult"]) for width in WIDTHS]
        stride = (job["net"]["stem_stride"],) * 2
        self.stem0 = ConvLayer(3, w[0], (3, 3), stride)
        self.stem1 = ConvLayer(w[0], w[1], (3, 3))
        self.entry = Mo.Sequential(
            XceptionBlock(w[1], w[2], 2, (3, 3), (2, 2), start_with_relu=False),
            XceptionBlock(w[2], w[3], 2, (3, 3), (2, 2)), XceptionBlock(w[3], w[4], 2, (3, 3), (2, 2)))
        self.middle = Mo.ModuleList([
            DynamicMiddleFlowXPBlock([w[4]], [w[4]], [3, 5, 7], [0.6, 0.8, 1]) for _ in range(8)])
        self.exit = Mo.Sequential(
            XceptionBlock(w[4], w[5], 2, (3, 3), (2, 2), grow_first=False),
            DWSeparableConv(w[5], w[6], (3, 3), pad=(1, 1), act_fn="relu"),
            DWSeparableConv(w[6], w[7], (3, 3), pad=(1, 1), act_fn="relu"))
        self.classifier = LinearLayer(w[7], job["net"]["classes"], drop_rate=0.1)
        self.active = [(1.0, 7, 3)] * 8
        for _, module in self.get_modules():
            if isinstance(module, DynamicBatchNorm):
                module.use_static_bn = False

    def call(self, x):
        x = self.entry(self.stem1(self.stem0(x)))
        for block, (expand, kernel, depth) in zip(self.middle, self.active):
            block.active_expand_ratio, block.active_kernel_size = expand, kernel
            block.runtime_depth = depth
            x = block(x)
        return self.classifier(F.mean(self.exit(x), axis=(2, 3)))


def prepare(variant: str, job: dict) -> Callable[[], object]:
    """One training step, as `OFASearcher.train_on_batch` makes it, or the logits of one batch."""
    nn.set_default_context(get_extension_context(variant or "cpu"))
    net = Xception41(job)
    net.active = [(float(e), int(k), int(d))
                  for e, k, d in re.findall(r"XP([\d.]+) (\d)x\d (\d)", job["subnet"])]
    if len(net.active) == 1:
        net.active *= 8
    batch, size = job["batch"], job["image_size"]
    rng = np.random.default_rng(0)
    x, t = nn.Variable((batch, 3, size, size)), nn.Variable((batch, 1))
    images = rng.standard_normal(x.shape).astype(np.float32)
    labels = rng.integers(job["net"]["classes"], size=t.shape)
    if job["task"] == "training":
        return training_step(net, x, t, images, labels)

    def evaluate():
        net.apply(training=False)
        y = net(x)
        x.d = images
        y.forward(clear_buffer=True)
        return y.d

    return evaluate


def training_step(net, x, t, images, labels) -> Callable[[], object]:
    """Graph, forward, backward and update of one batch."""
    solver = S.Momentum(lr=1e-4, momentum=0.9)
    solver.set_parameters(net.get_parameters(grad_only=True))

    def step():
        solver.zero_grad()
        net.apply(training=True)
        loss = cross_entropy_loss_with_label_smoothing(net(x), t)
        loss.persistent = True
        x.d, t.d = images, labels
        loss.forward(clear_no_need_grad=True)
        loss.backward(clear_buffer=True)
        solver.weight_decay(1e-5)
        solver.update()
        return float(loss.d)

    return step
