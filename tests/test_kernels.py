"""The fused layers equal float64 NumPy references, values and gradients, to 1e-5 relative."""
from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest
from nnabla.ext_utils import get_extension_context

from nnabla_ofa import kernels
from nnabla_ofa.errors import OfaError
from nnabla_ofa.kernels import build, functions

pytestmark = pytest.mark.skipif(kernels.unavailable_reason() is not None,
                                reason=str(kernels.unavailable_reason()))
EPS = 1e-5


@pytest.fixture(autouse=True)
def cpu_context():
    with nn.context_scope(get_extension_context("cpu")):
        yield


# ---- references: the textbook, in float64; each returns values and a function of dy ------------

def reference_bn(z, gamma, beta, statistics=None):
    """z (O, H, W, N); gamma, beta (O,)."""
    axes = (1, 2, 3)
    mean, var = statistics or (z.mean(axes), z.var(axes))
    column = (slice(None), None, None, None)
    inverse = 1 / np.sqrt(var + EPS)
    centred = (z - mean[column]) * inverse[column]

    def backward(dy):
        d_gamma, d_beta = (dy * centred).sum(axes), dy.sum(axes)
        dz = dy
        if statistics is None:
            count = z[0].size
            dz = dy - d_beta[column] / count - centred * d_gamma[column] / count
        return dz * (gamma * inverse)[column], d_gamma, d_beta

    return centred * gamma[column] + beta[column], mean, var, backward


def reference_conv(x, weight, stride=1):
    """x (I, H, W, N), weight (O, I, k, k), padding k // 2."""
    k = weight.shape[-1]
    pad = k // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    out = [(size - 1) // stride + 1 for size in x.shape[1:3]]

    def window(array, i, j):
        return array[:, i:i + out[0] * stride:stride, j:j + out[1] * stride:stride][
            :, :out[0], :out[1]]

    z = sum(np.tensordot(weight[:, :, i, j], window(padded, i, j), 1)
            for i in range(k) for j in range(k))

    def backward(dz):
        d_padded, d_weight = np.zeros_like(padded), np.zeros_like(weight)
        for i in range(k):
            for j in range(k):
                d_weight[:, :, i, j] = np.tensordot(dz, window(padded, i, j), ((1, 2, 3),) * 2)
                window(d_padded, i, j)[...] += np.tensordot(weight[:, :, i, j].T, dz, 1)
        return d_padded[:, pad:pad + x.shape[1], pad:pad + x.shape[2]], d_weight

    return z, backward


def reference_depthwise(x, kernel):
    """x (C, H, W, N), kernel (C, k, k)."""
    k = kernel.shape[-1]
    pad, (_, height, width, _) = k // 2, x.shape
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    taps = [(i, j, (slice(None), slice(i, i + height), slice(j, j + width)))
            for i in range(k) for j in range(k)]
    y = sum(kernel[:, i, j][:, None, None, None] * padded[window] for i, j, window in taps)

    def backward(dy):
        d_padded, d_kernel = np.zeros_like(padded), np.zeros_like(kernel)
        for i, j, window in taps:
            d_kernel[:, i, j] = (dy * padded[window]).sum((1, 2, 3))
            d_padded[window] += dy * kernel[:, i, j][:, None, None, None]
        return d_padded[:, pad:pad + height, pad:pad + width], d_kernel

    return y, backward


