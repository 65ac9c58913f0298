"""A depthwise convolution outside a block as an NNabla function. Activations are (C, H, W, N), float32."""
from __future__ import annotations

import ctypes
from typing import Tuple

import nnabla as nn
import numpy as np

from ..errors import OfaError
from .activation import kind
from .build import library
from .function import Function, address, gradients, longs
from .layout import check

LARGEST = 7  # taps a side


class DepthwiseSizes(ctypes.Structure):
    """Mirror of `depthwise_sizes` in depthwise_layer.h."""

    _fields_ = longs("channels height width batch kernel stride")


def _shape(d: DepthwiseSizes) -> Tuple[int, ...]:
    return d.channels, -(-d.height // d.stride), -(-d.width // d.stride), d.batch


class _Depthwise(Function):
    """Its inputs are x and the kernels."""

    name = "Depthwise"

    def __init__(self, sizes: DepthwiseSizes) -> None:
        super().__init__(_shape(sizes))
        self._sizes = sizes

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return True

    def forward_impl(self, inputs, outputs) -> None:
        library().depthwise_layer_forward(ctypes.byref(self._sizes), *(address(v.data) for v in inputs), None,
                                          0, address(outputs[0].data, True))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        (dx, d_own), (add_x, add_own) = gradients(inputs, propagate_down, accum, 2)
        library().depthwise_layer_backward(ctypes.byref(self._sizes), *(address(v.data) for v in inputs),
                                           address(outputs[0].grad), dx, add_x, d_own, add_own)


class _Frozen(Function):
    """Constants. Its input is x."""

    name = "FrozenDepthwise"

    def __init__(self, sizes: DepthwiseSizes, weight: np.ndarray, bias: np.ndarray, number: int) -> None:
        super().__init__(_shape(sizes))
        self._sizes, self._activation = sizes, number
        self._constants = [np.array(values, np.float32) for values in (weight, bias)]

    def forward_impl(self, inputs, outputs) -> None:
        weight, bias = (values.ctypes.data for values in self._constants)
        library().depthwise_layer_forward(ctypes.byref(self._sizes), address(inputs[0].data), weight, bias,
                                          self._activation, address(outputs[0].data, True))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        raise OfaError("a frozen convolution has no backward pass: build with batch statistics")


def _sizes(x: nn.Variable, weight: Tuple[int, ...], stride: int) -> DepthwiseSizes:
    check(x.ndim == 4, "x shape", x.shape, "(C, H, W, N)")
    kernel = weight[-1]
    check(weight == (x.shape[0], 1, kernel, kernel) and kernel % 2 == 1 and kernel <= LARGEST,
          "weight shape", weight, f"({x.shape[0]}, 1, k, k) with k of 1, 3, 5 or 7")
    library()
    return DepthwiseSizes(*x.shape, kernel, stride)


def depthwise(x: nn.Variable, weight: nn.Variable, stride: int = 1) -> nn.Variable:
    """Each channel convolved with its own kernel, `same` padding.

    Args:
        x: (C, H, W, N).
        weight: (C, 1, k, k), k odd, 7 at most.
        stride: In pixels.

    Returns:
        y (C, ceil(H / stride), ceil(W / stride), N).

    Raises:
        OfaError: The shapes do not fit, or the library cannot be used.
    """
    return _Depthwise(_sizes(x, weight.shape, stride))(x, weight)


def frozen_depthwise(x: nn.Variable, weight: np.ndarray, bias: np.ndarray, stride: int = 1,
                     activation: str = "none") -> nn.Variable:
    """activation(depthwise + bias) for inference: constants, read now, and no gradient.

    Args:
        x, weight, stride: As of `depthwise`; x needs no gradient.
        bias: (C,).
        activation: One of `activation.KINDS`.

    Returns:
        y, shaped as that of `depthwise`.

    Raises:
        OfaError: The arguments do not fit, or the library cannot be used.
    """
    sizes = _sizes(x, weight.shape, stride)
    check(bias.shape == (len(weight),), "bias shape", bias.shape, f"({len(weight)},)")
    check(not x.need_grad, "need_grad of x", True, "False, since a frozen convolution has no backward pass")
    return _Frozen(sizes, weight, bias, kind(activation))(x)
