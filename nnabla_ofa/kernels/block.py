"""The compiled blocks as NNabla functions. Activations are (C, H, W, N), float32.

What a block keeps for its backward pass lies in one array of NNabla's own caching allocator, the
arena. The backward pass works in place in it, then lets go of it. Should it run a second time, it
first computes the arena anew from the inputs.
"""
from __future__ import annotations

import ctypes
from typing import List, Optional, Sequence, Tuple, Union

import nnabla as nn
import numpy as np

from ..errors import OfaError
from .build import library
from .function import Function, address
from .layout import BlockStruct, Folded, Layer, LayerShape, LayerStruct, Layout, check, lay_out, parameters_of

Moments = List[Tuple[nn.Variable, nn.Variable]]


class _BlockFunction(Function):
    """A block's structures. Its inputs are x, the parameters, and the residual where there is one.

    Args:
        layout: of the block.
        identity: whether x is added to the output.
        residual: whether the last input is added to the output.
    """

    def __init__(self, layout: Layout, identity: bool, residual: bool) -> None:
        super().__init__(layout.shape)
        self._floats, self._identity, self._residual = layout.floats, identity, residual
        self._block = BlockStruct.from_buffer_copy(layout.block)
        self._layers = (LayerStruct * self._block.count).from_buffer_copy(layout.layers)
        self._block.layers = ctypes.addressof(self._layers)

    def _point(self, inputs) -> None:
        """Where x and the residual are now: NNabla may have moved them since the last pass."""
        self._block.x = self._block.residual = address(inputs[0].data)
        if not self._identity:
            self._block.residual = address(inputs[-1].data) if self._residual else None

    def _forward(self, inputs, y: nn.NdArray) -> nn.NdArray:
        """Runs the forward pass and returns the arena."""
        self._point(inputs)
        arena = nn.NdArray((max(self._floats, 1),))
        self._block.y, self._block.arena = address(y, True), address(arena, True)
        library().block_forward(ctypes.byref(self._block))
        return arena


class _Trained(_BlockFunction):
    """A block that is normalised by its batch and has gradients.

    Args:
        layout: of the block.
        layers: its layers, the skip's first where there is one.
        order: as of `block`, checked.
        eps, decay: of BN.
        keep: whether the arena outlives the forward pass, for a backward pass.
        shape: identity and residual of `_BlockFunction`.
    """

    name = "FusedBlock"

    def __init__(self, layout: Layout, layers: Sequence[Layer], order, eps: float, decay: float, keep: bool,
                 *shape: bool) -> None:
        super().__init__(layout, *shape)
        if order is not None:
            self._order = np.array(order, np.int32)  # kept: the structure has no more than its address
            self._block.order = self._order.ctypes.data
        self._block.eps, self._block.decay = eps, decay
        # of each parameter, in the inputs' order: its layer's three arrays, and its place in them
        self._slots = [(*places, i) for places, layer in zip([own.slots() for own in self._layers], layers)
                       for i, v in enumerate(parameters_of(layer)) if v is not None]
        self._running = [layer.running for layer in layers]
        self._keep, self._arena = keep, None
        self._moments: Moments = []

    # NNabla asks about every pair of input and output at each build and forward, at over 1 us a
    # question. So mean and variance are no outputs, and the answer is yes where that frees nothing:
    # parameters are never cleared, and the first unit needs its activations anyway.
    def grad_depends_output_data(self, i: int, o: int) -> bool:
        return bool(self._block.relu_out)  # its mask

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return True

    def moments(self) -> Moments:
        """Mean and biased variance of each layer's batch, which the forward pass fills."""
        self._moments = [(nn.Variable((own.w_out,)), nn.Variable((own.w_out,))) for own in self._layers]
        return self._moments

    def _compute(self, inputs, y: nn.NdArray, track: bool) -> nn.NdArray:
        """The forward pass; `track`: it moves the running statistics. Returns the arena."""
        for (values, _, _, i), v in zip(self._slots, inputs[1:]):
            values[i] = address(v.data)
        for own, running in zip(self._layers, self._running):
            moved = [address(v.data) for v in running] if running and track else (None, None)
            own.running_mean, own.running_variance = moved
        return self._forward(inputs, y)

    def forward_impl(self, inputs, outputs) -> None:
        arena = self._compute(inputs, outputs[0].data, True)
        for own, pair in zip(self._layers, self._moments):
            for values, variable in zip((own.mean, own.variance), pair):
                ctypes.memmove(address(variable.data, True), values, 4 * own.w_out)
        self._arena = arena if self._keep else None

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        block = self._block
        if self._arena is None:
            self._arena = self._compute(inputs, nn.NdArray(self._shape), False)
        self._point(inputs)
        block.y = address(outputs[0].data) if block.relu_out else None
        block.dy = address(outputs[0].grad)
        addresses = [address(v.grad, not add) if needed else None
                     for v, needed, add in zip(inputs, propagate_down, accum)]
        for n, (values, gradients, add, i) in enumerate(self._slots, 1):
            values[i], gradients[i], add[i] = address(inputs[n].data), addresses[n], accum[n]
        block.dx, block.add_x = addresses[0], accum[0]
        if self._identity or self._residual:
            which = 0 if self._identity else -1
            block.d_residual, block.add_residual = addresses[which], accum[which]
        library().block_backward(ctypes.byref(block))
        self._arena = None


