"""The compiled blocks as NNabla functions. Activations are (C, H, W, N), float32.

What a block keeps for its backward pass lies in one array of NNabla's own caching allocator. The
backward pass works in place in it and then lets go of it; should it run again, it first computes
it anew from the inputs.
"""
from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import List, NamedTuple, Optional, Sequence, Tuple

import nnabla as nn
import nnabla.functions as F
import numpy as np
from nnabla.function import PythonFunction
from nnabla_ext.cpu import context

from ..errors import OfaError
from .build import library

_CPU = context()
_SLOTS = "depthwise matrix0 matrix1 weight gamma beta".split()


def _longs(names: str) -> List[tuple]:
    return [(name, ctypes.c_long) for name in names.split()]


def _pointers(names: str) -> List[tuple]:
    return [(name, ctypes.c_void_p) for name in names.split()]


class _Layer(ctypes.Structure):
    """Mirror of ``layer`` in fused.c."""

    _fields_ = (_longs("channels_in channels_out full_in full_out full_depthwise kernel full_kernel "
                       "stride steps relu_in")
                + [("values", ctypes.c_void_p * 6), ("gradients", ctypes.c_void_p * 6),
                   ("add", ctypes.c_long * 6)]
                + _pointers("running_mean running_variance mean variance inverse hidden z"))


class _Block(ctypes.Structure):
    """Mirror of ``block`` in fused.c."""

    _fields_ = (_longs("height width batch count pool relu_out frozen add_x add_residual")
                + [("eps", ctypes.c_double), ("decay", ctypes.c_double)]
                + _pointers("units skip order x residual dy y dx d_residual arena winner"))


class Layer(NamedTuple):
    """A convolution or, where `depthwise` is given an elastic separable layer, and its BN.

    weight: (O, I, k, k), k in {1, 3}: a convolution's, padding k // 2; or (O, I, 1, 1): pointwise.
    gamma, beta: (1, O, 1, 1).
    depthwise: (C, 1, K, K), C at least the active input channels, K in {3, 5, 7}.
    matrices: one (k * k, k * k) for each step down from K to `kernel`: 7 to 5 (25, 25), then 5 to
        3 (9, 9); a smaller kernel is the centre of the next larger one, as a row of k * k values,
        times a matrix (Once-for-All, section 3.3).
    kernel: of a separable layer, at most K. stride: of a convolution, 1 or 2.
    w_out: active output channels, the first ones; None for all.
    relu_in: a ReLU on a separable layer's input.
    running: None or (mean, variance), Variables (1, O, 1, 1) that forward moves.
    """

    weight: nn.Variable
    gamma: nn.Variable
    beta: nn.Variable
    depthwise: Optional[nn.Variable] = None
    matrices: Tuple[nn.Variable, ...] = ()
    kernel: int = 3
    stride: int = 1
    w_out: Optional[int] = None
    relu_in: bool = False
    running: Optional[Tuple[nn.Variable, nn.Variable]] = None


class Folded(NamedTuple):
    """A layer for inference, BN folded in.

    weight: (O, I, k, k) or (O, I, 1, 1), bias: (O,), depthwise: None or (I, 1, K, K), arrays.
    """

    weight: np.ndarray
    bias: np.ndarray
    depthwise: Optional[np.ndarray] = None
    stride: int = 1
    relu_in: bool = False


def _takes_write_only() -> bool:
    try:
        nn.NdArray((1,)).data_ptr(np.float32, _CPU, True)
    except TypeError:  # NNabla 1.28
        return False
    return True


_CAN_SKIP_OLD_VALUES = _takes_write_only()


def _address(array: nn.NdArray, write_only: bool = False) -> int:
    """Where an array lies; write_only spares NNabla from preserving the old values."""
    return array.data_ptr(np.float32, _CPU, *(write_only,) * _CAN_SKIP_OLD_VALUES)


