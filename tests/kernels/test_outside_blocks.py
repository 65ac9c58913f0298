"""Compiled functions outside blocks: values and gradients against float64, any number of threads."""

from __future__ import annotations

import nnabla as nn
import numpy as np
import pytest

from nnabla_ofa import kernels
from nnabla_ofa.errors import OfaError

pytestmark = pytest.mark.skipif(kernels.unavailable_reason() is not None,
                                reason=str(kernels.unavailable_reason()))


def variable(*shape, seed=0):
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return nn.Variable.from_numpy_array(values).apply(need_grad=True)


def computed(y, *inputs, before=0.0):
    """The output, and the gradients of the inputs added to `before`, for an output gradient of weights."""
    dy = np.random.default_rng(9).standard_normal(y.shape).astype(np.float32)
    for v in inputs:
        v.g = before
    y.forward()
    value = y.d.copy()
    y.g = dy
    y.backward(dy)
    return dy.astype(np.float64), value, [v.g - before for v in inputs]


def relative(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


def padded(x, edge):
    return np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))


@pytest.mark.parametrize("shape", [(3, 5, 7, 4), (2, 1, 1, 3), (1, 33, 9, 1), (19, 8, 8, 16)])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_depthwise_is_its_definition(shape, kernel):
    x, w = variable(*shape), variable(shape[0], 1, kernel, kernel, seed=1)
    dy, y, (dx, dw) = computed(kernels.depthwise(x, w), x, w)
    height, width = shape[1:3]
    edge = kernel // 2
    from_x, back, expected = padded(x.d.astype(np.float64), edge), np.zeros(padded(x.d, edge).shape), 0
    gradient = np.zeros(w.shape)
    for i in range(kernel):
        for j in range(kernel):
            window = from_x[:, i:i + height, j:j + width]
            tap = w.d[:, 0, i, j].astype(np.float64)[:, None, None, None]
            expected = expected + tap * window
            back[:, i:i + height, j:j + width] += tap * dy
            gradient[:, 0, i, j] = (window * dy).sum(axis=(1, 2, 3))
    assert relative(y, expected) < 1e-6
    assert relative(dx, back[:, edge:edge + height, edge:edge + width]) < 1e-6
    assert relative(dw, gradient) < 1e-5


@pytest.mark.parametrize("size", [7, 8])
def test_a_larger_stride_leaves_pixels_out(size):
    x, w = variable(3, size, size, 4), variable(3, 1, 5, 5, seed=1)
    _, whole, _ = computed(kernels.depthwise(x, w), x, w)
    _, y, _ = computed(kernels.depthwise(x, w, 2), x, w)
    assert np.array_equal(y, whole[:, ::2, ::2])


def test_hard_swish_is_its_definition():
    x = variable(2, 3, 5, 7)
    x.d = 4 * x.d
    dy, y, (dx,) = computed(kernels.hard_swish(x), x)
    own = x.d.astype(np.float64)
    assert relative(y, own * np.clip(own + 3, 0, 6) / 6) < 1e-6
    slope = np.where(own < -3, 0, np.where(own > 3, 1, own / 3 + 0.5))
    assert relative(dx, slope * dy) < 1e-6


def test_scale_is_its_definition():
    x, s = variable(4, 3, 5, 6), variable(4, 1, 1, 6, seed=1)
    dy, y, (dx, ds) = computed(kernels.scale(x, s), x, s)
    assert np.array_equal(y, x.d * s.d)
    assert np.array_equal(dx, (s.d * dy).astype(np.float32))
    assert relative(ds, (x.d.astype(np.float64) * dy).sum(axis=(1, 2), keepdims=True)) < 1e-6


FUNCTIONS = {"depthwise": lambda: (kernels.depthwise, variable(9, 6, 5, 4), variable(9, 1, 5, 5, seed=1)),
             "hard_swish": lambda: (kernels.hard_swish, variable(9, 6, 5, 4)),
             "scale": lambda: (kernels.scale, variable(9, 6, 5, 4), variable(9, 1, 1, 4, seed=1))}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_threads_do_not_matter_and_gradients_are_added(name):
    found = []
    try:
        for threads in (1, 3):
            kernels.set_threads(threads)
            function, *inputs = FUNCTIONS[name]()
            found.append(computed(function(*inputs), *inputs))
    finally:
        kernels.set_threads(kernels.build.default_threads())
    (_, one, gradients), (_, three, others) = found
    assert np.array_equal(one, three) and all(map(np.array_equal, gradients, others))
    function, *inputs = FUNCTIONS[name]()
    # two uses of the same inputs: the second one's gradients are added to the first one's
    _, _, twice = computed(function(*inputs) + function(*inputs), *inputs)
    assert all(relative(two, 2 * one) < 1e-6 for two, one in zip(twice, gradients))


@pytest.mark.parametrize("name, inputs", [
    ("depthwise", [(4, 5, 5, 2), (4, 1, 2, 2)]), ("depthwise", [(4, 5, 5, 2), (3, 1, 3, 3)]),
    ("depthwise", [(4, 5, 5, 2), (4, 1, 9, 9)]), ("depthwise", [(4, 5, 5), (4, 1, 3, 3)]),
    ("scale", [(4, 5, 5, 2), (4, 1, 1, 3)]), ("scale", [(4, 5, 5, 2), (4, 2)])])
def test_shapes_that_do_not_fit_are_named(name, inputs):
    with pytest.raises(OfaError, match="shape"):
        getattr(kernels, name)(*(variable(*shape) for shape in inputs))