def reference_separable(a, *, kernel, w_out, order=None, relu_in=True, relu_out=False,
                        statistics=None, dy=None):
    """Values and, by the names of ``a``, gradients (full-sized) of the whole layer."""
    a = {name: value.astype(np.float64) for name, value in a.items()}
    w_in, full = a["x"].shape[0], a["depthwise"].shape[-1]
    kernels_ = [a["depthwise"][:w_in, 0]]
    for k in range(full - 2, kernel - 1, -2):
        crop = kernels_[-1][:, 1:-1, 1:-1].reshape(w_in, -1)
        kernels_.append((crop @ a["matrix%d" % k]).reshape(w_in, k, k))
    x = np.maximum(a["x"], 0) if relu_in else a["x"]
    hidden, depthwise_backward = reference_depthwise(x, kernels_[-1])
    weight = a["pointwise"][:w_out, :w_in, 0, 0]
    z = np.tensordot(weight, hidden, 1)
    gamma, beta = (a[name].ravel()[:w_out] for name in ("gamma", "beta"))
    y, mean, var, bn_backward = reference_bn(z, gamma, beta, statistics)
    rows = np.arange(w_out) if order is None else np.asarray(order)
    y = y[rows] + a.get("residual", 0)
    mask = y > 0 if relu_out else np.ones_like(y)
    g = {name: np.zeros_like(value) for name, value in a.items()}
    dy = dy * mask
    if "residual" in a:
        g["residual"] = dy
    d_bn = np.empty_like(dy)
    d_bn[rows] = dy
    dz, d_gamma, d_beta = bn_backward(d_bn)
    g["gamma"][0, :w_out, 0, 0], g["beta"][0, :w_out, 0, 0] = d_gamma, d_beta
    g["pointwise"][:w_out, :w_in, 0, 0] = np.tensordot(dz, hidden, ((1, 2, 3),) * 2)
    dx, d_kernel = depthwise_backward(np.tensordot(weight.T, dz, 1))
    for step, k in reversed(list(enumerate(range(full - 2, kernel - 1, -2)))):
        d_kernel = d_kernel.reshape(w_in, -1)
        crop = kernels_[step][:, 1:-1, 1:-1].reshape(w_in, -1)
        g["matrix%d" % k] = crop.T @ d_kernel
        larger = np.zeros_like(kernels_[step])
        larger[:, 1:-1, 1:-1] = (d_kernel @ a["matrix%d" % k].T).reshape(w_in, k, k)
        d_kernel = larger
    g["depthwise"][:w_in, 0] = d_kernel
    g["x"] = dx * (a["x"] > 0) if relu_in else dx
    return y * mask, mean, var, g


# ---- helpers -----------------------------------------------------------------------------------

def variable(value, need_grad=True):
    result = nn.Variable.from_numpy_array(value.astype(np.float32)).apply(need_grad=need_grad)
    result.grad.zero()
    return result


def close(got, expected, tolerance=1e-5):
    scale = np.abs(expected).max() or 1.0
    error = np.abs(got - expected).max() / scale
    assert error < tolerance, error


def backward(y, dy, **options):
    """Backward of y with the output's gradient dy."""
    loss = F.sum(y * nn.Variable.from_numpy_array(dy.astype(np.float32)))
    loss.forward(clear_no_need_grad=True)
    loss.backward(clear_buffer=True, **options)


def arrays(seed, shape, w_out, *, full=3, kernel=3, spare=0, residual=False):
    """Random operands of a separable layer; ``spare`` channels more than are used."""
    rng = np.random.default_rng(seed)
    w_in = shape[0]
    a = {"x": rng.normal(size=shape),
         "depthwise": rng.normal(size=(w_in + spare, 1, full, full)),
         "pointwise": rng.normal(size=(w_out + spare, w_in + spare, 1, 1)) / np.sqrt(w_in),
         "gamma": rng.normal(size=(1, w_out + spare, 1, 1)),
         "beta": rng.normal(size=(1, w_out + spare, 1, 1))}
    for k in range(full - 2, kernel - 1, -2):
        a["matrix%d" % k] = np.eye(k * k) + rng.normal(size=(k * k, k * k)) * 0.1
    if residual:
        a["residual"] = rng.normal(size=(w_out,) + shape[1:])
    # float32 from the start, so that reference and kernel see the same numbers
    return {name: value.astype(np.float32) for name, value in a.items()}, rng


def build_separable(v, **options):
    return kernels.separable(
        v["x"], v["depthwise"], v["pointwise"], v["gamma"], v["beta"], eps=EPS,
        matrices=tuple(v[name] for name in ("matrix5", "matrix3") if name in v),
        residual=v.get("residual"), **options)


# ---- separable ---------------------------------------------------------------------------------

