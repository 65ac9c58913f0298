"""The network of a job on PyTorch: the same layers as ours, from the same definition.

An elastic network is a tuple of layers, which the job brings as plain values. A fixed one is a function of
nnabla_ofa/nets/zoo/; its file is imported here with PyTorch's vocabulary in the place of ours, so it needs
neither NNabla nor the rest of the package.
"""

from __future__ import annotations

import importlib
import sys
import types
from functools import partial
from pathlib import Path
from typing import Callable

import torch
import torch_layers
from torch import Tensor, nn
from torch_elastic import in_a_row, layer_of
from torch_layers import Mode

PACKAGE = Path(__file__).resolve().parents[1] / "nnabla_ofa"


class Net(nn.Module):
    """The network of a job; its arrays are made at the first images.

    Args:
        job: As `jobs.Job.request` gives it.
    """

    def __init__(self, job: dict):
        super().__init__()
        self.mode = Mode(job["net"]["bn_eps"])
        self._definition = definition(job)
        with torch.no_grad():
            self.eval()(torch.zeros(1, 3, job["image_size"], job["image_size"]))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, H, W)."""
        return self._definition(x, self.mode)


def definition(job: dict) -> Callable[[Tensor, Mode], Tensor]:
    """(images, mode) -> logits."""
    if "layers" in job:
        return partial(in_a_row, [layer_of(fields) for fields in job["layers"]])
    build = zoo_module(job["module"]).NETWORKS[job["net"]["family"]].build
    return lambda x, mode: build(x, job["net"]["classes"], mode)


def zoo_module(name: str):
    """A file of nnabla_ofa/nets/zoo, which finds `torch_layers` where it looks for nnabla_ofa's layers."""
    sys.modules["nnabla"] = types.SimpleNamespace(Variable=Tensor)  # for annotations
    for package in ("", ".nets", ".nets.zoo"):
        found = types.ModuleType(f"nnabla_ofa{package}")
        found.__path__ = [str(PACKAGE.joinpath(*package.split(".")))]  # without running its __init__.py
        sys.modules[found.__name__] = found
    torch_layers.functional = torch_layers
    for module in ("layers", "layers.functional", "layers.conv"):
        sys.modules[f"nnabla_ofa.{module}"] = torch_layers
    return importlib.import_module(name)
