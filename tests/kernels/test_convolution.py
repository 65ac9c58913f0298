"""Convolutions outside blocks against float64 NumPy: values, gradients, elastic widths, inference."""

from __future__ import annotations

import nnabla as nn
import numpy as np
import pytest
import references

from nnabla_ofa import kernels
from nnabla_ofa.errors import OfaError
from nnabla_ofa.kernels.build import default_threads

CASES = {  # x, weight, options
    "3x3 of many images": ((32, 8, 9, 16), (48, 32, 3, 3), dict(pad=(1, 1))),
    "3x3 of an odd image": ((24, 5, 7, 32), (40, 24, 3, 3), dict(pad=(1, 1))),
    "3x3 valid": ((16, 10, 8, 16), (16, 16, 3, 3), dict()),
    "3x3 in many strips": ((64, 20, 20, 16), (64, 64, 3, 3), dict(pad=(1, 1))),
    "3x3 of one image": ((16, 9, 8, 1), (24, 16, 3, 3), dict(pad=(1, 1))),
    "3x3 stride 2": ((5, 9, 8, 3), (7, 5, 3, 3), dict(stride=(2, 2), pad=(1, 1))),
    "1x1": ((19, 4, 5, 6), (23, 19, 1, 1), dict()),
    "1x1 stride 2": ((19, 5, 5, 2), (23, 19, 1, 1), dict(stride=(2, 2))),
    "one pixel": ((40, 1, 1, 5), (13, 40, 1, 1), dict()),
    "1x7": ((6, 9, 9, 4), (8, 6, 1, 7), dict(pad=(0, 3))),
    "7x1": ((6, 9, 9, 4), (8, 6, 7, 1), dict(pad=(3, 0))),
    "5x5 stride 3, wide padding": ((3, 11, 10, 2), (4, 3, 5, 5), dict(stride=(3, 2), pad=(4, 3))),
    "7x7 stem": ((3, 17, 17, 3), (8, 3, 7, 7), dict(stride=(2, 2), pad=(3, 3))),
    "even kernel": ((4, 6, 6, 3), (5, 4, 2, 2), dict(stride=(2, 2))),
    "groups": ((24, 7, 6, 5), (36, 6, 3, 3), dict(pad=(1, 1), groups=4)),
    "groups of one input": ((8, 6, 6, 3), (16, 1, 3, 3), dict(pad=(1, 1), groups=8)),
    "groups of 1x1": ((24, 4, 4, 3), (30, 8, 1, 1), dict(groups=3)),
    "kernel over the border": ((3, 2, 2, 2), (4, 3, 5, 5), dict(pad=(2, 2))),
}


def values(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def close(found, expected, tolerance=1e-5):
    """Within `tolerance` of the array's largest value."""
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-3)


def variable(array, grad=True):
    v = nn.Variable.from_numpy_array(array)
    v.need_grad = grad
    return v


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_float64(case, bias):
    shape, weight_shape, options = CASES[case]
    x, weight, b = values(shape, weight_shape, weight_shape[:1])
    inputs = [variable(x), variable(weight)] + [variable(b)] * bias
    y = kernels.convolution(*inputs, **options)
    expected, gradients = references.convolution(x.astype(np.float64), weight, b if bias else None, **options)
    y.forward()
    close(y.d, expected)
    dy, = values(y.shape, seed=1)
    for v in inputs:
        v.g = 0
    for times in (1, 2):  # the second time it adds
        y.backward(dy)
        for v, grad in zip(inputs, gradients(dy.astype(np.float64))):
            close(v.g, times * grad)