CASES = [
    # shape, w_out, options of arrays(), options of separable()
    ((1, 1, 1, 1), 1, {}, {}),
    ((3, 1, 1, 5), 4, dict(full=7, kernel=7), {}),
    ((5, 2, 2, 64), 7, dict(full=7, kernel=7, spare=3), {}),
    ((5, 3, 2, 64), 7, dict(full=7, kernel=5, spare=3), {}),
    ((17, 4, 4, 64), 33, dict(full=7, kernel=3), dict(relu_out=True)),
    ((30, 8, 8, 8), 40, dict(full=7, kernel=7, spare=5), dict(relu_in=False)),
    ((13, 8, 8, 8), 29, dict(full=5, kernel=3, residual=True), dict(relu_out=True)),
    ((31, 9, 7, 3), 15, dict(full=7, kernel=5, residual=True), {}),
    ((9, 13, 11, 1), 21, dict(full=7, kernel=7), {}),
    ((4, 1, 9, 6), 5, dict(full=5, kernel=5), {}),
    ((4, 9, 1, 6), 5, dict(full=5, kernel=5), {}),
    ((3, 70, 67, 4), 6, dict(full=3), {}),
    ((3, 90, 60, 16), 6, dict(full=7, kernel=7), {}),   # several strips
    ((800, 2, 3, 7), 90, {}, {}),                       # two runs of k
    ((90, 2, 3, 7), 800, dict(spare=2), {}),
]


@pytest.mark.parametrize("shape, w_out, operands, options", CASES)
def test_separable_equals_the_reference(shape, w_out, operands, options):
    a, rng = arrays(1, shape, w_out, **operands)
    kernel = operands.get("kernel", 3)
    v = {name: variable(value) for name, value in a.items()}
    y, mean, var = build_separable(v, kernel=kernel, w_out=w_out, **options)
    dy = rng.normal(size=y.shape).astype(np.float32)
    expected, e_mean, e_var, g = reference_separable(a, kernel=kernel, w_out=w_out, dy=dy,
                                                     **options)
    for output in (y, mean, var):
        output.persistent = True
    backward(y, dy)
    close(y.d, expected)
    close(mean.d, e_mean, 1e-5 if np.abs(e_mean).max() > 1e-3 else 1)
    close(var.d, e_var)
    for name in a:
        close(v[name].g, g[name])
        assert (v[name].g[g[name] == 0] == 0).all(), name  # outside the active part


def test_order_gathers_rows_back():
    a, rng = arrays(2, (6, 4, 3, 5), 9, residual=True)
    order = rng.permutation(9)
    v = {name: variable(value) for name, value in a.items()}
    y, mean, var = build_separable(v, kernel=3, w_out=9, order=order, relu_out=True)
    dy = rng.normal(size=y.shape).astype(np.float32)
    expected, e_mean, e_var, g = reference_separable(a, kernel=3, w_out=9, order=order,
                                                     relu_out=True, dy=dy)
    y.persistent = mean.persistent = True
    backward(y, dy)
    close(y.d, expected)
    close(mean.d, e_mean)
    for name in a:
        close(v[name].g, g[name])


@pytest.mark.parametrize("order", [None, [3, 0, 2, 1]])
def test_fixed_statistics(order):
    a, rng = arrays(3, (6, 4, 3, 5), 4)
    statistics = rng.normal(size=4), rng.uniform(0.5, 2, size=4)
    v = {name: variable(value) for name, value in a.items()}
    given = [value.reshape(1, 4, 1, 1) for value in statistics]
    given[1] = nn.Variable.from_numpy_array(given[1])
    y, _, _ = build_separable(v, kernel=3, w_out=4, statistics=given, order=order)
    dy = rng.normal(size=y.shape).astype(np.float32)
    expected, _, _, g = reference_separable(a, kernel=3, w_out=4, statistics=statistics, dy=dy,
                                            order=order)
    y.persistent = True
    backward(y, dy)
    close(y.d, expected)
    for name in a:
        close(v[name].g, g[name])