def _check(good: bool, name: str, value: object, allowed: str) -> None:
    if not good:
        raise OfaError("{}: {} given, but it must be {}".format(name, value, allowed))


class _Shape(NamedTuple):
    """All of a layer that is no address: what its structure is made of."""

    weight: Tuple[int, ...]
    depthwise: Optional[Tuple[int, ...]]
    kernel: int
    stride: int
    w_out: int
    relu_in: bool
    matrices: Tuple[Tuple[int, ...], ...] = ()
    affine: Tuple[Tuple[int, ...], ...] = ()  # of gamma, beta and running statistics

    def check(self, w_in: int) -> None:
        """Raises OfaError where it does not fit itself or an input of `w_in` channels."""
        (out, full_in), size = self.weight[:2], self.weight[-1]
        _check(1 <= self.w_out <= out, "w_out", self.w_out, "from 1 to %d" % out)
        for shape in self.affine:
            _check(shape == (1, out, 1, 1), "shape of gamma, beta or running", shape,
                   "(1, %d, 1, 1)" % out)
        if self.depthwise is None:
            _check(self.weight == (out, full_in, size, size) and size in (1, 3) and full_in >= w_in,
                   "weight shape", self.weight,
                   "(O, {0} or more, 1, 1) or (O, {0} or more, 3, 3)".format(w_in))
            _check(self.stride in (1, 2), "stride", self.stride, "1 or 2")
            return
        count, full = self.depthwise[0], self.depthwise[-1]
        _check(self.depthwise == (count, 1, full, full) and count >= w_in and full in (3, 5, 7),
               "depthwise shape", self.depthwise,
               "({} or more, 1, K, K), K 3, 5 or 7".format(w_in))
        _check(self.kernel in range(3, full + 1, 2), "kernel", self.kernel,
               "3, 5 or 7, at most %d" % full)
        _check(self.weight == (out, full_in, 1, 1) and full_in >= w_in, "weight shape", self.weight,
               "(O, {} or more, 1, 1)".format(w_in))
        expected = tuple((k * k, k * k) for k in range(full - 2, self.kernel - 1, -2))
        _check(self.matrices == expected, "matrices", self.matrices, expected)

    def layer(self, w_in: int) -> _Layer:
        """The structure, without addresses."""
        (out, full_in), size = self.weight[:2], self.weight[-1]
        if self.depthwise is None:
            return _Layer(w_in, self.w_out, full_in, out, 0, size, size, self.stride)
        count, full = self.depthwise[0], self.depthwise[-1]
        return _Layer(w_in, self.w_out, full_in, out, count, self.kernel, full, 1,
                      len(self.matrices), self.relu_in)


class _Layout(NamedTuple):
    """What shapes alone decide of a block: its structures, without addresses, and y's shape."""

    block: bytes
    layers: bytes
    shape: Tuple[int, ...]
    floats: int  # of the arena


