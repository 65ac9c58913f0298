"""What a block is made of: its layers, their checks, and the structures that block.h reads.

Letters in shapes: C, I and O are numbers of channels, H and W the image's height and width in
pixels, N the number of images, k and K sizes of (k, k) kernels.
"""
from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import List, NamedTuple, Optional, Tuple, Type, Union

import nnabla as nn
import numpy as np

from ..errors import OfaError
from .build import library
from .function import longs, pointers

Shape = Tuple[int, ...]
_LONG, _POINTER = ctypes.c_long, ctypes.c_void_p
_Item = Union[ctypes.c_long, ctypes.c_void_p]
_PARAMETERS = (("depthwise", 1), ("matrix", 2), ("weight", 1), ("gamma", 1), ("beta", 1))
SLOTS = sum(count for _, count in _PARAMETERS)


def _parameters(prefix: str, kind: Type[_Item]) -> List[tuple]:
    """A field of `kind` for each parameter of a layer; the two matrices are one field, an array."""
    return [(prefix + name, kind if count == 1 else kind * count) for name, count in _PARAMETERS]


class LayerStruct(ctypes.Structure):
    """Mirror of `layer` in block.h, which says what the fields mean. A test compares them all."""

    _fields_ = (longs("w_in w_out full_in full_out full_depthwise kernel full_kernel stride steps relu_in")
                + _parameters("", _POINTER) + _parameters("d_", _POINTER) + _parameters("add_", _LONG)
                + pointers("running_mean running_variance")
                + longs("rows full_row height line pixels strip")
                + pointers("mean variance inverse hidden z"))

    def slots(self) -> Tuple[ctypes.Array, ctypes.Array, ctypes.Array]:
        """Views of the fields that each parameter has, in the order of `parameters_of`.

        Returns:
            Addresses of the values, addresses of the gradients, and whether the backward pass adds to
            the gradients: three arrays of SLOTS items. Setting an item sets the structure's field.
        """
        return (self._view("depthwise", _POINTER), self._view("d_depthwise", _POINTER),
                self._view("add_depthwise", _LONG))

    def _view(self, first: str, kind: Type[_Item]) -> ctypes.Array:
        return (kind * SLOTS).from_buffer(self, getattr(LayerStruct, first).offset)


class BlockStruct(ctypes.Structure):
    """Mirror of `block` in block.h, which says what the fields mean. A test compares them all."""

    _fields_ = (longs("height width batch skip count pool relu_out frozen add_x add_residual")
                + [("eps", ctypes.c_double), ("decay", ctypes.c_double)]
                + pointers("layers order x residual dy y dx d_residual arena winner"))


