"""The compiled layers as NNabla functions. Activations are (C, H, W, N), float32.

A layer's saved activations live in NNabla's own caching allocator, as arrays this side holds.
The backward pass works in place in them and then lets go of them; should it run again, or have
nothing saved (fixed statistics), it first computes them anew from the inputs.
"""
from __future__ import annotations

import ctypes
from typing import Optional, Sequence, Tuple

import nnabla as nn
import nnabla.functions as F
import numpy as np
from nnabla.function import PythonFunction
from nnabla_ext.cpu import context

from ..errors import OfaError
from .build import library

_CPU = context()
_LONGS = ("channels_in height width batch channels_out out_height out_width full_in full_out "
          "full_depthwise kernel full_kernel stride steps relu_in relu_out fixed "
          "add_x add_depthwise add_matrix0 add_matrix1 add_weight add_gamma add_beta "
          "add_residual").split()
_POINTERS = ("x depthwise matrix0 matrix1 weight gamma beta residual position "
             "y mean variance scale running_mean running_variance hidden z "
             "dy d_x d_depthwise d_matrix0 d_matrix1 d_weight d_gamma d_beta d_residual").split()


class _Layer(ctypes.Structure):
    """Mirror of ``layer`` in fused.c."""

    _fields_ = ([(name, ctypes.c_long) for name in _LONGS]
                + [(name, ctypes.c_double) for name in ("eps", "decay")]
                + [(name, ctypes.c_void_p) for name in _POINTERS])


def _takes_write_only() -> bool:
    try:
        nn.NdArray((1,)).data_ptr(np.float32, _CPU, True)
    except TypeError:  # NNabla 1.28
        return False
    return True


_CAN_SKIP_OLD_VALUES = _takes_write_only()


def _address(array: nn.NdArray, write_only: bool = False, dtype: type = np.float32) -> int:
    """Where an array lies; write_only spares NNabla from preserving the old values."""
    return array.data_ptr(dtype, _CPU, *(write_only,) * _CAN_SKIP_OLD_VALUES)


def _check(good: bool, name: str, value: object, allowed: str) -> None:
    if not good:
        raise OfaError("{}: {} given, but it must be {}".format(name, value, allowed))


