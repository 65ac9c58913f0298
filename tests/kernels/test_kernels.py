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
from nnabla_ofa.kernels import build, layout
from nnabla_ofa.kernels.convolution import ConvolutionStruct
from nnabla_ofa.kernels.normalization import NormalizationStruct
from nnabla_ofa.kernels.pooling import PoolingStruct
from nnabla_ofa.model import Network
from nnabla_ofa.nets.elastic.xception import Xception
from nnabla_ofa.system import aliases

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


def reference_pool(x):
    """Max-pooling 3x3, stride 2, pad 1 of x (C, H, W, N); the first of equal ones gets the gradient."""
    channels, height, width, batch = x.shape
    rows, columns = (height + 1) // 2, (width + 1) // 2
    padded = np.full((channels, 2 * rows + 1, 2 * columns + 1, batch), -np.inf)
    padded[:, 1:height + 1, 1:width + 1] = x
    windows = [(slice(None), slice(i, i + 2 * rows, 2), slice(j, j + 2 * columns, 2))
               for i in range(3) for j in range(3)]
    stacked = np.stack([padded[window] for window in windows])
    winner = stacked.argmax(axis=0)

    def backward(dy):
        d_padded = np.zeros_like(padded)
        for tap, window in enumerate(windows):
            d_padded[window] += dy * (winner == tap)
        return d_padded[:, 1:height + 1, 1:width + 1]

    return stacked.max(axis=0), backward


def reference_conv_bn(a, stride, dy):
    """BN(convolution) + residual, and full-sized gradients by the names of ``a``."""
    a = {name: value.astype(np.float64) for name, value in a.items()}
    w_in, out = len(a["x"]), len(dy)
    z, conv_backward = reference_conv(a["x"], a["weight"][:out, :w_in], stride)
    y, _, _, bn_backward = reference_bn(z, a["gamma"].ravel()[:out], a["beta"].ravel()[:out])
    g = {name: np.zeros_like(value) for name, value in a.items()}
    dz, g["gamma"][0, :out, 0, 0], g["beta"][0, :out, 0, 0] = bn_backward(dy)
    g["x"], g["weight"][:out, :w_in] = conv_backward(dz)
    if "residual" in a:
        g["residual"] = dy
    return y + a.get("residual", 0), g


def reference_separable(a, *, kernel, w_out, order=None, relu_in=True, relu_out=False,
                        identity=False, statistics=None, dy=0.0):
    """Values and, by the names of ``a``, gradients (full-sized) of the whole layer."""
    a = {name: value.astype(np.float64) for name, value in a.items()}
    w_in, full = a["x"].shape[0], a["depthwise"].shape[-1]
    kernels_ = [a["depthwise"][:w_in, 0]]
    for k in range(full - 2, kernel - 1, -2):
        crop = kernels_[-1][:, 1:-1, 1:-1].reshape(w_in, -1)
        kernels_.append((crop @ a[f"matrix{k}"]).reshape(w_in, k, k))
    x = np.maximum(a["x"], 0) if relu_in else a["x"]
    hidden, depthwise_backward = reference_depthwise(x, kernels_[-1])
    weight = a["pointwise"][:w_out, :w_in, 0, 0]
    z = np.tensordot(weight, hidden, 1)
    gamma, beta = (a[name].ravel()[:w_out] for name in ("gamma", "beta"))
    y, mean, var, bn_backward = reference_bn(z, gamma, beta, statistics)
    rows = np.arange(w_out) if order is None else np.asarray(order)
    y = y[rows] + (a["x"] if identity else 0)
    mask = y > 0 if relu_out else np.ones_like(y)
    g = {name: np.zeros_like(value) for name, value in a.items()}
    dy = dy * mask
    d_bn = np.empty_like(dy)
    d_bn[rows] = dy
    dz, d_gamma, d_beta = bn_backward(d_bn)
    g["gamma"][0, :w_out, 0, 0], g["beta"][0, :w_out, 0, 0] = d_gamma, d_beta
    g["pointwise"][:w_out, :w_in, 0, 0] = np.tensordot(dz, hidden, ((1, 2, 3),) * 2)
    dx, d_kernel = depthwise_backward(np.tensordot(weight.T, dz, 1))
    for step, k in reversed(list(enumerate(range(full - 2, kernel - 1, -2)))):
        d_kernel = d_kernel.reshape(w_in, -1)
        crop = kernels_[step][:, 1:-1, 1:-1].reshape(w_in, -1)
        g[f"matrix{k}"] = crop.T @ d_kernel
        larger = np.zeros_like(kernels_[step])
        larger[:, 1:-1, 1:-1] = (d_kernel @ a[f"matrix{k}"].T).reshape(w_in, k, k)
        d_kernel = larger
    g["depthwise"][:w_in, 0] = d_kernel
    g["x"] = (dx * (a["x"] > 0) if relu_in else dx) + (dy if identity else 0)
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


