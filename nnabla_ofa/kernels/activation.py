"""Activation functions as NNabla functions, of values in any layout, float32."""

from __future__ import annotations

import nnabla as nn
import numpy as np

from .build import library
from .function import Function, address
from .layout import check

# In the order of activations.h.
KINDS = ("none", "relu", "relu6", "sigmoid", "hard_sigmoid", "swish", "hard_swish", "gelu")


def kind(name: str) -> int:
    """The number of an activation in activations.h. Raises OfaError for one that is not in KINDS."""
    check(name in KINDS, "activation", name, f"one of {', '.join(KINDS)}")
    return KINDS.index(name)


class _Activation(Function):
    name = "Activation"

    def __init__(self, shape, number: int) -> None:
        super().__init__(shape)
        self._what = int(np.prod(shape)), number

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return True

    def forward_impl(self, inputs, outputs) -> None:
        library().activation_forward(*self._what, address(inputs[0].data), address(outputs[0].data, True))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        if propagate_down[0]:
            library().activation_backward(*self._what, address(inputs[0].data), address(outputs[0].grad),
                                          address(inputs[0].grad, not accum[0]), bool(accum[0]))


def activation(x: nn.Variable, name: str) -> nn.Variable:
    """The function of this name, one of KINDS, of every value.

    Raises:
        OfaError: There is none of this name, or the library cannot be used.
    """
    number = kind(name)
    library()
    return _Activation(x.shape, number)(x) if number else x
