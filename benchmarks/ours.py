"""Contender: this project. Variants: "fast", its fused CPU functions; "nnabla", NNabla's own;
"cudnn" and "cudnn:half", NNabla's CUDA extension."""

from __future__ import annotations

from typing import Callable

import numpy as np

from nnabla_ofa import create
from nnabla_ofa.model import AnyNetwork, Frozen
from nnabla_ofa.nets import net_config
from nnabla_ofa.system.comm import Single, connect
from nnabla_ofa.training.optimiser import Optimiser
from nnabla_ofa.training.settings import Train
from nnabla_ofa.training.step import Stepper


def prepare(variant: str, job: dict) -> Callable[[], object]:
    """One training step, as the training loop makes it, or the logits of one batch."""
    connect(variant if variant.startswith("cudnn") else "cpu")
    net = network(job)
    net.kernels = variant if variant in ("fast", "nnabla") else "auto"
    images, labels = data(job)
    if job["task"] == "training":
        return training_step(net, job, images, labels)
    graph = Frozen(net.extract(job["subnet"]))
    return lambda: graph(images)


def network(job: dict) -> AnyNetwork:
    """The job's supernet or fixed network, new weights."""
    return create(net_config(job["net"]), job["space"])


def data(job: dict):
    """Random images (N, 3, H, W) and labels (N,)."""
    rng, batch, size = np.random.default_rng(0), job["batch"], job["image_size"]
    return (rng.standard_normal((batch, 3, size, size)).astype(np.float32),
            rng.integers(job["net"]["classes"], size=batch))


def training_step(net: AnyNetwork, job: dict, images, labels, comm=None,
                  accumulate: int = 1) -> Callable[[], object]:
    """Draw dropout, build the graph, forward, loss, backward, update: `accumulate` passes of a batch."""
    settings = Train()
    stepper = Stepper(net, settings, Optimiser(net, settings), comm or Single())
    arch, rng = net.arch(job["subnet"]), np.random.default_rng(0)

    def step():
        passes = ((images, labels, lambda purpose, shape: rng.random(shape)) for _ in range(accumulate))
        return stepper.step(passes, [arch], 1e-4, accumulate)

    return step
