"""Functions of single values and of channels as NNabla functions. Activations are (C, H, W, N), float32."""
from __future__ import annotations

import nnabla as nn
import numpy as np

from .build import library
from .functions import _address, _Function
from .layout import check


class _HardSwish(_Function):
    name = "HardSwish"

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return True

    def forward_impl(self, inputs, outputs) -> None:
        library().hard_swish_forward(int(np.prod(self._shape)), _address(inputs[0].data),
                                     _address(outputs[0].data, True))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        if propagate_down[0]:
            library().hard_swish_backward(int(np.prod(self._shape)), _address(inputs[0].data),
                                          _address(outputs[0].grad), _address(inputs[0].grad, not accum[0]),
                                          int(bool(accum[0])))


def hard_swish(x: nn.Variable) -> nn.Variable:
    """x min(max(x + 3, 0), 6) / 6 of every value. Raises OfaError if the library cannot be used."""
    library()
    return _HardSwish(x.shape)(x)


class _Scale(_Function):
    """Its inputs are x and the factors."""

    name = "Scale"

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return True

    def _sizes(self):
        channels, height, width, batch = self._shape
        return channels, height * width, batch

    def forward_impl(self, inputs, outputs) -> None:
        library().scale_forward(*self._sizes(), *(_address(v.data) for v in inputs),
                                _address(outputs[0].data, True))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        gradients = [(_address(v.grad, not add) if needed else None, int(bool(add)))
                     for v, needed, add in zip(inputs, propagate_down, accum)]
        library().scale_backward(*self._sizes(), *(_address(v.data) for v in inputs),
                                 _address(outputs[0].grad), *gradients[0], *gradients[1])


def scale(x: nn.Variable, factors: nn.Variable) -> nn.Variable:
    """Each channel of each image times its factor.

    Args:
        x: (C, H, W, N).
        factors: (C, 1, 1, N).

    Returns:
        y, shaped as x.

    Raises:
        OfaError: The shapes do not fit, or the library cannot be used.
    """
    check(x.ndim == 4, "x shape", x.shape, "(C, H, W, N)")
    check(factors.shape == (x.shape[0], 1, 1, x.shape[3]), "factors shape", factors.shape,
          f"({x.shape[0]}, 1, 1, {x.shape[3]})")
    library()
    return _Scale(x.shape)(x, factors)
