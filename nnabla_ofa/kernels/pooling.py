"""Pooling as an NNabla function. Activations are (C, H, W, N), float32."""

from __future__ import annotations

import ctypes

import nnabla as nn

from .build import library
from .function import Function, address, longs, pointers
from .layout import check


class PoolingStruct(ctypes.Structure):
    """Mirror of `pooling` in windows.h, which says what the fields mean. A test compares them all."""

    _fields_ = (longs("channels height width batch kernel stride pad mean out_height out_width add")
                + pointers("x dy y dx"))


class _Pooling(Function):
    name = "Pooling"

    def __init__(self, structure: PoolingStruct) -> None:
        own = self._own = structure
        super().__init__((own.channels, own.out_height, own.out_width, own.batch))

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return not self._own.mean

    def forward_impl(self, inputs, outputs) -> None:
        self._own.x, self._own.y = address(inputs[0].data), address(outputs[0].data, True)
        library().pooling_forward(ctypes.byref(self._own))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        own = self._own
        if propagate_down[0]:
            own.x = None if own.mean else address(inputs[0].data)
            own.dy, own.add = address(outputs[0].grad), accum[0]
            own.dx = address(inputs[0].grad, not accum[0])
            library().pooling_backward(ctypes.byref(own))


def pool(x: nn.Variable, kernel: int, stride: int, pad: int = 0, mean: bool = False) -> nn.Variable:
    """The largest value, or the mean, of every kernel x kernel window.

    Args:
        x: (C, H, W, N).
        kernel, stride: In pixels.
        pad: Pixels around the image: minus infinity; zeros for the mean, which counts them. Below the kernel.
        mean: Whether it is the mean.

    Returns:
        y (C, H', W', N), H' = (H + 2 pad - kernel) // stride + 1, W' likewise.

    Raises:
        OfaError: The arguments do not fit, or the library cannot be used.
    """
    check(x.ndim == 4, "x shape", x.shape, "(C, H, W, N)")
    channels, height, width, batch = x.shape
    check(min(height, width) + 2 * pad >= kernel > pad >= 0 and stride >= 1, "kernel", kernel,
          f"above the padding of {pad} and at most the padded {height} x {width} pixels; strides 1 or more")
    library()
    out = [(side + 2 * pad - kernel) // stride + 1 for side in (height, width)]
    return _Pooling(PoolingStruct(channels, height, width, batch, kernel, stride, pad, mean, *out))(x)