def arrays(seed, shape, w_out, *, full=3, kernel=3, spare=0):
    """Random operands of a separable layer; ``spare`` channels more than are used."""
    rng = np.random.default_rng(seed)
    w_in = shape[0]
    a = {"x": rng.normal(size=shape),
         "depthwise": rng.normal(size=(w_in + spare, 1, full, full)),
         "pointwise": rng.normal(size=(w_out + spare, w_in + spare, 1, 1)) / np.sqrt(w_in),
         "gamma": rng.normal(size=(1, w_out + spare, 1, 1)),
         "beta": rng.normal(size=(1, w_out + spare, 1, 1))}
    for k in range(full - 2, kernel - 1, -2):
        a[f"matrix{k}"] = np.eye(k * k) + rng.normal(size=(k * k, k * k)) * 0.1
    # float32 from the start, so that reference and kernel see the same numbers
    return {name: value.astype(np.float32) for name, value in a.items()}, rng


def unit(v, **options):
    """The layer of the variables that `arrays` names."""
    matrices = tuple(v[name] for name in ("matrix5", "matrix3") if name in v)
    return kernels.Layer(v["pointwise"], v["gamma"], v["beta"], v["depthwise"], matrices, **options)


def build_separable(v, *, kernel, w_out, relu_in=True, running=None, **options):
    moments = []
    layer = unit(v, kernel=kernel, w_out=w_out, relu_in=relu_in, running=running)
    y = kernels.block(v["x"], [layer], eps=EPS, moments=moments, **options)
    return (y, *moments[0])


# ---- separable ---------------------------------------------------------------------------------