class _Fused(PythonFunction):
    """Linear part and batch normalization; see ``separable`` and ``conv_bn``."""

    name = "FusedLayer"

    def __init__(self, layer: _Layer, names: Sequence[str], keep: bool, fixed, track, order,
                 residual_is_x: bool) -> None:
        super().__init__()
        self._layer, self._names, self._keep = layer, names, keep
        self._fixed, self._track, self._residual_is_x = fixed, track, residual_is_x
        self._position = None if order is None else np.argsort(order).astype(np.int32)
        layer.position = None if order is None else self._position.ctypes.data
        self.statistics = [nn.Variable((layer.channels_out,)) for _ in range(2)]  # mean, variance
        self._saved: Optional[tuple] = None

    # NNabla asks about every pair of input and output at each build and forward, at over 1 us a
    # question. So mean and variance are no outputs, and the answer is yes where that frees nothing:
    # parameters are never cleared, and some layer of the block needs its activations anyway.
    def min_outputs(self) -> int:
        return 1

    def setup_impl(self, inputs, outputs) -> None:
        layer = self._layer
        outputs[0].reset_shape(
            (layer.channels_out, layer.out_height, layer.out_width, layer.batch), True)

    def grad_depends_output_data(self, i: int, o: int) -> bool:
        return bool(self._layer.relu_out)  # its mask

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return True

    def _point_at(self, inputs) -> None:
        """Where operands are now: NNabla may have moved them since the last pass."""
        layer = self._layer
        for name, variable in zip(self._names, inputs):
            setattr(layer, name, _address(variable.data))
        layer.mean, layer.variance = (_address(v.data) for v in self.statistics)

    def _compute(self, inputs, y: Optional[int], keep: bool) -> None:
        """Runs the forward pass; its result goes to ``y``, unless None."""
        layer = self._layer
        if self._fixed:
            for row, values in zip(self.statistics, self._fixed):
                values = values.d if isinstance(values, nn.Variable) else values
                row.d = np.reshape(values, -1)[:layer.channels_out]
        self._point_at(inputs)
        layer.running_mean = layer.running_variance = None
        if self._track and y:
            mean, variance, layer.decay = self._track
            layer.running_mean, layer.running_variance = map(_address, (mean.data, variance.data))
        pixels = layer.out_height * layer.out_width * layer.batch
        scale = nn.NdArray((2 * layer.channels_out,))
        hidden = nn.NdArray((layer.channels_in * pixels,)) if layer.depthwise else None
        z = nn.NdArray((layer.channels_out * pixels,)) if keep or layer.position else None
        layer.scale = _address(scale, True)
        layer.hidden = _address(hidden, True) if hidden else None
        layer.y, layer.z = y, _address(z, True) if z else y  # else normalized in place
        library().layer_forward(ctypes.byref(layer))
        self._saved = (scale, hidden, z) if keep else None

    def forward_impl(self, inputs, outputs) -> None:
        self._compute(inputs, _address(outputs[0].data, True), self._keep)

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        layer = self._layer
        if self._saved is None:
            self._compute(inputs, None, True)
        self._point_at(inputs)
        layer.y = _address(outputs[0].data) if layer.relu_out else None
        layer.dy = _address(outputs[0].grad)
        for name, variable, needed, add in zip(self._names, inputs, propagate_down, accum):
            pointer = _address(variable.grad, not add) if needed else None
            setattr(layer, "d_" + name, pointer)
            setattr(layer, "add_" + name, add)
        if self._residual_is_x:  # one gradient: the residual's share is written first
            layer.d_residual, layer.add_residual, layer.add_x = layer.d_x, layer.add_x, 1
        library().layer_backward(ctypes.byref(layer))
        self._saved = None


def _call(layer: _Layer, inputs: dict, *, statistics, track, order=None, residual_is_x=False):
    variables = list(inputs.values())
    keep = statistics is None and any(v.need_grad for v in variables)
    function = _Fused(layer, list(inputs), keep, statistics, track, order, residual_is_x)
    return (function(*variables), *function.statistics)


def _check_affine(gamma, beta, full_out: int, statistics, track) -> None:
    named = [("gamma", gamma), ("beta", beta)]
    named += zip(("statistics mean", "statistics variance"), statistics or ())
    named += zip(("track mean", "track variance"), track[:2] if track else ())
    for name, value in named:
        _check(value.shape == (1, full_out, 1, 1), name + " shape", value.shape,
               "(1, {}, 1, 1)".format(full_out))


