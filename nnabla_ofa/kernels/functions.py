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


def _longs(names: str) -> List[tuple]:
    return [(name, ctypes.c_long) for name in names.split()]


def _pointers(names: str) -> List[tuple]:
    return [(name, ctypes.c_void_p) for name in names.split()]


class _Layer(ctypes.Structure):
    """Mirror of ``layer`` in fused.c; values, gradients and add: in the order of `_slots`."""

    _fields_ = (_longs("channels_in channels_out full_in full_out full_depthwise kernel full_kernel "
                       "stride steps relu_in")
                + [("values", ctypes.c_void_p * 6), ("gradients", ctypes.c_void_p * 6),
                   ("add", ctypes.c_long * 6)]
                + _pointers("running_mean running_variance")
                + _longs("rows full_row height line pixels strip")
                + _pointers("mean variance inverse hidden z"))


class _Block(ctypes.Structure):
    """Mirror of ``block`` in fused.c."""

    _fields_ = (_longs("height width batch skip count pool relu_out frozen add_x add_residual")
                + [("eps", ctypes.c_double), ("decay", ctypes.c_double)]
                + _pointers("layers order x residual dy y dx d_residual arena winner"))


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

    @classmethod
    def of(cls, u: Layer) -> _Shape:
        out = u.weight.shape[0]
        return cls(u.weight.shape, u.depthwise and u.depthwise.shape, u.kernel, u.stride,
                   out if u.w_out is None else u.w_out, u.relu_in,
                   tuple(m.shape for m in u.matrices),
                   tuple(v.shape for v in (u.gamma, u.beta, *(u.running or ()))))

    @classmethod
    def of_folded(cls, u: Folded) -> _Shape:
        depthwise = None if u.depthwise is None else np.shape(u.depthwise)
        return cls(np.shape(u.weight), depthwise, depthwise[-1] if depthwise else 3, u.stride,
                   len(u.weight), u.relu_in)

    def layer(self, w_in: int) -> _Layer:
        """The structure, without addresses.

        Raises:
            OfaError: the layer does not fit itself or an input of `w_in` channels.
        """
        (out, full_in), size = self.weight[:2], self.weight[-1]
        _check(1 <= self.w_out <= out, "w_out", self.w_out, "from 1 to %d" % out)
        for shape in self.affine:
            _check(shape == (1, out, 1, 1), "shape of gamma, beta or running", shape,
                   "(1, %d, 1, 1)" % out)
        sizes = (1,) if self.depthwise else (1, 3)
        _check(self.weight == (out, full_in, size, size) and size in sizes and full_in >= w_in,
               "weight shape", self.weight,
               " or ".join("(O, %d or more, %d, %d)" % (w_in, k, k) for k in sizes))
        if self.depthwise is None:
            _check(self.stride in (1, 2), "stride", self.stride, "1 or 2")
            return _Layer(w_in, self.w_out, full_in, out, 0, size, size, self.stride)
        count, full = self.depthwise[0], self.depthwise[-1]
        _check(self.depthwise == (count, 1, full, full) and count >= w_in and full in (3, 5, 7),
               "depthwise shape", self.depthwise, "(%d or more, 1, K, K), K 3, 5 or 7" % w_in)
        _check(self.kernel in range(3, full + 1, 2), "kernel", self.kernel,
               "3, 5 or 7, at most %d" % full)
        expected = tuple((k * k, k * k) for k in range(full - 2, self.kernel - 1, -2))
        _check(not self.affine or self.matrices == expected, "matrices", self.matrices, expected)
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
            residual: Optional[Tuple[int, ...]], pool: bool, relu_out: bool,
            frozen: bool) -> _Layout:
    """A block's layout; residual: its shape, if there is one."""
    _check(len(x) == 4, "x shape", x, "(C, H, W, N)")
    found, width = [skip.layer(x[0])] if skip else [], x[0]
    for shape in units:
        found.append(shape.layer(width))
        width = shape.w_out
    stride = 2 if pool else skip.stride if skip and not units else 1
    _check(not identity or width == x[0] and not pool, "w_out", width,
           "%d, as the input that is added" % x[0])
    if skip:
        fits = not units or (skip.w_out, skip.stride) == (width, stride)
        _check(fits, "skip", skip.w_out, "%d channels with stride %d" % (width, stride))
        width = skip.w_out
    _check(not pool or bool(units and skip) and not relu_out, "pool", pool,
           "with units and a skip convolution, without relu_out")
    out = (width, (x[1] - 1) // stride + 1, (x[2] - 1) // stride + 1, x[3])
    if residual:
        _check(not (identity or units and skip), "residual", residual,
               "None beside identity, or units and a skip")
        _check(residual == out, "residual shape", residual, out)
    layers = (_Layer * len(found))(*found)
    block = _Block(*x[1:], skip is not None, len(found), pool, relu_out, frozen)
    block.layers = ctypes.addressof(layers)
    floats = library().arrange(ctypes.byref(block))
    return _Layout(bytes(block), bytes(layers), out, floats)


class _Function(PythonFunction):
    """What NNabla asks of a function of one output, of known shape."""

    def __init__(self, shape: Tuple[int, ...]) -> None:
        super().__init__()
        self._shape = shape

    def min_outputs(self) -> int:
        return 1

    def setup_impl(self, inputs, outputs) -> None:
        outputs[0].reset_shape(self._shape, True)

    def grad_depends_output_data(self, i: int, o: int) -> bool:
        return False

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return False


class _BlockFunction(_Function):
    """A block's structures. Inputs: x, the parameters, the residual where it is one of its own."""

    def __init__(self, layout: _Layout, identity: bool, residual: bool) -> None:
        super().__init__(layout.shape)
        self._floats, self._identity, self._residual = layout.floats, identity, residual
        self._block = _Block.from_buffer_copy(layout.block)
        self._layers = (_Layer * self._block.count).from_buffer_copy(layout.layers)
        self._block.layers = ctypes.addressof(self._layers)

    def _point(self, inputs) -> None:
        """Where x and the residual are now: NNabla may have moved them since the last pass."""
        self._block.x = self._block.residual = _address(inputs[0].data)
        if not self._identity:
            self._block.residual = _address(inputs[-1].data) if self._residual else None

    def _forward(self, inputs, y: nn.NdArray) -> nn.NdArray:
        """Runs the forward pass and returns the arena."""
        self._point(inputs)
        arena = nn.NdArray((max(self._floats, 1),))
        self._block.y, self._block.arena = _address(y, True), _address(arena, True)
        library().block_forward(ctypes.byref(self._block))
        return arena


def _slots(layer: Layer) -> tuple:
    """A layer's parameters, None where there is none."""
    matrices = (*layer.matrices, None, None)[:2]
    return (layer.depthwise, *matrices, layer.weight, layer.gamma, layer.beta)


class _Trained(_BlockFunction):
    name = "FusedBlock"

    def __init__(self, layout, layers: Sequence[Layer], order, eps: float, decay: float, keep: bool,
                 *shape: bool) -> None:
        super().__init__(layout, *shape)
        self._order = None if order is None else np.array(order, np.int32)
        self._block.order = None if order is None else self._order.ctypes.data
        self._block.eps, self._block.decay = eps, decay
        places = [(own.values, own.gradients, own.add) for own in self._layers]
        self._slots = [(*place, i) for place, layer in zip(places, layers)
                       for i, v in enumerate(_slots(layer)) if v is not None]
        self._running = [layer.running for layer in layers]
        self._keep, self._arena = keep, None
        self._moments: List[Tuple[nn.Variable, nn.Variable]] = []

    # NNabla asks about every pair of input and output at each build and forward, at over 1 us a
    # question. So mean and variance are no outputs, and the answer is yes where that frees nothing:
    # parameters are never cleared, and the first unit needs its activations anyway.
    def grad_depends_output_data(self, i: int, o: int) -> bool:
        return bool(self._block.relu_out)  # its mask

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return True

    def moments(self) -> List[Tuple[nn.Variable, nn.Variable]]:
        """Mean and biased variance of each layer's batch, which the forward pass fills."""
        self._moments = [(nn.Variable((u.channels_out,)), nn.Variable((u.channels_out,)))
                         for u in self._layers]
        return self._moments

    def _compute(self, inputs, y: nn.NdArray, track: bool) -> nn.NdArray:
        for (values, _, _, i), v in zip(self._slots, inputs[1:]):
            values[i] = _address(v.data)
        for own, running in zip(self._layers, self._running):
            moved = [_address(v.data) for v in running] if running and track else (None, None)
            own.running_mean, own.running_variance = moved
        return self._forward(inputs, y)

    def forward_impl(self, inputs, outputs) -> None:
        arena = self._compute(inputs, outputs[0].data, True)
        for layer, pair in zip(self._layers, self._moments):
            for address, variable in zip((layer.mean, layer.variance), pair):
                ctypes.memmove(_address(variable.data, True), address, 4 * layer.channels_out)
        self._arena = arena if self._keep else None

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        block = self._block
        if self._arena is None:
            self._arena = self._compute(inputs, nn.NdArray(self._shape), False)
        self._point(inputs)
        block.y = _address(outputs[0].data) if block.relu_out else None
        block.dy = _address(outputs[0].grad)
        addresses = [_address(v.grad, not add) if needed else None
                     for v, needed, add in zip(inputs, propagate_down, accum)]
        for n, (values, gradients, add, i) in enumerate(self._slots, 1):
            values[i], gradients[i], add[i] = _address(inputs[n].data), addresses[n], accum[n]
        block.dx, block.add_x = addresses[0], accum[0]
        if self._identity or self._residual:
            which = 0 if self._identity else -1
            block.d_residual, block.add_residual = addresses[which], accum[which]
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
    layers = (*((skip,) if skip else ()), *units)
    layout = _layout(x.shape, tuple(map(_Shape.of, units)), _Shape.of(skip) if skip else None,
                     identity, None if residual is None else residual.shape, pool, relu_out, False)
    if order is not None:
        rows = units[-1].weight.shape[0]
        _check(layout.shape[0] == rows and np.array_equal(np.sort(order), range(rows)), "order",
               order, "a permutation of all %d rows" % rows)
    parameters = [v for u in layers for v in _slots(u) if v is not None]
    inputs = [x, *parameters, *(() if residual is None else (residual,))]
    keep = any(v.need_grad for v in inputs)
    function = _Trained(layout, layers, order, eps, decay, keep, identity, residual is not None)
    if moments is not None:
        first, *others = function.moments()
        moments += [*others, first] if skip else [first, *others]
    return function(*inputs)


class _Frozen(_BlockFunction):
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
        self._forward(inputs, outputs[0].data)

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        raise OfaError("a frozen block has no backward pass: build with batch statistics")


def frozen_block(x, units: Sequence[Folded] = (), skip: Optional[Folded] = None, *,
                 identity: bool = False, residual=None, pool: bool = False, relu_out: bool = False):
    """As `block`, for inference: constant layers with BN folded in, and no gradient."""
    layout = _layout(x.shape, tuple(map(_Shape.of_folded, units)),
                     _Shape.of_folded(skip) if skip else None, identity,
                     None if residual is None else residual.shape, pool, relu_out, True)
    layers = (*((skip,) if skip else ()), *units)
    function = _Frozen(layout, layers, identity, residual is not None)
    return function(x, *(() if residual is None else (residual,)))


def global_mean(x):
    """Mean over the pixels of x (C, H, W, N): (N, C)."""
    _check(x.ndim == 4, "x shape", x.shape, "(C, H, W, N)")
    return F.transpose(F.mean(x, axis=(1, 2)), (1, 0))


class _Transpose(_Function):
    name = "ToChwn"

    def forward_impl(self, inputs, outputs) -> None:
        *image, n = self._shape
        library().transpose(n, int(np.prod(image)), _address(inputs[0].data),
                            _address(outputs[0].data, True))

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        if propagate_down[0]:
            gradient = np.moveaxis(outputs[0].g, -1, 0)
            inputs[0].g = inputs[0].g + gradient if accum[0] else gradient


def to_chwn(x):
    """x (N, C, H, W) as (C, H, W, N)."""
    _check(x.ndim == 4, "x shape", x.shape, "(N, C, H, W)")
    n, *image = x.shape
    return _Transpose((*image, n))(x)