@lru_cache(maxsize=4096)
def _layout(x: Tuple[int, ...], units: Tuple[_Shape, ...], skip: Optional[_Shape], identity: bool,
            pool: bool, relu_out: bool, frozen: bool) -> _Layout:
    _check(len(x) == 4, "x shape", x, "(C, H, W, N)")
    width, found = x[0], []
    for shape in units:
        shape.check(width)
        found.append(shape.layer(width))
        width = shape.w_out
    stride = 2 if pool else skip.stride if skip and not units else 1
    _check(not identity or width == x[0] and not pool, "w_out", width,
           "%d, as the input that is added" % x[0])
    if skip:
        skip.check(x[0])
        found.append(skip.layer(x[0]))
        fits = not units or (skip.w_out, skip.stride) == (width, stride)
        _check(fits, "skip", skip.w_out, "%d channels with stride %d" % (width, stride))
        width = skip.w_out
    _check(not pool or bool(units and skip) and not relu_out, "pool", pool,
           "with units and a skip convolution, without relu_out")
    out = (width, (x[1] - 1) // stride + 1, (x[2] - 1) // stride + 1, x[3])
    layers = (_Layer * len(found))(*found)
    block = _Block(*x[1:], len(units), pool, relu_out, frozen)
    _connect(block, layers, bool(skip))
    return _Layout(bytes(block), bytes(layers), out, library().arrange(ctypes.byref(block)))


def _connect(block: _Block, layers, skip: bool) -> None:
    start = ctypes.addressof(layers)
    block.units = start
    block.skip = start + block.count * ctypes.sizeof(_Layer) if skip else None


class _Function(PythonFunction):
    """A block's structures and what NNabla asks of a function."""

    def __init__(self, layout: _Layout, skip: bool, identity: bool, residual: bool) -> None:
        super().__init__()
        self._identity, self._residual = identity, residual  # the latter: the last input
        self._shape = layout.shape
        self._floats = layout.floats
        self._block = _Block.from_buffer_copy(layout.block)
        self._layers = (_Layer * (len(layout.layers) // ctypes.sizeof(_Layer))).from_buffer_copy(
            layout.layers)
        _connect(self._block, self._layers, skip)

    # NNabla asks about every pair of input and output at each build and forward, at over 1 us a
    # question. So mean and variance are no outputs, and the answer is yes where that frees nothing:
    # parameters are never cleared, and the first unit needs its activations anyway.
    def min_outputs(self) -> int:
        return 1

    def setup_impl(self, inputs, outputs) -> None:
        outputs[0].reset_shape(self._shape, True)

    def grad_depends_output_data(self, i: int, o: int) -> bool:
        return bool(self._block.relu_out)  # its mask

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return not self._block.frozen

    def _point(self, inputs) -> None:
        """Where x and the residual are now: NNabla may have moved them since the last pass."""
        self._block.x = self._block.residual = _address(inputs[0].data)
        if not self._identity:
            self._block.residual = _address(inputs[-1].data) if self._residual else None

    def _forward(self, inputs, y: Optional[int]) -> nn.NdArray:
        """Runs the forward pass; its result goes to ``y``, unless None. Returns the arena."""
        self._point(inputs)
        arena = nn.NdArray((max(self._floats, 1),))
        self._block.y, self._block.arena = y, _address(arena, True)
        library().block_forward(ctypes.byref(self._block))
        return arena


class _Trained(_Function):
    name = "FusedBlock"

    def __init__(self, layout, layers: Sequence[Layer], order, eps: float, decay: float, keep: bool,
                 *shape: bool) -> None:
        super().__init__(layout, *shape)
        self._order = None if order is None else np.array(order, np.int32)
        self._block.order = None if order is None else self._order.ctypes.data
        self._block.eps, self._block.decay = eps, decay
        self._parameters: List[nn.Variable] = []
        self._places = []  # of each layer's slots among the inputs; the last one is None
        for layer in layers:
            matrices = (*layer.matrices, None, None)[:2]
            slots = (layer.depthwise, *matrices, layer.weight, layer.gamma, layer.beta)
            first = len(self._parameters)
            present = [v for v in slots if v is not None]
            numbers = iter(range(first, first + len(present)))
            self._places.append([-1 if v is None else next(numbers) for v in slots])
            self._parameters += present
        self._running = [layer.running for layer in layers]
        self._keep, self._arena = keep, None
        self._moments: List[Tuple[nn.Variable, nn.Variable]] = []

    def moments(self) -> List[Tuple[nn.Variable, nn.Variable]]:
        """Mean and biased variance of each layer's batch, which the forward pass fills."""
        self._moments = [(nn.Variable((u.channels_out,)), nn.Variable((u.channels_out,)))
                         for u in self._layers]
        return self._moments

    def _set(self, field: str, values: list) -> None:
        for layer, places in zip(self._layers, self._places):
            getattr(layer, field)[:] = [values[i] for i in places]

    def _values(self, inputs) -> list:
        return [*(_address(v.data) for v in inputs[1:1 + len(self._parameters)]), None]

    def _compute(self, inputs, y: Optional[int]) -> nn.NdArray:
        self._set("values", self._values(inputs))
        for layer, running in zip(self._layers, self._running):
            moved = [_address(v.data) for v in running] if running and y else (None, None)
            layer.running_mean, layer.running_variance = moved
        return self._forward(inputs, y)

    def forward_impl(self, inputs, outputs) -> None:
        arena = self._compute(inputs, _address(outputs[0].data, True))
        for layer, pair in zip(self._layers, self._moments):
            for address, variable in zip((layer.mean, layer.variance), pair):
                ctypes.memmove(_address(variable.data, True), address, 4 * layer.channels_out)
        self._arena = arena if self._keep else None

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        block = self._block
        if self._arena is None:
            self._arena = self._compute(inputs, None)
        self._point(inputs)
        block.y = _address(outputs[0].data) if block.relu_out else None
        block.dy = _address(outputs[0].grad)
        addresses = [_address(v.grad, not add) if needed else None
                     for v, needed, add in zip(inputs, propagate_down, accum)]
        block.dx, block.add_x, last = addresses[0], accum[0], 1 + len(self._parameters)
        if self._identity:
            block.d_residual, block.add_residual = block.dx, block.add_x
        elif self._residual:
            block.d_residual, block.add_residual = addresses[last], accum[last]
        self._set("values", self._values(inputs))
        self._set("gradients", [*addresses[1:last], None])
        self._set("add", [*accum[1:last], False])
        library().block_backward(ctypes.byref(block))
        self._arena = None


def block(x, units: Sequence[Layer] = (), skip: Optional[Layer] = None, *, identity: bool = False,
          residual=None, pool: bool = False, relu_out: bool = False, order=None, eps: float = 1e-5,
          decay: float = 0.9, moments: Optional[list] = None):
    """y = relu(pool(unit(... unit(x))) + shortcut), each layer normalised by its batch.

    unit: BN(pointwise(depthwise(relu(.)))), `same` padding, stride 1. The shortcut is BN(skip(x))
    where `skip`, a convolution, is given; x with `identity`; `residual`; or nothing. Without units y
    is BN(skip(x)), plus `residual` where given. Active channels are the first ones; gradients of the
    others are zero.

    Args:
        x: (C, H, W, N).
        residual: a Variable shaped as y, other than x.
        pool: max-pooling 3x3, stride 2, pad 1 after the last unit; only beside a skip convolution.
        relu_out: a ReLU on y.
        order: None, or a permutation of all rows of the last unit's weight and BN: row j of y comes
            from row order[j].
        eps: added to the variance.
        decay: running = decay * running + (1 - decay) * batch's, with the unbiased variance.
        moments: a list that receives (mean, biased variance) of each unit, then of the skip, in
            the weight's row order: Variables (w_out,) that y's forward pass fills.

    Returns:
        y (w_out, H', W', N); H' = (H + 1) // 2 after pooling or stride 2, else H.

    Raises:
        OfaError: an argument does not fit the others.
    """
    layers = (*units, *((skip,) if skip else ()))
    shapes = [_Shape(u.weight.shape, u.depthwise.shape if u.depthwise else None, u.kernel, u.stride,
                     u.weight.shape[0] if u.w_out is None else u.w_out, u.relu_in,
                     tuple(m.shape for m in u.matrices),
                     tuple(v.shape for v in (u.gamma, u.beta, *(u.running or ())))) for u in layers]
    layout = _layout(x.shape, tuple(shapes[:len(units)]), shapes[-1] if skip else None, identity,
                     pool, relu_out, False)
    extra = _check_residual(residual, layout, not (identity or units and skip))
    if order is not None:
        rows = units[-1].weight.shape[0]
        _check(layout.shape[0] == rows and np.array_equal(np.sort(order), range(rows)), "order",
               order, "a permutation of all %d rows" % rows)
    keep = any(v.need_grad for v in (x, *extra, *(
        v for u in layers for v in (u.weight, u.gamma, u.beta))))
    function = _Trained(layout, layers, order, eps, decay, keep, skip is not None, identity,
                        residual is not None)
    if moments is not None:
        moments += function.moments()
    return function(x, *function._parameters, *extra)


def _check_residual(residual, layout: _Layout, possible: bool) -> tuple:
    """() or the residual, an input of its own."""
    if residual is None:
        return ()
    _check(possible, "residual", residual.shape, "None beside identity, or units and a skip")
    _check(residual.shape == layout.shape, "residual shape", residual.shape, layout.shape)
    return (residual,)


class _Frozen(_Function):
    name = "FrozenBlock"

    def __init__(self, layout: _Layout, layers: Sequence[Folded], *shape: bool) -> None:
        super().__init__(layout, *shape)
        self._constants = []
        for own, layer in zip(self._layers, layers):
            weight = np.ascontiguousarray(layer.weight, np.float32)
            out, rows = len(weight), weight[0].size
            packed = np.empty(library().weight_size(out, rows), np.float32)
            library().pack_weight(out, rows, weight.ctypes.data, packed.ctypes.data)
            taps = None if layer.depthwise is None else np.array(layer.depthwise, np.float32)
            bias = np.array(layer.bias, np.float32)
            self._constants.append((packed, taps, bias))
            own.values[:] = [None if taps is None else taps.ctypes.data, None, None,
                             packed.ctypes.data, None, bias.ctypes.data]

    def forward_impl(self, inputs, outputs) -> None:
        self._forward(inputs, _address(outputs[0].data, True))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        raise OfaError("a frozen block has no backward pass: build with batch statistics")


def frozen_block(x, units: Sequence[Folded] = (), skip: Optional[Folded] = None, *,
                 identity: bool = False, residual=None, pool: bool = False, relu_out: bool = False):
    """As `block`, for inference: constant layers with BN folded in, and no gradient."""
    layers = (*units, *((skip,) if skip else ()))
    shapes = [_Shape(np.shape(u.weight), None if u.depthwise is None else np.shape(u.depthwise),
                     np.shape(u.weight if u.depthwise is None else u.depthwise)[-1], u.stride,
                     len(u.weight), u.relu_in) for u in layers]
    layout = _layout(x.shape, tuple(shapes[:len(units)]), shapes[-1] if skip else None, identity,
                     pool, relu_out, True)
    extra = _check_residual(residual, layout, not (identity or units and skip))
    return _Frozen(layout, layers, skip is not None, identity, residual is not None)(x, *extra)


def global_mean(x):
    """Mean over the pixels of x (C, H, W, N): (N, C)."""
    _check(x.ndim == 4, "x shape", x.shape, "(C, H, W, N)")
    return F.transpose(F.mean(x, axis=(1, 2)), (1, 0))


class _Transpose(PythonFunction):
    name = "ToChwn"

    def min_outputs(self) -> int:
        return 1

    def setup_impl(self, inputs, outputs) -> None:
        n, *image = inputs[0].shape
        outputs[0].reset_shape((*image, n), True)

    def grad_depends_output_data(self, i: int, o: int) -> bool:
        return False

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return False

    def forward_impl(self, inputs, outputs) -> None:
        n, *image = inputs[0].shape
        library().transpose(n, int(np.prod(image)), _address(inputs[0].data),
                            _address(outputs[0].data, True))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        if propagate_down[0]:
            gradient = np.moveaxis(outputs[0].g, -1, 0)
            inputs[0].g = inputs[0].g + gradient if accum[0] else gradient


def to_chwn(x):
    """x (N, C, H, W) as (C, H, W, N)."""
    _check(x.ndim == 4, "x shape", x.shape, "(N, C, H, W)")
    return _Transpose()(x)