def test_track_moves_running_statistics_once_a_forward():
    a, rng = arrays(4, (6, 4, 3, 5), 4, spare=2)
    running = [variable(rng.uniform(1, 2, size=(1, 6, 1, 1)), need_grad=False) for _ in range(2)]
    before = [value.d.copy() for value in running]
    v = {name: variable(value) for name, value in a.items()}
    y, mean, var = build_separable(v, kernel=3, w_out=4, track=(running[0], running[1], 0.9))
    loss = F.sum(y ** 2)
    loss.forward()
    for _ in range(2):  # the second has nothing saved and computes it anew
        loss.backward()
    count = 4 * 3 * 5
    for after, first, batch in zip(running, before, (mean.d, var.d * count / (count - 1))):
        close(after.d.ravel()[:4], 0.9 * first.ravel()[:4] + 0.1 * batch)
        assert (after.d.ravel()[4:] == first.ravel()[4:]).all()


def test_a_second_backward_adds_the_same_again():
    a, _ = arrays(5, (6, 4, 3, 5), 4, spare=2)
    v = {name: variable(value) for name, value in a.items()}
    y, _, _ = build_separable(v, kernel=3, w_out=4)
    loss = F.sum(y ** 2 * np.float32(0.5))
    loss.forward()
    loss.backward()
    once = {name: v[name].g.copy() for name in v}
    loss.backward()
    for name in ("depthwise", "pointwise", "gamma", "beta"):
        close(v[name].g, 2 * once[name], 1e-6)


def test_a_chain_that_shares_parameters_accumulates():
    """Six layers with the same weights, each its own residual, as NNabla's functions compute."""
    a, rng = arrays(6, (10, 4, 4, 6), 10, full=5, kernel=3)
    results = []
    for fused in (True, False):
        v = {name: variable(value) for name, value in a.items()}
        y = v["x"] * 1.0
        for depth in range(6):
            width = (10, 8)[depth % 2]
            y = (chain_unit(v, y, width) if fused else plain_unit(v, y, width))
        loss = F.mean(y ** 2)
        loss.forward(clear_no_need_grad=True)
        loss.backward(clear_buffer=True)
        results.append([loss.d.copy()] + [v[name].g.copy() for name in a])
    for got, expected in zip(*results):
        close(got, expected, 1e-3)  # NNabla's own single precision is what limits this


def chain_unit(v, x, width):
    """A narrowing separable then a widening one, plus the unit's own input."""
    y, _, _ = kernels.separable(x, v["depthwise"], v["pointwise"], v["gamma"], v["beta"], kernel=3,
                                w_out=width, eps=EPS, matrices=(v["matrix3"],))
    y, _, _ = kernels.separable(y, v["depthwise"], v["pointwise"], v["gamma"], v["beta"], kernel=3,
                                w_out=10, eps=EPS, matrices=(v["matrix3"],), residual=x)
    y, _, _ = kernels.separable(y, v["depthwise"], v["pointwise"], v["gamma"], v["beta"], kernel=5,
                                w_out=10, eps=EPS, residual=y)
    return y


def plain_unit(v, x, width):
    def layer(h, w_out, small):
        w_in = h.shape[0]
        kernel = v["depthwise"][:w_in]
        if small:
            kernel = F.reshape(kernel[:, :, 1:4, 1:4], (w_in, 9))
            kernel = F.reshape(F.affine(kernel, v["matrix3"]), (w_in, 1, 3, 3))
        h = F.transpose(F.relu(h), (3, 0, 1, 2))
        pad = kernel.shape[-1] // 2
        h = F.convolution(h, kernel, None, pad=(pad, pad), group=w_in)
        h = F.convolution(h, v["pointwise"][:w_out, :w_in])
        h = F.batch_normalization(h, v["beta"][:, :w_out], v["gamma"][:, :w_out], None, None,
                                  eps=EPS)
        return F.transpose(h, (1, 2, 3, 0))

    y = layer(layer(x, width, True), 10, True) + x
    return layer(y, 10, False) + y


def test_frozen_layers_keep_nothing_and_inputs_alone_get_gradients():
    a, rng = arrays(7, (6, 4, 3, 5), 4)
    frozen = {name: variable(value, need_grad=False) for name, value in a.items()}
    y, _, _ = build_separable(frozen, kernel=3, w_out=4)
    assert not y.need_grad
    y.forward(clear_buffer=True)
    mixed = dict(frozen, x=variable(a["x"]))
    z, _, _ = build_separable(mixed, kernel=3, w_out=4)
    dy = rng.normal(size=z.shape).astype(np.float32)
    z.persistent = True
    backward(z, dy)
    _, _, _, g = reference_separable(a, kernel=3, w_out=4, dy=dy)
    close(mixed["x"].g, g["x"])
    assert (y.d == z.d).all()


