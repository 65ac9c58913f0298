"""The vocabulary of fixed networks: functions on the trunk, whose layout the mode decides.

A fixed network is a Python function of such calls (nets/zoo/). Layers that own parameters are the
classes of this package: a call makes the value, notes it in `mode.trace`, and builds its graph.
Branches, loops and sums are plain Python.
"""

from __future__ import annotations

from typing import Optional, TypeVar

import nnabla as nn
import nnabla.functions as F

from .base import Mode, Part, in_nchw, parameters
from .conv_bn import ConvBn
from .linear import Linear

P = TypeVar("P", bound=Part)


def noted(layer: P, mode: Mode) -> P:
    """The layer itself, noted in `mode.trace`; a traced graph is never computed and needs no values."""
    if mode.trace is not None:
        mode.trace.append(layer)
        for name, parameter in parameters(layer).items():
            nn.parameter.set_parameter(name, nn.Variable(parameter.shape))
    return layer


def channels(x: nn.Variable, mode: Mode) -> int:
    """The channels of the trunk."""
    return x.shape[0 if mode.fast else 1]


def conv_bn(x: nn.Variable, name: str, width: int, kernel: int, mode: Mode, stride: int = 1,
            relu: bool = True, residual: Optional[nn.Variable] = None) -> nn.Variable:
    """[conv kernel x kernel / stride with "same" padding, BN, + residual, ReLU].

    Args:
        x: The trunk, (N, C, H, W) or (C, H, W, N).
        name: Of the layer; its arrays are `<name>/conv/W` and `<name>/bn/*`.
        width: Channels of the output.
        kernel, stride: In pixels, kernel odd.
        mode: How the graph is built.
        relu: Whether a ReLU comes last.
        residual: What is added before the ReLU, as the output.
    """
    layer = noted(ConvBn(name, channels(x, mode), width, kernel, stride, relu), mode)
    return layer.build(x, mode, residual)


def max_pool(x: nn.Variable, kernel: int, mode: Mode, stride: int = 2, pad: int = 0) -> nn.Variable:
    """The largest of each kernel x kernel window; `pad` pixels of -inf around the image."""
    return in_nchw(x, mode, lambda own: F.max_pooling(own, (kernel,) * 2, (stride,) * 2, pad=(pad,) * 2))


def concat(*parts: nn.Variable, mode: Mode) -> nn.Variable:
    """The channels of all parts, in their order."""
    return F.concatenate(*parts, axis=0 if mode.fast else 1)


def classifier(x: nn.Variable, name: str, classes: int, mode: Mode, dropout: float = 0.0) -> nn.Variable:
    """[mean over the image, dropout, affine]: (N, classes) logits of the trunk.

    Args:
        x: The trunk.
        name: Of the layer; its arrays are `<name>/affine/W` and `/b`.
        classes: How many scores.
        mode: How the graph is built.
        dropout: Rate in [0, 1), where the mode has noise.
    """
    return noted(Linear(name, channels(x, mode), classes, dropout=dropout), mode).build(x, mode)