class Layer(NamedTuple):
    """A layer to train: a convolution or, where `depthwise` is given, an elastic separable layer; and BN.

    Args:
        weight: (O, I, k, k), k 1 or 3, of a convolution with padding k // 2; or (O, I, 1, 1), the
            pointwise convolution of a separable layer. I is at least the active input channels.
        gamma, beta: (1, O, 1, 1), BN's scale and shift.
        depthwise: None, or (C, 1, K, K): C at least the active input channels, K 3, 5 or 7.
        matrices: one (k * k, k * k) for each step down from K to `kernel`: 7 to 5 (25, 25), then
            5 to 3 (9, 9).
        kernel: active kernel size of a separable layer: 3, 5 or 7, at most K.
        stride: of a convolution, 1 or 2.
        w_out: active output channels, the first ones, 1 to O; None for all.
        relu_in: a ReLU on a separable layer's input.
        running: None, or (mean, variance), Variables (1, O, 1, 1) that the forward pass moves.

    A smaller kernel is the centre of the next larger one, as a row of k * k values, times a matrix.

    Source: Cai et al., Once-for-All, ICLR 2020, section 3.3.
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
    """A layer for inference: constants, BN folded into the convolution, all channels active.

    Args:
        weight: (O, I, k, k), k 1 or 3, of a convolution; (O, I, 1, 1) of a separable layer.
        bias: (O,).
        depthwise: None, or (I, 1, K, K), K 3, 5 or 7.
        stride: of a convolution, 1 or 2.
        relu_in: a ReLU on a separable layer's input.
    """

    weight: np.ndarray
    bias: np.ndarray
    depthwise: Optional[np.ndarray] = None
    stride: int = 1
    relu_in: bool = False


def parameters_of(layer: Layer) -> Tuple[Optional[nn.Variable], ...]:
    """A layer's SLOTS parameters in the order of `LayerStruct`'s fields; None where it has none."""
    first, second = (*layer.matrices, None, None)[:2]
    return layer.depthwise, first, second, layer.weight, layer.gamma, layer.beta


def check(good: bool, name: str, value: object, allowed: str) -> None:
    """OfaError that names the argument, its value and what is allowed, unless `good`."""
    if not good:
        raise OfaError(f"{name}: {value} given, but it must be {allowed}")


class LayerShape(NamedTuple):
    """All of a layer but its values and addresses: what its structure is made of."""

    weight: Shape
    depthwise: Optional[Shape]
    kernel: int
    stride: int
    w_out: int
    relu_in: bool
    matrices: Tuple[Shape, ...] = ()
    affine: Tuple[Shape, ...] = ()  # of gamma, beta and running statistics; none of a folded layer

    @classmethod
    def of(cls, layer: Layer) -> LayerShape:
        """The shapes of a layer to train."""
        out = layer.weight.shape[0]
        return cls(layer.weight.shape, layer.depthwise and layer.depthwise.shape, layer.kernel, layer.stride,
                   out if layer.w_out is None else layer.w_out, layer.relu_in,
                   tuple(m.shape for m in layer.matrices),
                   tuple(v.shape for v in (layer.gamma, layer.beta, *(layer.running or ()))))

    @classmethod
    def of_folded(cls, layer: Folded) -> LayerShape:
        """The shapes of a layer for inference."""
        depthwise = None if layer.depthwise is None else np.shape(layer.depthwise)
        return cls(np.shape(layer.weight), depthwise, depthwise[-1] if depthwise else 3, layer.stride,
                   len(layer.weight), layer.relu_in)

    def structure(self, w_in: int) -> LayerStruct:
        """The structure, without addresses, of the layer on an input of `w_in` channels.

        Raises:
            OfaError: the layer does not fit itself or its input.
        """
        (out, full_in), size = self.weight[:2], self.weight[-1]
        check(1 <= self.w_out <= out, "w_out", self.w_out, f"from 1 to {out}")
        for shape in self.affine:
            check(shape == (1, out, 1, 1), "shape of gamma, beta or running", shape, f"(1, {out}, 1, 1)")
        sizes = (1,) if self.depthwise else (1, 3)
        check(self.weight == (out, full_in, size, size) and size in sizes and full_in >= w_in,
              "weight shape", self.weight, " or ".join(f"(O, {w_in} or more, {k}, {k})" for k in sizes))
        if self.depthwise is None:
            check(self.stride in (1, 2), "stride", self.stride, "1 or 2")
            return LayerStruct(w_in, self.w_out, full_in, out, 0, size, size, self.stride)
        count, full = self.depthwise[0], self.depthwise[-1]
        check(self.depthwise == (count, 1, full, full) and count >= w_in and full in (3, 5, 7),
              "depthwise shape", self.depthwise, f"({w_in} or more, 1, K, K), K 3, 5 or 7")
        check(self.kernel in range(3, full + 1, 2), "kernel", self.kernel, f"3, 5 or 7, at most {full}")
        expected = tuple((k * k, k * k) for k in range(full - 2, self.kernel - 1, -2))
        check(not self.affine or self.matrices == expected, "matrices", self.matrices, f"{expected}")
        return LayerStruct(w_in, self.w_out, full_in, out, count, self.kernel, full, 1,
                           len(self.matrices), self.relu_in)


class Layout(NamedTuple):
    """What shapes alone decide of a block."""

    block: bytes   # BlockStruct, without addresses
    layers: bytes  # its LayerStructs: the skip's first, where there is one
    shape: Shape   # of y
    floats: int    # of the arena, which holds what the backward pass needs


@lru_cache(maxsize=4096)
def lay_out(x: Shape, units: Tuple[LayerShape, ...], skip: Optional[LayerShape], identity: bool,
            residual: Optional[Shape], pool: bool, relu_out: bool, frozen: bool) -> Layout:
    """The layout of a block; `functions.block` says what its parts are.

    Args:
        x: the input's shape, (C, H, W, N).
        units: shapes of the units' parameters, in the order of computation.
        skip: shapes of the skip convolution's parameters, or None.
        identity: whether x is added to the output.
        residual: None, or the shape of the array that is added to the output.
        pool: whether the last unit's output is pooled.
        relu_out: whether the output goes through a ReLU.
        frozen: whether the layers are constants, for inference.

    Raises:
        OfaError: an argument does not fit the others.
    """
    check(len(x) == 4, "x shape", x, "(C, H, W, N)")
    found, width = [skip.structure(x[0])] if skip else [], x[0]
    for shape in units:
        found.append(shape.structure(width))
        width = shape.w_out
    stride = 2 if pool else skip.stride if skip and not units else 1
    check(not identity or width == x[0] and not pool, "w_out", width, f"{x[0]}, as the input that is added")
    if skip:
        fits = not units or (skip.w_out, skip.stride) == (width, stride)
        check(fits, "skip", skip.w_out, f"{width} channels with stride {stride}")
        width = skip.w_out
    check(not pool or bool(units and skip) and not relu_out, "pool", pool,
          "with units and a skip convolution, without relu_out")
    out = (width, (x[1] - 1) // stride + 1, (x[2] - 1) // stride + 1, x[3])
    if residual:
        check(not (identity or units and skip), "residual", residual,
              "None beside identity, or units and a skip")
        check(residual == out, "residual shape", residual, f"{out}")
    layers = (LayerStruct * len(found))(*found)
    block = BlockStruct(*x[1:], skip is not None, len(found), pool, relu_out, frozen)
    block.layers = ctypes.addressof(layers)
    floats = library().arrange(ctypes.byref(block))
    return Layout(bytes(block), bytes(layers), out, floats)
