"""A fully connected layer as an NNabla function, float32."""

from __future__ import annotations

import ctypes
from typing import Optional

import nnabla as nn

from .build import library
from .function import Function, address, gradients
from .layout import check


class _Affine(Function):
    """Its inputs are x, the weight and, where there is one, the bias."""

    name = "Affine"

    def __init__(self, n: int, w_in: int, full: int, out: int) -> None:
        super().__init__((n, out))
        self._sizes = n, w_in, full, out

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return j < 2

    def forward_impl(self, inputs, outputs) -> None:
        n, w_in, _, out = self._sizes
        addresses = [*(address(v.data) for v in inputs), None][:3]
        library().affine_forward(n, w_in, out, *addresses, address(outputs[0].data, True))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        addresses, adds = gradients(inputs, propagate_down, accum, 3)
        add = (ctypes.c_long * 3)(*adds)
        library().affine_backward(*self._sizes, *(address(v.data) for v in inputs[:2]),
                                  address(outputs[0].grad), *addresses, ctypes.addressof(add))


def affine(x: nn.Variable, weight: nn.Variable, bias: Optional[nn.Variable] = None) -> nn.Variable:
    """x times the weight's first rows, + bias.

    Args:
        x: (N, I).
        weight: (I or more, O).
        bias: (O,), or None.

    Returns:
        y (N, O).

    Raises:
        OfaError: The shapes do not fit, or the library cannot be used.
    """
    check(x.ndim == 2, "x shape", x.shape, "(N, I)")
    check(weight.ndim == 2 and weight.shape[0] >= x.shape[1], "weight shape", weight.shape,
          f"({x.shape[1]} or more, O)")
    full, out = weight.shape
    check(bias is None or bias.shape == (out,), "bias shape", bias and bias.shape, f"({out},)")
    library()
    return _Affine(x.shape[0], x.shape[1], full, out)(x, weight, *(() if bias is None else (bias,)))
