"""Compiled functions outside blocks: values and gradients against float64, any number of threads."""

from __future__ import annotations

import nnabla as nn
import numpy as np
import pytest
import references

from nnabla_ofa import kernels
from nnabla_ofa.errors import OfaError
from nnabla_ofa.kernels import build

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


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("shape", [(3, 7, 8, 4), (2, 8, 7, 16), (2, 1, 2, 19)])
def test_depthwise_with_a_larger_stride(shape, kernel, stride):
    x, w = variable(*shape), variable(shape[0], 1, kernel, kernel, seed=1)
    dy, y, (dx, dw) = computed(kernels.depthwise(x, w, stride), x, w)
    expected, gradients = references.convolution(x.d.astype(np.float64), w.d, None, (stride,) * 2,
                                                 (kernel // 2,) * 2, shape[0])
    assert y.shape == expected.shape and relative(y, expected) < 1e-6
    expected_dx, expected_dw, _ = gradients(dy)
    assert np.abs(dx - expected_dx).max() < 1e-5 and relative(dw, expected_dw) < 1e-5


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", references.ACTIVATIONS)
def test_a_frozen_depthwise_adds_its_bias_and_activates(name, stride):
    x, (w, b) = variable(5, 9, 7, 6), (variable(5, 1, 3, 3, seed=1).d, variable(5, seed=2).d)
    x.need_grad = False
    y = kernels.frozen_depthwise(x, w, b, stride, name)
    y.forward()
    expected, _ = references.convolution(x.d.astype(np.float64), w, b, (stride,) * 2, (1, 1), 5)
    assert relative(y.d, references.ACTIVATIONS[name](expected)) < 1e-6
    with pytest.raises(OfaError, match="need_grad of x"):
        kernels.frozen_depthwise(x.apply(need_grad=True), w, b)


@pytest.mark.parametrize("name", [name for name in references.ACTIVATIONS if name != "none"])
def test_activations_are_their_definitions(name):
    x = variable(2, 3, 5, 7)
    x.d = 4 * x.d
    dy, y, (dx,) = computed(kernels.activation(x, name), x)
    own = x.d.astype(np.float64)
    assert relative(y, references.ACTIVATIONS[name](own)) < 1e-6
    assert relative(dx, references.slope(name, own) * dy) < 1e-6


@pytest.mark.parametrize("name", [name for name in references.ACTIVATIONS if name != "none"])
def test_activations_at_the_ends_of_the_numbers(name):
    x = nn.Variable.from_numpy_array(np.array([-np.inf, -1e4, -88, 0, 88, 1e4, np.inf, np.nan], np.float32))
    y = kernels.activation(x.apply(need_grad=True), name)
    y.forward()
    with np.errstate(over="ignore"):  # of exp(1e4)
        expected = references.ACTIVATIONS[name](x.d[1:-2].astype(np.float64))
    assert np.allclose(y.d[1:-2], expected, rtol=1e-6, atol=1e-30)
    assert np.isnan(y.d[-1])


def normalised(shape, full, name, with_residual, fixed=None, **options):
    """z, gamma, beta and perhaps the residual; y of the kernel; what it should be."""
    inputs = [variable(*shape), variable(1, full, 1, 1, seed=1), variable(1, full, 1, 1, seed=2)]
    inputs[0].d = 3 + 2 * inputs[0].d
    inputs += [variable(*shape, seed=3)] * with_residual
    residual = inputs[3] if with_residual else None
    y = kernels.normalize(*inputs[:3], residual=residual, activation=name, fixed=fixed, **options)
    arrays = [v.d.astype(np.float64) for v in inputs]
    width = shape[0]
    expected = references.normalize(arrays[0], arrays[1].ravel()[:width], arrays[2].ravel()[:width],
                                    arrays[3] if with_residual else 0, name, 1e-5, fixed)
    return inputs, y, expected


@pytest.mark.parametrize("with_residual", [False, True], ids=["", "residual"])
@pytest.mark.parametrize("name", references.ACTIVATIONS)
@pytest.mark.parametrize("shape, full", [((5, 4, 6, 3), 5), ((7, 3, 3, 8), 9), ((3, 1, 1, 19), 3)])
def test_normalisation_is_its_definition(shape, full, name, with_residual):
    inputs, y, (expected, mean, variance, gradients) = normalised(shape, full, name, with_residual)
    dy, value, found = computed(y, *inputs)
    assert relative(value, expected) < 1e-5
    for v, grad in zip(found, gradients(dy)):
        own = v if v.shape == shape else v.ravel()[:shape[0]]
        assert np.abs(own - grad).max() <= 2e-5 * max(np.abs(grad).max(), 1)
        assert v.shape == shape or not v.ravel()[shape[0]:].any()


def test_normalisation_tells_the_moments_and_moves_the_running_ones():
    running = [variable(1, 9, 1, 1, seed=i) for i in (5, 6)]
    before, moments = [v.d.copy() for v in running], []
    _, y, (_, mean, variance, _) = normalised((7, 3, 4, 5), 9, "relu", False, running=tuple(running),
                                              moments=moments, decay=0.75)
    y.forward()
    (found_mean, found_variance), = moments
    assert relative(found_mean.d, mean) < 1e-6 and relative(found_variance.d, variance) < 1e-6
    for v, old, new in zip(running, before, (mean, variance * 60 / 59)):
        assert relative(v.d.ravel()[:7], 0.75 * old.ravel()[:7] + 0.25 * new) < 1e-6
        assert np.array_equal(v.d.ravel()[7:], old.ravel()[7:])


def test_normalisation_by_given_statistics():
    fixed = np.random.default_rng(4).random((2, 7)).astype(np.float32)
    inputs, y, (expected, _, _, gradients) = normalised((7, 3, 4, 5), 7, "swish", True, fixed=tuple(fixed))
    dy, value, found = computed(y, *inputs)
    assert relative(value, expected) < 1e-6
    for v, grad in zip(found, gradients(dy)):
        assert relative(v.reshape(grad.shape), grad) < 1e-5


@pytest.mark.parametrize("mean", [False, True], ids=["largest", "mean"])
@pytest.mark.parametrize("kernel, stride, pad", [(2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 3, 2), (8, 8, 0),
                                                 (2, 1, 0)])
@pytest.mark.parametrize("shape", [(3, 8, 9, 5), (2, 11, 8, 16), (1, 8, 8, 1)])
def test_pooling_is_its_definition(shape, kernel, stride, pad, mean):
    x = variable(*shape)
    dy, y, (dx,) = computed(kernels.pool(x, kernel, stride, pad, mean), x)
    sizes = (kernel,) * 2, (stride,) * 2, (pad,) * 2
    taps = references.unfolded(x.d.astype(np.float64), *sizes, fill=0 if mean else -np.inf)
    flat = taps.reshape(shape[0], -1, *y.shape[1:])
    assert relative(y, flat.mean(axis=1) if mean else flat.max(axis=1)) < 1e-6
    given = np.full(flat.shape, 1 / kernel ** 2) if mean else np.arange(kernel ** 2).reshape(
        1, -1, 1, 1, 1) == flat.argmax(axis=1)[:, None]
    expected = references.folded((given * dy[:, None]).reshape(taps.shape), shape, *sizes[1:])
    assert np.abs(dx - expected).max() < 1e-5


def test_the_first_of_equal_maxima_gets_the_gradient_and_nan_wins():
    x = nn.Variable.from_numpy_array(np.array([2, 2, 1, 2], np.float32).reshape(1, 2, 2, 1))
    _, _, (dx,) = computed(kernels.pool(x.apply(need_grad=True), 2, 2), x)
    assert (dx.ravel() != 0).tolist() == [True, False, False, False]
    x.d = np.array([2, np.nan, 1, 3], np.float32).reshape(1, 2, 2, 1)
    y = kernels.pool(x, 2, 2)
    y.forward()
    assert np.isnan(y.d).all()


@pytest.mark.parametrize("n, w_in, full, out", [(5, 7, 7, 3), (64, 40, 56, 100), (1, 1, 1, 1)])
def test_affine_is_its_definition(n, w_in, full, out):
    x, w, b = variable(n, w_in), variable(full, out, seed=1), variable(out, seed=2)
    for inputs in ((x, w, b), (x, w)):
        dy, y, found = computed(kernels.affine(*inputs), *inputs)
        own = [v.d.astype(np.float64) for v in inputs]
        assert relative(y, own[0] @ own[1][:w_in] + (own[2] if len(own) > 2 else 0)) < 1e-5
        expected = [dy @ own[1][:w_in].T, own[0].T @ dy, dy.sum(axis=0)]
        for grad, right in zip(found, expected):
            assert relative(grad[:len(right)], right) < 1e-5
            assert not grad[len(right):].any()


@pytest.mark.parametrize("order", [[2, 0, 1], [1], [3, 1]])
def test_selected_channels_and_the_gradients_of_all(order):
    x = variable(4, 3, 2, 5)
    dy, y, (dx,) = computed(kernels.select(x, order), x)
    assert np.array_equal(y, x.d[order])
    expected = np.zeros(x.shape)
    expected[order] = dy
    assert np.array_equal(dx, expected)
    _, _, (twice,) = computed(kernels.select(x, order) + kernels.select(x, order), x)
    assert relative(twice, 2 * expected) < 1e-6


@pytest.mark.parametrize("order", [[0, 0], [4], [-1], [], [[0, 1]]])
def test_channels_that_are_not_there_or_twice(order):
    with pytest.raises(OfaError, match="order"):
        kernels.select(variable(4, 3, 2, 5), order)


def test_mean_is_its_definition():
    x = variable(4, 3, 5, 6)
    for function, axes in ((kernels.mean, (1, 2)), (kernels.global_mean, None)):
        dy, y, (dx,) = computed(function(x), x)
        expected = x.d.astype(np.float64).mean(axis=(1, 2), keepdims=True)
        assert relative(y, expected if axes else expected[:, 0, 0].T) < 1e-6
        spread = dy if axes else dy.T[:, None, None]
        assert relative(dx, np.broadcast_to(spread / 15, x.shape)) < 1e-6


def test_scale_is_its_definition():
    x, s = variable(4, 3, 5, 6), variable(4, 1, 1, 6, seed=1)
    dy, y, (dx, ds) = computed(kernels.scale(x, s), x, s)
    assert np.array_equal(y, x.d * s.d)
    assert np.array_equal(dx, (s.d * dy).astype(np.float32))
    assert relative(ds, (x.d.astype(np.float64) * dy).sum(axis=(1, 2), keepdims=True)) < 1e-6


FUNCTIONS = {"depthwise": lambda: (kernels.depthwise, variable(9, 6, 5, 4), variable(9, 1, 5, 5, seed=1)),
             "activation": lambda: (lambda x: kernels.activation(x, "gelu"), variable(9, 6, 5, 400)),
             "normalize": lambda: (kernels.normalize, variable(9, 6, 5, 4), variable(1, 9, 1, 1, seed=1),
                                   variable(1, 9, 1, 1, seed=2)),
             "pool": lambda: (lambda x: kernels.pool(x, 3, 2, 1), variable(9, 6, 5, 4)),
             "mean": lambda: (kernels.mean, variable(9, 6, 5, 4)),
             "affine": lambda: (kernels.affine, variable(50, 60), variable(60, 70, seed=1),
                                variable(70, seed=2)),
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
        kernels.set_threads(build.default_threads())
    (_, one, gradients), (_, three, others) = found
    assert np.array_equal(one, three) and all(map(np.array_equal, gradients, others))
    function, *inputs = FUNCTIONS[name]()
    # two uses of the same inputs: the second one's gradients are added to the first one's
    _, _, twice = computed(function(*inputs) + function(*inputs), *inputs)
    assert all(relative(two, 2 * one) < 1e-6 for two, one in zip(twice, gradients))


@pytest.mark.parametrize("name, inputs", [
    ("depthwise", [(4, 5, 5, 2), (4, 1, 2, 2)]), ("depthwise", [(4, 5, 5, 2), (3, 1, 3, 3)]),
    ("depthwise", [(4, 5, 5, 2), (4, 1, 9, 9)]), ("depthwise", [(4, 5, 5), (4, 1, 3, 3)]),
    ("scale", [(4, 5, 5, 2), (4, 1, 1, 3)]), ("scale", [(4, 5, 5, 2), (4, 2)]), ("affine", [(4, 5), (4, 3)]),
    ("normalize", [(4, 5, 5, 2), (1, 3, 1, 1), (1, 3, 1, 1)]), ("affine", [(4, 5), (5, 3), (4,)]),
    ("mean", [(4, 5, 5)]), ("global_mean", [(4, 5)])])
def test_shapes_that_do_not_fit_are_named(name, inputs):
    with pytest.raises(OfaError, match="shape"):
        getattr(kernels, name)(*(variable(*shape) for shape in inputs))
