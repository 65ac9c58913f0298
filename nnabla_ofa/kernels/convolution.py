"""A convolution outside a block as an NNabla function. Activations are (C, H, W, N), float32."""

from __future__ import annotations

import ctypes
from typing import Optional, Tuple

import nnabla as nn
import numpy as np

from ..errors import OfaError
from .activation import kind
from .build import library
from .function import Function, address, gradients, longs, pointers
from .layout import check

Pair = Tuple[int, int]  # (rows, columns)


class ConvolutionStruct(ctypes.Structure):
    """Mirror of `convolution` in convolution.h, which says what the fields mean. A test compares them all."""

    _fields_ = (longs("height width batch groups w_in w_out full_in full_out")
                + [(name, ctypes.c_long * 2) for name in ("kernel", "stride", "pad")]
                + longs("activation add_x add_weight add_bias")
                + pointers("x weight bias packed residual dy y dx d_weight d_bias")
                + longs("out_height out_width"))


def _structure(x: nn.Variable, weight: Tuple[int, ...], w_out: int, stride: Pair, pad: Pair, groups: int,
               activation: str = "none") -> ConvolutionStruct:
    """The structure without addresses. Raises OfaError if the arguments do not fit."""
    check(x.ndim == 4, "x shape", x.shape, "(C, H, W, N)")
    channels, height, width, batch = x.shape
    check(len(weight) == 4 and groups >= 1 and weight[0] % groups == 0 and channels % groups == 0,
          "weight shape", weight, f"(O, I, k, k), O and the input's {channels} channels in {groups} groups")
    full_in = weight[1] * groups
    check(full_in == channels or (groups == 1 and full_in > channels), "weight shape", weight,
          f"(O, {channels // groups}{' or more' if groups == 1 else ''}, k, k)")
    check(1 <= w_out <= weight[0] and (groups == 1 or w_out == weight[0]), "w_out", w_out,
          f"from 1 to {weight[0]}, all of them where there are groups")
    sides = [size + 2 * p - k for size, p, k in zip((height, width), pad, weight[2:])]
    check(min(sides) >= 0 and min(pad) >= 0 and min(stride) >= 1, "kernel", weight[2:],
          f"at most {height} x {width} pixels with {pad} of padding; strides of 1 or more")
    found = ConvolutionStruct(height, width, batch, groups, channels, w_out, full_in, weight[0], weight[2:],
                              stride, pad, kind(activation))
    library().complete_convolution(ctypes.byref(found))
    return found


def _shape(c: ConvolutionStruct) -> Tuple[int, ...]:
    return c.w_out, c.out_height, c.out_width, c.batch


class _Convolution(Function):
    """Its inputs are x, the weight and, where there is one, the bias."""

    name = "Convolution"

    def __init__(self, structure: ConvolutionStruct) -> None:
        super().__init__(_shape(structure))
        self._own = structure

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return j < 2

    def _point(self, inputs) -> None:
        """Where the values are now."""
        own = self._own
        own.x, own.weight = (address(v.data) for v in inputs[:2])

    def forward_impl(self, inputs, outputs) -> None:
        self._point(inputs)
        self._own.bias = address(inputs[2].data) if len(inputs) > 2 else None
        self._own.y = address(outputs[0].data, True)
        library().convolution_forward(ctypes.byref(self._own))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        own = self._own
        self._point(inputs)
        own.dy = address(outputs[0].grad)
        addresses, adds = gradients(inputs, propagate_down, accum, 3)
        own.dx, own.d_weight, own.d_bias = addresses
        own.add_x, own.add_weight, own.add_bias = adds
        library().convolution_backward(ctypes.byref(own))


def convolution(x: nn.Variable, weight: nn.Variable, bias: Optional[nn.Variable] = None, *,
                stride: Pair = (1, 1), pad: Pair = (0, 0), groups: int = 1,
                w_out: Optional[int] = None) -> nn.Variable:
    """Convolution, elastic in its widths where it has one group: active channels are the first ones.

    Args:
        x: (C, H, W, N).
        weight: (O, I, k, l), I the channels of a group; at least C where there is one group.
        bias: (O,), or None.
        stride, pad: Of rows and columns, in pixels; zeros are padded.
        groups: Of channels that are convolved apart.
        w_out: Active output channels; None for all.

    Returns:
        y (w_out, H', W', N), H' = (H + 2 pad - k) // stride + 1, W' likewise.

    Raises:
        OfaError: The arguments do not fit, or the library cannot be used.
    """
    own = _structure(x, weight.shape, weight.shape[0] if w_out is None else w_out, stride, pad, groups)
    check(bias is None or bias.shape == (weight.shape[0],), "bias shape", bias and bias.shape,
          f"({weight.shape[0]},)")
    return _Convolution(own)(x, weight, *(() if bias is None else (bias,)))


class _Frozen(Function):
    """Constants. Its inputs are x and, where there is one, the residual."""

    name = "FrozenConvolution"

    def __init__(self, structure: ConvolutionStruct, weight: np.ndarray, bias: Optional[np.ndarray]) -> None:
        super().__init__(_shape(structure))
        self._own = own = structure
        given = np.ascontiguousarray(weight, np.float32)
        own.weight = given.ctypes.data
        packed = np.empty(library().convolution_packed_size(ctypes.byref(own)), np.float32)
        library().pack_convolution(ctypes.byref(own), packed.ctypes.data)
        bias = None if bias is None else np.array(bias, np.float32)
        self._constants = packed, bias
        own.packed, own.weight = packed.ctypes.data, None
        own.bias = None if bias is None else bias.ctypes.data

    def forward_impl(self, inputs, outputs) -> None:
        own = self._own
        own.x, own.y = address(inputs[0].data), address(outputs[0].data, True)
        own.residual = address(inputs[1].data) if len(inputs) > 1 else None
        library().convolution_forward(ctypes.byref(own))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        raise OfaError("a frozen convolution has no backward pass: build with batch statistics")


def frozen_convolution(x: nn.Variable, weight: np.ndarray, bias: Optional[np.ndarray] = None, *,
                       stride: Pair = (1, 1), pad: Pair = (0, 0), groups: int = 1,
                       residual: Optional[nn.Variable] = None, activation: str = "none") -> nn.Variable:
    """activation(convolution + bias + residual) for inference: constants, and no gradient.

    Args:
        x: (C, H, W, N), which needs no gradient.
        weight, bias: As of `convolution`, all channels active; their values are read now.
        stride, pad, groups: As of `convolution`.
        residual: Shaped as y, or None; it needs no gradient.
        activation: One of `activation.KINDS`.

    Returns:
        y, shaped as that of `convolution`.

    Raises:
        OfaError: The arguments do not fit, or the library cannot be used.
    """
    own = _structure(x, weight.shape, len(weight), stride, pad, groups, activation)
    check(residual is None or residual.shape == _shape(own), "residual shape", residual and residual.shape,
          f"{_shape(own)}")
    for name, v in zip(("x", "residual"), (x, residual)):
        check(v is None or not v.need_grad, f"need_grad of {name}", True,
              "False, since a frozen convolution has no backward pass: for gradients build with batch "
              "statistics, or with NNabla's own functions")
    return _Frozen(own, weight, bias)(x, *(() if residual is None else (residual,)))