CASES = [
    # shape, w_out, options of arrays(), options of separable()
    ((1, 1, 1, 1), 1, {}, {}),
    ((3, 1, 1, 5), 4, dict(full=7, kernel=7), {}),
    ((5, 2, 2, 64), 7, dict(full=7, kernel=7, spare=3), {}),
    ((5, 3, 2, 64), 7, dict(full=7, kernel=5, spare=3), {}),
    ((17, 4, 4, 64), 33, dict(full=7, kernel=3), dict(relu_out=True)),
    ((30, 8, 8, 8), 40, dict(full=7, kernel=7, spare=5), dict(relu_in=False)),
    ((13, 8, 8, 8), 13, dict(full=5, kernel=3), dict(relu_out=True, identity=True)),
    ((31, 9, 7, 3), 31, dict(full=7, kernel=5), dict(identity=True)),
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
    a, rng = arrays(2, (9, 4, 3, 5), 9)
    order = rng.permutation(9)
    v = {name: variable(value) for name, value in a.items()}
    y, mean, var = build_separable(v, kernel=3, w_out=9, order=order, relu_out=True, identity=True)
    dy = rng.normal(size=y.shape).astype(np.float32)
    expected, e_mean, e_var, g = reference_separable(a, kernel=3, w_out=9, order=order,
                                                     relu_out=True, identity=True, dy=dy)
    y.persistent = mean.persistent = True
    backward(y, dy)
    close(y.d, expected)
    close(mean.d, e_mean)
    for name in a:
        close(v[name].g, g[name])


def test_frozen_convolution_with_a_residual():
    rng = np.random.default_rng(22)
    x, weight = rng.normal(size=(5, 7, 6, 9)), rng.normal(size=(8, 5, 3, 3))
    bias, residual = rng.normal(size=8), rng.normal(size=(8, 4, 3, 9))
    y = kernels.frozen_block(variable(x, False), skip=kernels.Folded(weight, bias, stride=2),
                             residual=variable(residual, False), relu_out=True)
    y.forward()
    z, _ = reference_conv(x, weight, 2)
    close(y.d, np.maximum(z + bias.reshape(8, 1, 1, 1) + residual, 0))


BLOCKS = [  # widths of units, first of the input's; stride of a skip convolution; options
    ((5, 7), 0, {}), ((6, 9, 6), 0, dict(identity=True)), ((8, 8, 5, 8), 0, dict(identity=True)),
    ((5, 9, 11), 2, dict(pool=True)), ((5, 9), 1, dict(relu_out=True)), ((7, 3, 4), 1, {})]


def block_operands(seed, widths, stride, size=(7, 6, 9)):
    """Arrays of a block's units, of its skip (None without stride), and dy; x is the first unit's."""
    rng = np.random.default_rng(seed)
    units = [arrays(seed + i, (w_in, *size), w_out, full=5, kernel=3, spare=2)[0]
             for i, (w_in, w_out) in enumerate(zip(widths, widths[1:]))]
    skip = stride and {"weight": rng.normal(size=(widths[-1], widths[0], 1, 1)),
                       "gamma": rng.normal(size=(1, widths[-1], 1, 1)),
                       "beta": rng.normal(size=(1, widths[-1], 1, 1))}
    skip = skip and {name: value.astype(np.float32) for name, value in skip.items()}
    height, width, batch = size
    if stride == 2:
        height, width = (height + 1) // 2, (width + 1) // 2
    return units, skip, rng.normal(size=(widths[-1], height, width, batch)).astype(np.float32)


def reference_block(units, skip, widths, stride, dy, *, identity=False, pool=False, relu_out=False):
    """y, and gradients of each unit and of the skip; the first unit's x has that of the whole."""
    inputs = [units[0]["x"].astype(np.float64)]
    for a, w_out in zip(units, widths[1:]):
        inputs.append(reference_separable(dict(a, x=inputs[-1]), kernel=3, w_out=w_out)[0])
    y, pool_backward = reference_pool(inputs[-1]) if pool else (inputs[-1], lambda g: g)
    if skip:
        skip = dict(skip, x=inputs[0])
        y = y + reference_conv_bn(skip, stride, 0.0 * dy)[0]
    y = y + (inputs[0] if identity else 0)
    dy = dy * (y > 0) if relu_out else dy.astype(np.float64)
    gradients, d = [], pool_backward(dy)
    for a, x, w_out in reversed(list(zip(units, inputs, widths[1:]))):
        gradients.insert(0, reference_separable(dict(a, x=x), kernel=3, w_out=w_out, dy=d)[-1])
        d = gradients[0]["x"]
    d_skip = reference_conv_bn(skip, stride, dy)[1] if skip else None
    gradients[0]["x"] = d + (d_skip["x"] if skip else 0) + (dy if identity else 0)
    return np.maximum(y, 0) if relu_out else y, gradients, d_skip


def build_block(units, skip, widths, stride, **options):
    """y, and the variables of units and skip."""
    v = [{name: variable(value) for name, value in a.items() if name != "x"} for a in units]
    v[0]["x"] = variable(units[0]["x"])
    v_skip = skip and {name: variable(value) for name, value in skip.items()}
    layers = [unit(own, w_out=w_out, relu_in=True) for own, w_out in zip(v, widths[1:])]
    conv = kernels.Layer(*v_skip.values(), stride=stride) if skip else None
    return kernels.block(v[0]["x"], layers, conv, eps=EPS, **options), v, v_skip


@pytest.mark.parametrize("widths, stride, options", BLOCKS)
def test_block_equals_the_reference(widths, stride, options):
    units, skip, dy = block_operands(20, widths, stride)
    y, v, v_skip = build_block(units, skip, widths, stride, **options)
    expected, gradients, d_skip = reference_block(units, skip, widths, stride, dy, **options)
    y.persistent = True
    backward(y, dy)
    close(y.d, expected)
    for own, g in (*zip(v, gradients), *([(v_skip, d_skip)] if skip else [])):
        for name in own:  # single precision's error grows with each unit that it passes through
            close(own[name].g, g[name], 1e-5 if len(units) == 1 else 1e-4)


@pytest.mark.parametrize("widths, stride, options", BLOCKS)
def test_frozen_block_equals_float64_with_fixed_statistics(widths, stride, options):
    """Folded by its own batch's statistics, a frozen block computes what the trained one does."""
    units, skip, dy = block_operands(21, widths, stride, size=(5, 6, 33))
    expected, _, _ = reference_block(units, skip, widths, stride, dy, **options)
    x, folded = units[0]["x"].astype(np.float64), []
    for a, w_out in zip(units, widths[1:]):
        w_in = x.shape[0]
        crop = a["depthwise"][:w_in, 0, 1:-1, 1:-1].reshape(w_in, 9).astype(np.float64)
        kernel = (crop @ a["matrix3"]).reshape(w_in, 1, 3, 3)
        x, mean, var, _ = reference_separable(dict(a, x=x), kernel=3, w_out=w_out)
        scale = a["gamma"].ravel()[:w_out] / np.sqrt(var + EPS)
        weight = a["pointwise"][:w_out, :w_in] * scale.reshape(-1, 1, 1, 1)
        folded.append(kernels.Folded(weight, a["beta"].ravel()[:w_out] - mean * scale, kernel,
                                     relu_in=True))
    conv = None
    if skip:
        z, _ = reference_conv(units[0]["x"].astype(np.float64), skip["weight"], stride)
        _, mean, var, _ = reference_bn(z, skip["gamma"].ravel(), skip["beta"].ravel())
        scale = skip["gamma"].ravel() / np.sqrt(var + EPS)
        conv = kernels.Folded(skip["weight"] * scale.reshape(-1, 1, 1, 1),
                              skip["beta"].ravel() - mean * scale, stride=stride)
    y = kernels.frozen_block(variable(units[0]["x"], False), folded, conv, **options)
    for weight in [f.weight for f in folded]:
        weight[...] = np.nan  # constants were read when the graph was built
    for _ in range(2):
        y.forward(clear_buffer=True)
        close(y.d, expected)


def test_track_moves_running_statistics_once_a_forward():
    a, rng = arrays(4, (6, 4, 3, 5), 4, spare=2)
    running = [variable(rng.uniform(1, 2, size=(1, 6, 1, 1)), need_grad=False) for _ in range(2)]
    before = [value.d.copy() for value in running]
    v = {name: variable(value) for name, value in a.items()}
    y, mean, var = build_separable(v, kernel=3, w_out=4, running=tuple(running), decay=0.9)
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
    y, _, _ = build_separable(dict(v, x=x), kernel=3, w_out=width)
    y, _, _ = build_separable(dict(v, x=y), kernel=3, w_out=10)
    alone = {name: value for name, value in v.items() if name != "matrix3"}
    y, _, _ = build_separable(dict(alone, x=y + x), kernel=5, w_out=10, identity=True)
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
    pooled = just_pooled(variable(a["x"], False))
    pooled.forward()
    assert np.isnan(pooled.d[2, 0, 0, 3]) and np.isnan(pooled.d[2]).sum() == 4


def just_pooled(x):
    """Max-pooling alone: a frozen block whose unit is the identity and whose skip is zero."""
    channels = x.shape[0]
    centre = np.zeros((channels, 1, 3, 3))
    centre[:, :, 1, 1] = 1
    eye, zeros = np.eye(channels).reshape(channels, channels, 1, 1), np.zeros(channels)
    return kernels.frozen_block(x, [kernels.Folded(eye, zeros, centre)],
                                kernels.Folded(eye * 0, zeros, stride=2), pool=True)


# ---- the other layers --------------------------------------------------------------------------

@pytest.mark.parametrize("k, stride, shape, out", [
    (3, 2, (3, 32, 32, 8), 32), (3, 1, (32, 9, 7, 5), 20), (1, 2, (9, 8, 8, 16), 33),
    (1, 2, (9, 7, 5, 3), 33), (3, 2, (1, 1, 1, 1), 1), (3, 2, (5, 1, 6, 2), 3),
    (3, 1, (24, 80, 40, 9), 8)])
@pytest.mark.parametrize("relu_out, spare, residual", [
    (False, 0, False), (True, 3, False), (True, 2, True)])
def test_conv_bn_equals_the_reference(k, stride, shape, out, relu_out, spare, residual):
    rng, (w_in, height, width, batch) = np.random.default_rng(10), shape
    y_shape = (out, (height - 1) // stride + 1, (width - 1) // stride + 1, batch)
    full = out + spare
    a = {"x": rng.normal(size=shape), "weight": rng.normal(size=(full, w_in + spare, k, k)),
         "gamma": rng.normal(size=(1, full, 1, 1)), "beta": rng.normal(size=(1, full, 1, 1))}
    if residual:
        a["residual"] = rng.normal(size=y_shape)
    v = {name: variable(value) for name, value in a.items()}
    a = {name: v[name].d.astype(np.float64) for name in a}
    layer = kernels.Layer(v["weight"], v["gamma"], v["beta"], stride=stride, w_out=out)
    y = kernels.block(v["x"], skip=layer, eps=EPS, relu_out=relu_out, residual=v.get("residual"))
    dy = rng.normal(size=y_shape).astype(np.float32)
    mask = reference_conv_bn(a, stride, dy)[0] > 0 if relu_out else 1
    expected, g = reference_conv_bn(a, stride, dy * mask)
    y.persistent = True
    backward(y, dy)
    close(y.d, expected * mask)
    for name in a:
        close(v[name].g, g[name])


@pytest.mark.parametrize("shape", [(3, 8, 8, 5), (2, 7, 5, 16), (1, 1, 1, 1), (2, 2, 1, 3)])
def test_pool_mean_and_transpose_equal_nnabla(shape):
    rng = np.random.default_rng(11)
    x = variable(rng.integers(-3, 4, size=(shape[3], *shape[:3])))
    weights = variable(rng.normal(size=(shape[3], shape[0])), False)
    results = []
    for fused in (True, False):
        h = kernels.to_chwn(x) if fused else F.transpose(x, (1, 2, 3, 0))
        mean = kernels.global_mean(h) if fused else F.mean(x, axis=(2, 3))
        loss = F.sum(mean * weights)
        loss.forward()
        x.grad.zero()
        loss.backward()
        results.append((loss.d.copy(), x.g.copy()))
    for got, expected in zip(*results):
        close(got, expected)
    pooled = just_pooled(variable(np.transpose(x.d, (1, 2, 3, 0)), False))
    plain = F.max_pooling(x, (3, 3), (2, 2), pad=(1, 1), ignore_border=True)
    nn.forward_all([pooled, plain])
    assert (pooled.d == np.transpose(plain.d, (1, 2, 3, 0))).all()


def test_subnets_sharing_the_entry_give_the_gradients_of_separate_passes():
    """Four archs in one graph, with one entry pass and one backward, against four graphs."""
    config = Xception(classes=5, widths=(8, 8, 8, 16, 24, 24, 24, 24), stem_stride=1)
    net = Network.create(config, "K357_E0.6+0.8+1_D123", seed=3)
    net.kernels = "fast"
    rng = np.random.default_rng(4)
    archs = [net.space.largest(), net.space.smallest(), *(net.space.sample(rng) for _ in range(2))]
    images = rng.standard_normal((4, 3, 16, 16)).astype(np.float32)
    d_logits = rng.standard_normal((4, 4, 5)).astype(np.float32)

    def gradients(numbers):
        trained = {name: v for name, v in net.variables().items() if v.need_grad}
        for v in trained.values():
            v.grad.zero()
        x = nn.Variable.from_numpy_array(images)
        outputs = net.forward(x, [archs[i] for i in numbers], net.mode(batch_stat=True))
        sink = F.sink(*outputs, one_input_grad=False)
        sink.forward(clear_no_need_grad=True)
        for y, i in zip(outputs, numbers):
            y.g = d_logits[i]
        sink.backward(clear_buffer=True)
        return {name: v.g.copy() for name, v in trained.items()}

    together, separate = gradients(range(4)), [gradients([i]) for i in range(4)]
    largest = max(np.abs(g).max() for g in together.values())
    for name, got in together.items():
        assert np.abs(got - sum(alone[name] for alone in separate)).max() < 1e-5 * largest, name


# ---- the library -------------------------------------------------------------------------------

class Field(ctypes.Structure):
    """`field` in fields.h."""

    _fields_ = [("name", ctypes.c_char_p), ("offset", ctypes.c_long), ("size", ctypes.c_long)]


def layout_in_c(table):
    """[(name, offset, size)] of a structure's fields in bytes, then ("", its size, 0)."""
    fields = (Field * 100).in_dll(build.library(), table)
    end = next(i for i, field in enumerate(fields) if field.name is None)
    return [(field.name.decode(), field.offset, field.size) for field in fields[:end]] + [
        ("", fields[end].offset, fields[end].size)]


def layout_in_python(structure):
    """The same of a ctypes.Structure."""
    names = [name for name, *_ in structure._fields_]
    return [(name, getattr(structure, name).offset, getattr(structure, name).size) for name in names] + [
        ("", ctypes.sizeof(structure), 0)]


STRUCTURES = [("layer_fields", layout.LayerStruct), ("block_fields", layout.BlockStruct),
              ("convolution_fields", ConvolutionStruct), ("normalization_fields", NormalizationStruct),
              ("pooling_fields", PoolingStruct)]


@pytest.mark.parametrize("table, structure", STRUCTURES)
def test_python_and_c_agree_on_every_field(table, structure):
    fields = layout_in_c(table)
    assert layout_in_python(structure) == fields
    # no gap where C has a field that its table lacks
    assert [offset for _, offset, _ in fields] == [0, *np.cumsum([size for *_, size in fields])[:-1]]


@pytest.mark.parametrize("table, structure", STRUCTURES)
def test_one_field_off_is_noticed(table, structure):
    """Swapped, renamed, left out or added on one side only."""
    fields, expected = list(structure._fields_), layout_in_c(table)

    def differs(changed):
        return layout_in_python(type("Changed", (ctypes.Structure,), {"_fields_": changed})) != expected

    assert not differs(fields)
    for i, (name, kind) in enumerate(fields):
        assert differs(fields[:i] + [("renamed", kind)] + fields[i + 1:]), name
        assert differs(fields[:i] + fields[i + 1:]), name
        assert differs(fields[:i] + [("added", ctypes.c_long)] + fields[i:]), name
        if i:
            assert differs(fields[:i - 1] + [fields[i], fields[i - 1]] + fields[i + 1:]), name


def test_slots_are_the_parameters_fields():
    """Of each of the three arrays, item i is the field of the parameter that `parameters_of` puts there."""
    names = ["depthwise", "matrix5", "matrix3", "weight", "gamma", "beta"]
    own, layer = layout.LayerStruct(), kernels.Layer("weight", "gamma", "beta", "depthwise",
                                                     ("matrix5", "matrix3"))
    assert list(layout.parameters_of(layer)) == names
    for slots, prefix, start in zip(own.slots(), ("", "d_", "add_"), (10, 20, 30)):
        slots[:] = range(start, start + 6)
        found = [getattr(own, prefix + name) for name in ("depthwise", "weight", "gamma", "beta")]
        assert found == [start, start + 3, start + 4, start + 5]
        assert list(getattr(own, prefix + "matrix")) == [start + 1, start + 2]


def run_python(code, **environment):
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    result = subprocess.run([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE,
                            env=dict(os.environ, **environment), text=True)
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
    assert first == again and first.startswith("None") and first.count("kernels-") == 1


def cpu_flags():
    try:
        with open("/proc/cpuinfo") as lines:
            return next((line.split() for line in lines if line.startswith("flags")), [])
    except OSError:
        return []


@pytest.mark.parametrize("lanes, flags, needed", [
    (16, "-mavx512f -mfma", "avx512f"), (8, "-march=haswell -mno-avx512f", "avx2"),
    (4, "-march=x86-64", "sse2")])
def test_every_vector_width_computes_the_same(lanes, flags, needed, tmp_path):
    """The comparisons with float64 above, on a library built for another vector width."""
    if needed not in cpu_flags():
        pytest.skip("this CPU has no " + needed)
    if lanes == build.library().lanes():
        pytest.skip("the width of all other tests here")
    run_python("import sys, pytest; from nnabla_ofa.kernels import build; "
               f"assert build.library().lanes() == {lanes}; sys.exit(pytest.main(['-q', '-p', "
               "'no:cacheprovider', 'tests/kernels/test_kernels.py', '-k', 'reference or float64']))",
               NNABLA_OFA_CFLAGS=flags, XDG_CACHE_HOME=str(tmp_path))


@pytest.mark.parametrize("argument, value", [
    ("kernel", 7), ("kernel", 4), ("w_out", 0), ("w_out", 9), ("order", [0, 0, 1, 2]),
    ("order", [0, 1]), ("matrices", ())])
def test_errors_name_the_argument(argument, value):
    a, _ = arrays(12, (6, 4, 3, 5), 4, full=5, kernel=3)
    v = {name: variable(value_) for name, value_ in a.items()}
    options = dict(kernel=3, w_out=4, relu_in=True, matrices=(v["matrix3"],), order=None)
    options[argument] = value
    if argument == "kernel":
        options["matrices"] = ()
    order = options.pop("order")
    layer = kernels.Layer(v["pointwise"], v["gamma"], v["beta"], v["depthwise"], **options)
    with pytest.raises(OfaError, match=argument):
        kernels.block(v["x"], [layer], order=order)


@pytest.mark.parametrize("argument, options", [
    ("w_out", dict(identity=True)), ("pool", dict(pool=True)), ("skip", dict(stride=2))])
def test_errors_of_blocks(argument, options):
    units, skip, _ = block_operands(1, (6, 4), 2)
    if "stride" not in options:
        skip = None
    with pytest.raises(OfaError, match=argument):
        build_block(units, skip, (6, 4), options.pop("stride", 1), **options)


def test_what_needs_a_gradient_is_no_input_of_a_frozen_block():
    """At once, by name: from a backward pass NNabla would raise SystemError."""
    skip, x = kernels.Folded(np.ones((3, 3, 1, 1)), np.zeros(3)), np.ones((3, 2, 2, 4))
    with pytest.raises(OfaError, match="need_grad of x: True given, but it must be False.* batch statistics"):
        kernels.frozen_block(variable(x), skip=skip)
    with pytest.raises(OfaError, match="need_grad of residual"):
        kernels.frozen_block(variable(x, False), skip=skip, residual=variable(x))
    y = kernels.frozen_block(variable(x, False), skip=skip, residual=variable(x, False))
    assert not y.need_grad


def test_without_a_library_every_function_says_why_when_built(monkeypatch):
    monkeypatch.setattr(build, "load", lambda: (None, "no compiler"))
    layout.lay_out.cache_clear()
    weight, bias, x = np.ones((3, 3, 1, 1)), np.zeros(3), variable(np.ones((3, 3, 2, 4)), False)
    layer = kernels.Layer(variable(weight), *(variable(np.ones((1, 3, 1, 1))) for _ in range(2)))
    for function in (lambda: kernels.block(x, skip=layer), lambda: kernels.to_chwn(x),
                     lambda: kernels.frozen_block(x, skip=kernels.Folded(weight, bias))):
        with pytest.raises(OfaError, match="cannot be used: no compiler; use --kernels nnabla"):
            function()


# ---- aliases -----------------------------------------------------------------------------------

def test_aliases_are_harmless_and_kept():
    aliases.install()
    aliases.install()
    assert sys.modules["nnabla.nnabla"].Variable is nn.Variable
    x = variable(np.ones((2, 3)))
    loss = F.sum(F.relu(x))
    loss.forward()
    assert loss.d == 6


def test_aliases_leave_real_modules_alone(monkeypatch):
    real = object()
    monkeypatch.setitem(sys.modules, "nnabla.nnabla", real)
    monkeypatch.delitem(sys.modules, "nnabla.nnabla_ext", raising=False)
    aliases.install.__wrapped__()
    assert sys.modules["nnabla.nnabla"] is real
    assert sys.modules["nnabla.nnabla_ext"].__name__ == "nnabla_ext"


BUILD = """
from nnabla_ofa import Xception, Network
net = Network.create(Xception(classes=5, widths=(8,) * 8), "K3_E1_D1")
net.forward(nn.Variable((1, 3, 16, 16)), [net.arch(None)], net.mode(batch_stat=True))"""


@pytest.mark.parametrize("code, installed", [
    ("import nnabla_ofa, nnabla_ofa.kernels, nnabla_ofa.experiment.options", False),
    ("from nnabla_ofa.system.comm import connect; connect('cpu')", True), (BUILD, True)])
def test_aliases_are_installed_by_calls_and_not_by_imports(code, installed):
    code = f"import sys\nimport nnabla as nn\n{code}\nprint('nnabla.nnabla' in sys.modules)"
    assert run_python(code).splitlines()[-1] == str(installed)