def separable(x, depthwise, pointwise, gamma, beta, *, kernel: int, w_out: int, eps: float,
              matrices=(), order=None, relu_in: bool = True, relu_out: bool = False,
              residual=None, statistics=None, track=None):
    """y = BN(pointwise(depthwise(relu(x)))) + residual, `same` padding, stride 1.

    Active channels are the first ones; the gradients of the others are zero.

    Args:
        x: (w_in, H, W, N).
        depthwise: (C, 1, K, K), C >= w_in, K in {3, 5, 7}.
        pointwise: (O, I, 1, 1), O >= w_out, I >= w_in.
        gamma, beta: (1, O, 1, 1).
        kernel: 3, 5 or 7, at most K. A smaller kernel is the centre of the next larger one, as a
            row of k * k values, times a matrix (Once-for-All, section 3.3).
        w_out: channels of y.
        eps: added to the variance.
        matrices: one (k * k, k * k) Variable for each step down from K to ``kernel``: 7 to 5
            (25, 25), then 5 to 3 (9, 9).
        order: None, or a permutation of all O rows: row j of y comes from row order[j] of the
            weight and of the batch normalization.
        relu_in, relu_out: a ReLU on x, and on y after the residual.
        residual: None or a Variable shaped as y.
        statistics: None for the batch's, or a pair (mean, variance) of (1, O, 1, 1).
        track: None or (mean, variance, decay): Variables (1, O, 1, 1) that forward moves to
            decay * running + (1 - decay) * batch, with the unbiased variance.

    Returns:
        y (w_out, H, W, N); mean and biased variance (w_out,), in the weight's row order: plain
        Variables that y's forward pass fills.

    Raises:
        OfaError: an argument does not fit the others.
    """
    _check(x.ndim == 4, "x shape", x.shape, "(C, H, W, N)")
    w_in, height, width, batch = x.shape
    full, (full_out, full_in) = depthwise.shape[-1], pointwise.shape[:2]
    _check(full in (3, 5, 7), "depthwise kernel", full, "3, 5 or 7")
    _check(depthwise.shape == (depthwise.shape[0], 1, full, full) and depthwise.shape[0] >= w_in,
           "depthwise shape", depthwise.shape, "({} or more, 1, K, K)".format(w_in))
    _check(kernel in range(3, full + 1, 2), "kernel", kernel, "3, 5 or 7, at most %d" % full)
    _check(pointwise.shape == (full_out, full_in, 1, 1) and full_in >= w_in, "pointwise shape",
           pointwise.shape, "(O, {} or more, 1, 1)".format(w_in))
    _check(1 <= w_out <= full_out, "w_out", w_out, "from 1 to %d" % full_out)
    shapes = [(k * k, k * k) for k in range(full - 2, kernel - 1, -2)]
    _check([m.shape for m in matrices] == shapes, "matrices", [m.shape for m in matrices], shapes)
    _check(order is None or w_out == full_out and np.array_equal(np.sort(order), range(w_out)),
           "order", order, "a permutation of all %d rows" % full_out)
    _check(residual is None or residual.shape == (w_out, height, width, batch), "residual shape",
           residual and residual.shape, "that of the result")
    _check_affine(gamma, beta, full_out, statistics, track)
    layer = _Layer(
        channels_in=w_in, height=height, width=width, batch=batch, channels_out=w_out,
        out_height=height, out_width=width, full_in=full_in, full_out=full_out,
        full_depthwise=depthwise.shape[0], kernel=kernel, full_kernel=full, stride=1,
        steps=len(matrices), relu_in=relu_in, relu_out=relu_out, fixed=statistics is not None,
        eps=eps)
    inputs = {"x": x, "depthwise": depthwise, "weight": pointwise, "gamma": gamma, "beta": beta}
    inputs.update(("matrix%d" % i, matrix) for i, matrix in enumerate(matrices))
    if residual is not None:
        inputs["residual"] = residual
    return _call(layer, inputs, statistics=statistics, track=track, order=order,
                 residual_is_x=residual is not None and residual == x)


