"""Activation functions by name; each acts on single values, so the layout does not matter."""

from __future__ import annotations

from typing import Callable, Dict

import nnabla as nn
import nnabla.functions as F

from .. import kernels


def _hard_sigmoid(x: nn.Variable) -> nn.Variable:
    """min(max(x + 3, 0), 6) / 6 (Howard et al., MobileNetV3, ICCV 2019, section 5.2)."""
    return F.relu6(x + 3.0) * (1 / 6)


ACTIVATIONS: Dict[str, Callable[[nn.Variable], nn.Variable]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "sigmoid": F.sigmoid,
    "hard_sigmoid": _hard_sigmoid,
    "swish": F.swish,
    "hard_swish": lambda x: x * _hard_sigmoid(x),
    "gelu": F.gelu,
}


def activate(x: nn.Variable, name: str, fast: bool = False) -> nn.Variable:
    """The function of this name, one of ACTIVATIONS; fast: the compiled one."""
    return kernels.activation(x, name) if fast else ACTIVATIONS[name](x)