def test_active_channels_are_the_first_ones_and_others_get_no_gradient():
    for shape, batch in (((3, 3), 16), ((3, 3), 3), ((1, 1), 4)):
        x, weight, b = values((20, 6, 6, batch), (40, 28, *shape), (40,))
        pad = (shape[0] // 2,) * 2
        inputs = [variable(v) for v in (x, weight, b)]
        for v in inputs:
            v.grad.fill(7)
        y = kernels.convolution(*inputs, pad=pad, w_out=24)
        expected, gradients = references.convolution(x.astype(np.float64), weight[:24, :20], b[:24], pad=pad)
        y.forward()
        close(y.d, expected)
        for v in inputs:
            v.grad.zero()
        dy, = values(y.shape, seed=1)
        y.backward(dy, clear_buffer=False)
        dx, d_weight, d_bias = gradients(dy.astype(np.float64))
        close(inputs[0].g, dx)
        close(inputs[1].g[:24, :20], d_weight)
        close(inputs[2].g[:24], d_bias)
        assert not inputs[1].g[24:].any() and not inputs[1].g[:, 20:].any() and not inputs[2].g[24:].any()


@pytest.mark.parametrize("wanted", ["x", "weight"])
def test_a_gradient_that_is_not_wanted_is_not_computed(wanted):
    for batch in (2, 16):
        x, weight = values((16, 6, 6, batch), (16, 16, 3, 3))
        inputs = variable(x, wanted == "x"), variable(weight, wanted == "weight")
        y = kernels.convolution(*inputs, pad=(1, 1))
        _, gradients = references.convolution(x.astype(np.float64), weight, pad=(1, 1))
        y.forward()
        y.backward(1)
        found = dict(zip(("x", "weight"), zip(inputs, gradients(np.ones(y.shape)))))
        close(found[wanted][0].g, found[wanted][1])


@pytest.mark.parametrize("activation", references.ACTIVATIONS)
@pytest.mark.parametrize("case", ["3x3 of many images", "3x3 of an odd image", "1x1", "groups",
                                  "3x3 stride 2"])
def test_inference_adds_bias_and_residual_and_activates(case, activation):
    shape, weight_shape, options = CASES[case]
    x, weight, b = values(shape, weight_shape, weight_shape[:1])
    expected, _ = references.convolution(x.astype(np.float64), weight, b, **options)
    residual, = values(expected.shape, seed=2)
    for add in (None, residual):
        added = None if add is None else nn.Variable.from_numpy_array(add)
        y = kernels.frozen_convolution(nn.Variable.from_numpy_array(x), weight, b, residual=added,
                                       activation=activation, **options)
        y.forward()
        close(y.d, references.ACTIVATIONS[activation](expected + (0 if add is None else add)))


@pytest.mark.parametrize("case", ["3x3 in many strips", "groups", "1x1", "7x7 stem"])
def test_results_do_not_depend_on_the_threads(case):
    shape, weight_shape, options = CASES[case]
    x, weight = values(shape, weight_shape)
    found = []
    try:
        for threads in (1, 2, 3, 5):
            kernels.set_threads(threads)
            inputs = variable(x), variable(weight)
            y = kernels.convolution(*inputs, **options)
            y.forward()
            y.backward(1)
            found.append([y.d.copy(), *(v.g.copy() for v in inputs)])
    finally:
        kernels.set_threads(default_threads())
    for arrays in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(arrays, found[0]))


@pytest.mark.parametrize("weight, options, named", [
    ((8, 5, 3, 3), {}, "weight shape"), ((8, 6, 9, 9), {}, "kernel"), ((8, 6, 3, 3), dict(w_out=9), "w_out"),
    ((9, 3, 3, 3), dict(groups=2), "weight shape"), ((8, 3, 1, 1), dict(groups=2, w_out=4), "w_out"),
    ((8, 6, 3, 3), dict(stride=(0, 1)), "kernel")])
def test_what_does_not_fit_is_one_error(weight, options, named):
    with pytest.raises(OfaError, match=named):
        kernels.convolution(nn.Variable((6, 5, 5, 2)), nn.Variable(weight), **options)


def test_a_frozen_convolution_has_no_gradient():
    with pytest.raises(OfaError, match="need_grad of x"):
        kernels.frozen_convolution(nn.Variable((6, 5, 5, 2), need_grad=True), np.zeros((4, 6, 1, 1)))