def conv_bn(x, weight, gamma, beta, *, w_out: int, stride: int, eps: float, relu_out: bool,
            residual=None, statistics=None, track=None):
    """y = BN(convolution of x) + residual, then a ReLU where ``relu_out``; padding k // 2, no bias.

    Active channels are the first ones; the gradients of the others are zero.

    Args:
        x: (w_in, H, W, N).
        weight: (O, I, k, k), k in {1, 3}, O >= w_out, I >= w_in.
        gamma, beta: (1, O, 1, 1).
        w_out: channels of y.
        stride: 1 or 2.
        eps, relu_out, residual, statistics, track: as in ``separable``.

    Returns:
        y (w_out, (H - 1) // stride + 1, (W - 1) // stride + 1, N); mean and biased variance
        (w_out,), as of ``separable``.

    Raises:
        OfaError: an argument does not fit the others.
    """
    _check(x.ndim == 4, "x shape", x.shape, "(C, H, W, N)")
    w_in, height, width, batch = x.shape
    full_out, full_in, kernel = weight.shape[:3]
    _check(kernel in (1, 3) and weight.shape[2:] == (kernel, kernel) and full_in >= w_in,
           "weight shape", weight.shape, "(O, {0} or more, 1, 1) or (O, {0} or more, 3, 3)".format(w_in))
    _check(1 <= w_out <= full_out, "w_out", w_out, "from 1 to %d" % full_out)
    _check(stride in (1, 2), "stride", stride, "1 or 2")
    out_height, out_width = (height - 1) // stride + 1, (width - 1) // stride + 1
    _check(residual is None or residual.shape == (w_out, out_height, out_width, batch),
           "residual shape", residual and residual.shape, "that of the result")
    _check_affine(gamma, beta, full_out, statistics, track)
    layer = _Layer(
        channels_in=w_in, height=height, width=width, batch=batch, channels_out=w_out,
        out_height=out_height, out_width=out_width, full_in=full_in, full_out=full_out, kernel=kernel,
        full_kernel=kernel, stride=stride, relu_out=relu_out, fixed=statistics is not None, eps=eps)
    inputs = {"x": x, "weight": weight, "gamma": gamma, "beta": beta}
    if residual is not None:
        inputs["residual"] = residual
    return _call(layer, inputs, statistics=statistics, track=track,
                 residual_is_x=residual is not None and residual == x)


class _PoolAdd(PythonFunction):
    name = "FusedPoolAdd"

    def __init__(self, shape: Tuple[int, ...], keep: bool) -> None:
        super().__init__()
        self._shape, self._keep, self._winner = shape, keep, None

    def min_outputs(self) -> int:
        return 1

    def setup_impl(self, inputs, outputs) -> None:
        outputs[0].reset_shape(inputs[1].shape, True)

    def grad_depends_output_data(self, i: int, o: int) -> bool:
        return False

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return False

    def forward_impl(self, inputs, outputs) -> None:
        self._winner = nn.NdArray(outputs[0].shape) if self._keep else None
        winner = _address(self._winner, True, np.uint8) if self._keep else None
        library().pool_forward(*self._shape, _address(inputs[0].data), _address(inputs[1].data),
                               _address(outputs[0].data, True), winner)

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        if propagate_down[0]:
            library().pool_backward(
                *self._shape, _address(outputs[0].grad), _address(self._winner, dtype=np.uint8),
                _address(inputs[0].grad, not accum[0]), accum[0])
        if propagate_down[1]:
            gradient, incoming = inputs[1].grad.data, outputs[0].grad.data
            if accum[1]:
                gradient += incoming
            else:
                gradient[...] = incoming


def max_pool_add(x, skip):
    """Max-pooling 3x3, stride 2, pad 1 of x (C, H, W, N), plus skip.

    Args:
        skip: (C, (H + 1) // 2, (W + 1) // 2, N), the result's shape.

    Raises:
        OfaError: skip has another shape.
    """
    _check(x.ndim == 4, "x shape", x.shape, "(C, H, W, N)")
    channels, height, width, batch = x.shape
    shape = (channels, (height + 1) // 2, (width + 1) // 2, batch)
    _check(skip.shape == shape, "skip shape", skip.shape, shape)
    return _PoolAdd(x.shape, x.need_grad)(x, skip)


def global_mean(x):
    """Mean over the pixels of x (C, H, W, N): (N, C)."""
    _check(x.ndim == 4, "x shape", x.shape, "(C, H, W, N)")
    return F.transpose(F.mean(x, axis=(1, 2)), (1, 0))


def to_chwn(x):
    """x (N, C, H, W) as (C, H, W, N)."""
    _check(x.ndim == 4, "x shape", x.shape, "(N, C, H, W)")
    return F.transpose(x, (1, 2, 3, 0))