def test_same_bits_on_any_number_of_threads():
    a, rng = arrays(8, (50, 7, 5, 6), 60, full=7, kernel=3, spare=3)
    dy = rng.normal(size=(60, 7, 5, 6)).astype(np.float32)
    runs = []
    for threads in (1, 2, 2, 3):
        kernels.set_threads(threads)
        v = {name: variable(value) for name, value in a.items()}
        y, _, _ = build_separable(v, kernel=3, w_out=60)
        y.persistent = True
        backward(y, dy)
        runs.append([y.d.copy()] + [v[name].g.copy() for name in v])
    kernels.set_threads(build.default_threads())
    for run in runs[1:]:
        assert all((got == first).all() for got, first in zip(run, runs[0]))


def test_nan_goes_through():
    a, _ = arrays(9, (6, 4, 3, 5), 4)
    a["x"][2, 1, 1, 3] = np.nan
    v = {name: variable(value) for name, value in a.items()}
    y, _, _ = build_separable(v, kernel=3, w_out=4, relu_out=True)
    y.forward()
    assert np.isnan(y.d).all()
    pooled = kernels.max_pool_add(v["x"], variable(np.zeros((6, 2, 2, 5))))
    pooled.forward()
    assert np.isnan(pooled.d[2, 0, 0, 3]) and np.isnan(pooled.d).sum() == 4


# ---- the other layers --------------------------------------------------------------------------

@pytest.mark.parametrize("k, stride, shape, out", [
    (3, 2, (3, 32, 32, 8), 32), (3, 1, (32, 9, 7, 5), 20), (1, 2, (9, 8, 8, 16), 33),
    (1, 2, (9, 7, 5, 3), 33), (3, 2, (1, 1, 1, 1), 1), (3, 2, (5, 1, 6, 2), 3),
    (3, 1, (24, 80, 40, 9), 8)])
