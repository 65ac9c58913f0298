"""Channels as a whole: their means, their factors, their layout, as NNabla functions; float32."""

from __future__ import annotations

from typing import Sequence, Union

import nnabla as nn
import nnabla.functions as F
import numpy as np

from .build import library
from .function import Function, address, gradients
from .layout import check


class _Scale(Function):
    """Its inputs are x and the factors."""

    name = "Scale"

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return True

    def _sizes(self):
        channels, height, width, batch = self._shape
        return channels, height * width, batch

    def forward_impl(self, inputs, outputs) -> None:
        library().scale_forward(*self._sizes(), *(address(v.data) for v in inputs),
                                address(outputs[0].data, True))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        (dx, d_own), (add_x, add_own) = gradients(inputs, propagate_down, accum, 2)
        library().scale_backward(*self._sizes(), *(address(v.data) for v in inputs),
                                 address(outputs[0].grad), dx, add_x, d_own, add_own)


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


class _Select(Function):
    name = "SelectChannels"

    def __init__(self, shape, order: np.ndarray) -> None:
        super().__init__((len(order), *shape[1:]))
        self._order = np.array(order, np.int32)  # kept: the library gets no more than its address
        self._channels, self._floats = shape[0], int(np.prod(shape[1:]))

    def forward_impl(self, inputs, outputs) -> None:
        library().select_forward(len(self._order), self._floats, self._order.ctypes.data,
                                 address(inputs[0].data), address(outputs[0].data, True))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        if propagate_down[0]:
            library().select_backward(self._channels, len(self._order), self._floats, self._order.ctypes.data,
                                      address(outputs[0].grad), address(inputs[0].grad, not accum[0]),
                                      int(bool(accum[0])))


def select(x: nn.Variable, order: Union[Sequence[int], np.ndarray]) -> nn.Variable:
    """Some channels of x, in any order.

    Args:
        x: (C, ...).
        order: Of the output's channels, which of the input's each is; none twice.

    Returns:
        y (len(order), ...).

    Raises:
        OfaError: A channel is there twice, or not in x; or the library cannot be used.
    """
    chosen = np.asarray(order, np.int64)
    fits = chosen.ndim == 1 and len(chosen) and len(set(chosen.tolist())) == len(chosen)
    check(bool(fits) and 0 <= chosen.min() and chosen.max() < x.shape[0], "order", order,
          f"channels from 0 to {x.shape[0] - 1}, each once")
    library()
    return _Select(x.shape, chosen)(x)


class _Mean(Function):
    name = "ChannelMean"

    def __init__(self, shape) -> None:
        channels, height, width, batch = shape
        super().__init__((channels, 1, 1, batch))
        self._sizes = channels, height * width, batch

    def forward_impl(self, inputs, outputs) -> None:
        library().mean_forward(*self._sizes, address(inputs[0].data), address(outputs[0].data, True))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        if propagate_down[0]:
            library().mean_backward(*self._sizes, address(outputs[0].grad),
                                    address(inputs[0].grad, not accum[0]), int(bool(accum[0])))


def mean(x: nn.Variable) -> nn.Variable:
    """Mean over the pixels of x (C, H, W, N): (C, 1, 1, N). Raises OfaError for another number of axes."""
    check(x.ndim == 4, "x shape", x.shape, "(C, H, W, N)")
    library()
    return _Mean(x.shape)(x)


def global_mean(x: nn.Variable) -> nn.Variable:
    """Mean over the pixels of x (C, H, W, N): (N, C). Raises OfaError for another number of axes."""
    y = mean(x)
    return F.transpose(F.reshape(y, (y.shape[0], y.shape[3])), (1, 0))


class _Transpose(Function):
    name = "ToChwn"

    def forward_impl(self, inputs, outputs) -> None:
        *image, n = self._shape
        library().transpose(n, int(np.prod(image)), address(inputs[0].data),
                            address(outputs[0].data, True))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        if propagate_down[0]:
            gradient = np.moveaxis(outputs[0].g, -1, 0)
            inputs[0].g = inputs[0].g + gradient if accum[0] else gradient


def to_chwn(x: nn.Variable) -> nn.Variable:
    """x (N, C, H, W) as (C, H, W, N).

    Raises:
        OfaError: x has another number of axes, or the library cannot be used.
    """
    check(x.ndim == 4, "x shape", x.shape, "(N, C, H, W)")
    library()  # here its error reaches the caller
    n, *image = x.shape
    return _Transpose((*image, n))(x)