def block(x: nn.Variable, units: Sequence[Layer] = (), skip: Optional[Layer] = None, *,
          identity: bool = False, residual: Optional[nn.Variable] = None, pool: bool = False,
          relu_out: bool = False, order: Union[Sequence[int], np.ndarray, None] = None, eps: float = 1e-5,
          decay: float = 0.9, moments: Optional[Moments] = None) -> nn.Variable:
    """y = relu(pool(unit(... unit(x))) + shortcut), each layer normalised by its batch.

    A unit is BN(pointwise(depthwise(relu(.)))) with `same` padding and stride 1. The shortcut is
    BN(skip(x)) where `skip` is given; x with `identity`; `residual`; or nothing. Without units y is
    BN(skip(x)), plus `residual` where given. Active channels are the first ones; gradients of the
    others are zero.

    Args:
        x: (C, H, W, N).
        units: separable layers, in the order of computation.
        skip: a convolution on x.
        identity: whether x is the shortcut.
        residual: a Variable shaped as y, other than x.
        pool: max-pooling 3x3, stride 2, pad 1 after the last unit; only beside a skip convolution.
        relu_out: a ReLU on y.
        order: None, or a permutation of all rows of the last unit's weight and BN: row j of y comes
            from row order[j].
        eps: added to the variance, above 0.
        decay: running = decay * running + (1 - decay) * batch's, with the unbiased variance; 0 to 1.
        moments: a list that receives (mean, biased variance) of each unit, then of the skip, in
            the weight's row order: Variables (w_out,) that y's forward pass fills.

    Returns:
        y (w_out, H', W', N); H' = (H + 1) // 2 after pooling or stride 2, else H; W' likewise.

    Raises:
        OfaError: an argument does not fit the others.
    """
    layers = (*((skip,) if skip else ()), *units)
    layout = lay_out(x.shape, tuple(map(LayerShape.of, units)), LayerShape.of(skip) if skip else None,
                     identity, None if residual is None else residual.shape, pool, relu_out, False)
    if order is not None:
        rows = units[-1].weight.shape[0]
        check(layout.shape[0] == rows and np.array_equal(np.sort(order), range(rows)), "order",
              order, f"a permutation of all {rows} rows")
    parameters = [v for layer in layers for v in parameters_of(layer) if v is not None]
    inputs = [x, *parameters, *(() if residual is None else (residual,))]
    keep = any(v.need_grad for v in inputs)
    function = _Trained(layout, layers, order, eps, decay, keep, identity, residual is not None)
    if moments is not None:
        first, *others = function.moments()
        moments += [*others, first] if skip else [first, *others]
    return function(*inputs)


class _Frozen(_BlockFunction):
    """A block of constants, without gradients. Its inputs are x, and the residual where there is one.

    Args:
        layout: of the block.
        layers: its layers, the skip's first where there is one; their values are copied.
        shape: identity and residual of `_BlockFunction`.
    """

    name = "FrozenBlock"

    def __init__(self, layout: Layout, layers: Sequence[Folded], *shape: bool) -> None:
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
            own.depthwise = None if taps is None else taps.ctypes.data
            own.weight, own.beta = packed.ctypes.data, bias.ctypes.data

    def forward_impl(self, inputs, outputs) -> None:
        self._forward(inputs, outputs[0].data)

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        raise OfaError("a frozen block has no backward pass: build with batch statistics")


def frozen_block(x: nn.Variable, units: Sequence[Folded] = (), skip: Optional[Folded] = None, *,
                 identity: bool = False, residual: Optional[nn.Variable] = None, pool: bool = False,
                 relu_out: bool = False) -> nn.Variable:
    """As `block`, for inference: constant layers with BN folded in, and no gradient.

    Args:
        x: (C, H, W, N), which needs no gradient.
        units, skip: as of `block`; their values are read now.
        identity, pool, relu_out: as of `block`.
        residual: as of `block`, which needs no gradient.

    Returns:
        y, shaped as that of `block`.

    Raises:
        OfaError: an argument does not fit the others, or needs a gradient.
    """
    inputs = [x, *(() if residual is None else (residual,))]
    for name, v in zip(("x", "residual"), inputs):
        check(not v.need_grad, f"need_grad of {name}", True, "False, since a frozen block has no backward "
              "pass: for gradients build with batch statistics, or with NNabla's own functions")
    layout = lay_out(x.shape, tuple(map(LayerShape.of_folded, units)),
                     LayerShape.of_folded(skip) if skip else None, identity,
                     None if residual is None else residual.shape, pool, relu_out, True)
    layers = (*((skip,) if skip else ()), *units)
    return _Frozen(layout, layers, identity, residual is not None)(*inputs)