@pytest.mark.parametrize("relu_out, spare, residual", [(False, 0, False), (True, 3, False), (True, 2, True)])
def test_conv_bn_equals_the_reference(k, stride, shape, out, relu_out, spare, residual):
    rng, (w_in, height, width, batch) = np.random.default_rng(10), shape
    a = {"x": rng.normal(size=shape), "weight": rng.normal(size=(out + spare, w_in + spare, k, k)),
         "gamma": rng.normal(size=(1, out + spare, 1, 1)), "beta": rng.normal(size=(1, out + spare, 1, 1)),
         "residual": rng.normal(size=(out, (height - 1) // stride + 1, (width - 1) // stride + 1, batch))}
    if not residual:
        del a["residual"]
    v = {name: variable(value) for name, value in a.items()}
    a = {name: v[name].d.astype(np.float64) for name in a}
    y, _, _ = kernels.conv_bn(v["x"], v["weight"], v["gamma"], v["beta"], w_out=out, stride=stride,
                              eps=EPS, relu_out=relu_out, residual=v.get("residual"))
    z, conv_backward = reference_conv(a["x"], a["weight"][:out, :w_in], stride)
    gamma, beta = a["gamma"].ravel()[:out], a["beta"].ravel()[:out]
    expected, _, _, bn_backward = reference_bn(z, gamma, beta)
    expected = expected + a.get("residual", 0)
    dy = rng.normal(size=y.shape).astype(np.float32)
    y.persistent = True
    backward(y, dy)
    mask = expected > 0 if relu_out else 1
    close(y.d, expected * mask)
    dz, d_gamma, d_beta = bn_backward(dy * mask)
    dx, d_weight = conv_backward(dz)
    expected = {name: np.zeros_like(value) for name, value in a.items()}
    expected["x"], expected["weight"][:out, :w_in] = dx, d_weight
    expected["gamma"][0, :out, 0, 0], expected["beta"][0, :out, 0, 0] = d_gamma, d_beta
    if residual:
        expected["residual"] = dy * mask
    for name, gradient in expected.items():
        close(v[name].g, gradient)


@pytest.mark.parametrize("shape", [(3, 8, 8, 5), (2, 7, 5, 16), (1, 1, 1, 1), (2, 2, 1, 3)])
def test_pool_mean_and_transpose_equal_nnabla(shape):
    rng = np.random.default_rng(11)
    pooled = (shape[0], (shape[1] + 1) // 2, (shape[2] + 1) // 2, shape[3])
    x, skip = rng.integers(-3, 4, size=shape), rng.normal(size=pooled)  # with ties
    images = np.transpose(x, (3, 0, 1, 2))
    weights = rng.normal(size=(shape[3], shape[0]))
    results = []
    for fused in (True, False):
        vx, vs = variable(images), variable(skip)
        if fused:
            h = kernels.to_chwn(vx)
            y = kernels.max_pool_add(h, vs)
            mean = kernels.global_mean(h)
        else:
            h = F.transpose(vx, (1, 2, 3, 0))
            y = F.max_pooling(vx, (3, 3), (2, 2), pad=(1, 1), ignore_border=True)
            y = F.transpose(y, (1, 2, 3, 0)) + vs
            mean = F.mean(h, axis=(1, 2)).reshape((shape[0], shape[3]))
            mean = F.transpose(mean, (1, 0))
        loss = F.sum(y ** 2) + F.sum(mean * variable(weights, False))
        y.persistent = mean.persistent = True
        loss.forward(clear_no_need_grad=True)
        loss.backward(clear_buffer=True)
        results.append((y.d.copy(), mean.d.copy(), vx.g.copy(), vs.g.copy()))
    for got, expected in zip(*results):
        close(got, expected)


# ---- the library -------------------------------------------------------------------------------

def test_python_and_c_agree_on_the_layer():
    assert build.library().layer_size() == ctypes.sizeof(functions._Layer)


def run_python(code, **environment):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    result = subprocess.run([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE,
                            env=dict(os.environ, **environment), universal_newlines=True)
    assert result.returncode == 0
    return result.stdout.strip()


REASON = "from nnabla_ofa import kernels; print(kernels.unavailable_reason())"


def test_without_a_compiler_the_reason_says_so(tmp_path):
    assert "no C compiler" in run_python(REASON, PATH=str(tmp_path))


def test_a_broken_compiler_is_reported(tmp_path):
    compiler = tmp_path / "gcc"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho out of order; exit 1\n')
    compiler.chmod(0o755)
    reason = run_python(REASON, PATH=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert "out of order" in reason


def test_the_library_is_compiled_once(tmp_path):
    code = REASON + '; import os; print(sorted((f, os.stat(r + "/" + f).st_mtime_ns) ' \
        'for r, _, fs in os.walk(os.environ["XDG_CACHE_HOME"]) for f in fs))'
    first, again = (run_python(code, XDG_CACHE_HOME=str(tmp_path)) for _ in range(2))
    assert first == again and first.startswith("None") and first.count("fused-") == 1


@pytest.mark.parametrize("argument, value", [
    ("kernel", 7), ("kernel", 4), ("w_out", 0), ("w_out", 9), ("order", [0, 0, 1, 2]),
    ("order", [0, 1]), ("matrices", ())])
def test_errors_name_the_argument(argument, value):
    a, _ = arrays(12, (6, 4, 3, 5), 4, full=5, kernel=3)
    v = {name: variable(value_) for name, value_ in a.items()}
    options = dict(kernel=3, w_out=4, eps=EPS, matrices=(v["matrix3"],))
    options[argument] = value
    if argument == "kernel":
        options["matrices"] = ()
    with pytest.raises(OfaError, match=argument):
        kernels.separable(v["x"], v["depthwise"], v["pointwise"], v["gamma"], v["beta"], **options)


def test_aliases_are_harmless_and_kept():
    kernels.aliases.install()
    kernels.aliases.install()
    assert sys.modules["nnabla.nnabla"].Variable is nn.Variable
    x = variable(np.ones((2, 3)))
    loss = F.sum(F.relu(x))
    loss.forward()
    assert loss.d == 6
