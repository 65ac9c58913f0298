"""Contender: this project. Variants: "fast", its fused CPU functions; "nnabla", NNabla's own;
"cudnn" and "cudnn:half", NNabla's CUDA extension."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Callable

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nnabla_ofa import Network, Xception  # noqa: E402
from nnabla_ofa.comm import Single, connect  # noqa: E402
from nnabla_ofa.evaluate import Frozen  # noqa: E402
from nnabla_ofa.optimiser import Optimiser  # noqa: E402
from nnabla_ofa.recipe import Train  # noqa: E402
from nnabla_ofa.train import Stepper, dropout_mask  # noqa: E402

SPACE = "K357_E0.6+0.8+1_D123"


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


def network(job: dict) -> Network:
    """A supernet of the job's configuration, new weights."""
    return Network.create(Xception(width_mult=job["width_mult"], stem_stride=job["stem_stride"],
                                   classes=job["classes"]), SPACE)


def data(job: dict):
    """Random images (N, 3, H, W) and labels (N,)."""
    rng, batch, size = np.random.default_rng(0), job["batch"], job["image_size"]
    return (rng.standard_normal((batch, 3, size, size)).astype(np.float32),
            rng.integers(job["classes"], size=batch))


def training_step(net: Network, job: dict, images, labels, comm=None,
                  accumulate: int = 1) -> Callable[[], object]:
    """Draw dropout, build the graph, forward, loss, backward, update: `accumulate` passes of a batch."""
    settings = Train()
    stepper = Stepper(net, settings, Optimiser(net, settings), comm or Single())
    arch, rng = net.arch(job["subnet"]), np.random.default_rng(0)
    shape = (len(labels), net.layers()[-1].w_in)

    def step():
        passes = ((images, labels, dropout_mask(net.config.dropout, shape, rng))
                  for _ in range(accumulate))
        return stepper.step(passes, [arch], 1e-4, accumulate)

    return step
