"""A depthwise convolution outside a block as an NNabla function. Activations are (C, H, W, N), float32."""
from __future__ import annotations

import ctypes

import nnabla as nn

from .build import library
from .function import Function, address, longs
from .layout import check

LARGEST = 7  # taps a side


class DepthwiseSizes(ctypes.Structure):
    """Mirror of `depthwise_sizes` in depthwise_layer.h."""

    _fields_ = longs("channels height width batch kernel stride")


class _Depthwise(Function):
    """Its inputs are x and the kernels."""

    name = "Depthwise"

    def __init__(self, sizes: DepthwiseSizes) -> None:
        sides = (-(-side // sizes.stride) for side in (sizes.height, sizes.width))
        super().__init__((sizes.channels, *sides, sizes.batch))
        self._sizes = sizes

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return True

    def forward_impl(self, inputs, outputs) -> None:
        library().depthwise_layer_forward(ctypes.byref(self._sizes), *(address(v.data) for v in inputs),
                                          address(outputs[0].data, True))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        gradients = [(address(v.grad, not add) if needed else None, int(bool(add)))
                     for v, needed, add in zip(inputs, propagate_down, accum)]
        library().depthwise_layer_backward(ctypes.byref(self._sizes), *(address(v.data) for v in inputs),
                                           address(outputs[0].grad), *gradients[0], *gradients[1])


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
    check(x.ndim == 4, "x shape", x.shape, "(C, H, W, N)")
    kernel = weight.shape[-1]
    check(weight.shape == (x.shape[0], 1, kernel, kernel) and kernel % 2 == 1 and kernel <= LARGEST,
          "weight shape", weight.shape, f"({x.shape[0]}, 1, k, k) with k of 1, 3, 5 or 7")
    library()
    return _Depthwise(DepthwiseSizes(*x.shape, kernel, stride))(x, weight)
