"""Networks, losses, calibration and updates against float64 NumPy, plain NNabla and fused alike.

The reference below is the whole forward pass, written once more from the layer values. Gradients are
compared with its central differences: for each parameter along the gradient itself, where they must
equal its norm, and along a random direction.
"""

from __future__ import annotations

import dataclasses

import nnabla as nn
import numpy as np
import pytest
from test_kernels import reference_bn, reference_conv, reference_depthwise, reference_separable

import nnabla_ofa as ofa
from nnabla_ofa import kernels
from nnabla_ofa import layers as ops
from nnabla_ofa.evaluation import calibrate
from nnabla_ofa.layers import ConvBn, Linear, Mode, Residual, Separable
from nnabla_ofa.system.comm import Single
from nnabla_ofa.training.losses import loss_gradients
from nnabla_ofa.training.optimiser import Optimiser
from nnabla_ofa.training.settings import Train
from nnabla_ofa.training.step import Stepper

CONFIG = ofa.Xception(classes=5, widths=(6, 6, 8, 8, 24, 8, 8, 8), middle_blocks=1, stem_stride=1,
                      entry_strides=(2, 2, 1))
SPACE = "K357_E0.6+0.8+1_D123"
RESNET, CHANNELS = ofa.ResNet20(classes=5), "C4-16_C4-32_C4-64"
ARCHS = ("XP1 7x7 3", "XP0.6 3x3 3", "XP0.8 5x5 2", "XP1 3x3 1",
         "12-8-16-4-12-16-8-20-32-12-8-24-16-28-64-24-40-8-48-64")
WAYS = [pytest.param(way, marks=pytest.mark.skipif(
    way == "fast" and kernels.unavailable_reason() is not None,
    reason=str(kernels.unavailable_reason()))) for way in ("nnabla", "fast")]


# Reference: arrays are float64, activations (C, H, W, N) ---------------------------------------------

def rows_of(layer, arrays):
    """The stored output rows that a layer uses, in the order of its output."""
    if getattr(layer, "restore", False) and layer.ordered:
        return arrays[f"{layer.name}/order"].astype(int)
    return np.arange(layer.w_out)


def normalised(z, layer, arrays, rows, moments, batch_stat):
    gamma, beta, mean, var = (arrays[f"{layer.name}/bn/{key}"].ravel()[rows]
                              for key in ("gamma", "beta", "mean", "var"))
    y, mean, var, _ = reference_bn(z, gamma, beta, None if batch_stat else (mean, var))
    moments[f"{layer.name}/bn"] = mean, var
    return y


def folded(layer, arrays):
    weight = arrays[f"{layer.name}/depthwise/W"][:layer.w_in, 0]
    for large in range(layer.kernels[-1], layer.kernel, -2):
        centre = weight[:, 1:-1, 1:-1].reshape(layer.w_in, -1)
        weight = (centre @ arrays[f"{layer.name}/depthwise/{large}to{large - 2}"]).reshape(
            layer.w_in, large - 2, large - 2)
    return weight


def pooled(x):
    """Max-pooling 3x3, stride 2, one pixel of padding."""
    _, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    return np.max([padded[:, i:i + height:2, j:j + width:2] for i in range(3) for j in range(3)], axis=0)


def reference(x, layer, arrays, moments, batch_stat, mask=None, residual=0):
    """One layer's output."""
    if isinstance(layer, Residual):
        shortcut = reference(x, layer.skip, arrays, moments, batch_stat) if layer.skip else x
        for unit in layer.units:
            last = unit is layer.units[-1] and not layer.pool
            x = reference(x, unit, arrays, moments, batch_stat, residual=shortcut if last else 0)
        return pooled(x) + shortcut if layer.pool else x
    if isinstance(layer, Linear):
        features = x.mean(axis=(1, 2)).T * (1 if mask is None else mask[:, :layer.w_in])
        return features @ arrays[f"{layer.name}/affine/W"][:layer.w_in] + arrays[f"{layer.name}/affine/b"]
    if isinstance(layer, ConvBn):
        rows = np.arange(layer.w_out)
        z = reference_conv(x, arrays[f"{layer.name}/conv/W"][rows][:, :layer.w_in], layer.stride)[0]
    else:
        assert isinstance(layer, Separable)
        rows = rows_of(layer, arrays)
        hidden, _ = reference_depthwise(np.maximum(x, 0) if layer.relu_in else x, folded(layer, arrays))
        z = np.tensordot(arrays[f"{layer.name}/pointwise/W"][rows][:, :layer.w_in, 0, 0], hidden, 1)
    y = normalised(z, layer, arrays, rows, moments, batch_stat) + residual
    return np.maximum(y, 0) if layer.relu_out else y


def reference_logits(net, arch, images, arrays=None, batch_stat=True, moments=None, mask=None):
    """Logits (N, classes) of images (N, 3, H, W)."""
    arrays = doubles(net) if arrays is None else arrays
    x = images.astype(np.float64).transpose(1, 2, 3, 0)
    for layer in net.layers(arch):
        x = reference(x, layer, arrays, {} if moments is None else moments, batch_stat, mask)
    return x


def reference_softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def reference_targets(logits, labels, settings, teacher):
    """For each arch the (weight, target) pairs of its cross-entropies."""
    smoothing, classes = settings.label_smoothing, logits[0].shape[1]
    hard = np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes
    own = [hard] + [reference_softmax(logits[0]) if settings.inplace_distill else hard] * (len(logits) - 1)
    soft = [] if teacher is None else [(settings.distill, reference_softmax(teacher.astype(np.float64)))]
    return [[(1.0, target), *soft] for target in own]


def reference_loss(logits, targets):
    logs = [z - z.max(1, keepdims=True) for z in logits]
    logs = [z - np.log(np.exp(z).sum(1, keepdims=True)) for z in logs]
    return np.mean([sum(-w * (t * log).sum(1).mean() for w, t in pairs)
                    for log, pairs in zip(logs, targets)])


# Networks whose every array is random ----------------------------------------------------------------

def doubles(net):
    return {name: array.astype(np.float64) for name, array in net.arrays().items()}


def random_net(way, sort=False, seed=0, arch="XP"):
    """A network of the family that `arch` is of."""
    net = ofa.Network.create(*((CONFIG, SPACE) if arch.startswith("XP") else (RESNET, CHANNELS)), seed)
    rng, arrays = np.random.default_rng(seed + 1), net.arrays()
    for name, array in arrays.items():
        if name.endswith(("gamma", "var")):
            arrays[name] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
        elif name.endswith(("beta", "mean", "to5", "to3")):
            arrays[name] = (array + 0.3 * rng.standard_normal(array.shape)).astype(np.float32)
    net.set_arrays(arrays)
    if sort:
        net.sort_channels()
        assert any(not np.array_equal(a, arrays[n]) for n, a in net.arrays().items())
    net.kernels = way
    return net


def some_images(n=6, size=9, seed=3):
    return np.random.default_rng(seed).standard_normal((n, 3, size, size)).astype(np.float32)


def close(found, expected, tolerance):
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


# Layers ----------------------------------------------------------------------------------------------

LAYERS = {
    "full": Separable("u", 6, 8, 6, 8, (3, 5, 7), 7),
    "kernel 5": Separable("u", 6, 8, 6, 8, (3, 5, 7), 5),
    "kernel 3 of narrow": Separable("u", 4, 5, 6, 8, (3, 5, 7), 3),
    "narrow output": Separable("u", 6, 5, 6, 8, (3,), 3, relu_in=False, relu_out=True),
    "restored": Separable("u", 4, 8, 6, 8, (3, 5), 3, ordered=True, restore=True),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_elastic_layers_and_what_they_leave_alone(layer, way):
    """Every value and every gradient; of stored values that are not active exactly zero."""
    rng, mode = np.random.default_rng(0), Mode(batch_stat=True, fast=way == "fast")
    declared = ops.parameters(layer)
    stored = {name: rng.standard_normal(p.shape).astype(np.float32) for name, p in declared.items()}
    if layer.ordered:
        stored["u/order"] = rng.permutation(layer.full_out).astype(np.float32)
    x = rng.standard_normal((layer.w_in, 5, 6, 4)).astype(np.float32)
    dy = rng.standard_normal((layer.w_out, 5, 6, 4)).astype(np.float32)

    def variable(array, trained=True):
        laid = array if mode.fast or array.shape not in (x.shape, dy.shape) else array.transpose(3, 0, 1, 2)
        made = nn.Variable.from_numpy_array(laid.copy()).apply(need_grad=trained)
        made.grad.zero()
        return made

    with nn.parameter_scope("", {}):
        for name, p in declared.items():
            nn.parameter.set_parameter(name, variable(stored[name], p.trained))
        vx = variable(x)
        y = layer.build(vx, mode)
        y.persistent = True
        y.forward(clear_no_need_grad=True)
        y.backward(variable(dy).d, clear_buffer=True)
        found = {name[2:]: v for name, v in nn.get_parameters(grad_only=True).items()}

    short = {"depthwise/W": "depthwise", "pointwise/W": "pointwise", "bn/gamma": "gamma", "bn/beta": "beta",
             "depthwise/7to5": "matrix5", "depthwise/5to3": "matrix3"}
    operands = {short[name]: stored[f"u/{name}"] for name in found}
    order = stored["u/order"].astype(int) if layer.restore else None
    value, _, _, gradients = reference_separable(
        {"x": x, **operands}, kernel=layer.kernel, w_out=layer.w_out, order=order, relu_in=layer.relu_in,
        relu_out=layer.relu_out, dy=dy)

    def chwn(array):
        return array if mode.fast else array.transpose(1, 2, 3, 0)
    close(chwn(y.d), value, 1e-5)
    close(chwn(vx.g), gradients["x"], 3e-5)
    for name, v in found.items():
        expected = gradients[short[name]]
        close(v.g, expected, 3e-5)
        assert (v.g[outside(layer, name, v.shape)] == 0).all(), name


def outside(layer, name, shape):
    """Which values of a stored array the layer does not use."""
    unused = np.ones(shape, bool)
    edge = (layer.kernels[-1] - layer.kernel) // 2
    if name == "depthwise/W":  # a smaller kernel is made of the centre of the next larger one
        edge = min(edge, 1)
        unused[:layer.w_in, :, edge:shape[2] - edge, edge:shape[3] - edge] = False
    elif name == "pointwise/W":
        unused[:layer.w_out, :layer.w_in] = False
    elif name.startswith("bn/"):
        unused[:, :layer.w_out] = False
    else:
        unused[:] = False
    return unused


# Whole networks --------------------------------------------------------------------------------------

@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("sort", [False, True])
def test_logits(way, arch, sort):
    net = random_net(way, sort, arch=arch)
    images = some_images()
    close(net.logits(images, arch), reference_logits(net, arch, images, batch_stat=False), 1e-5)
    y, = net.forward(nn.Variable.from_numpy_array(images), [net.arch(arch)], net.mode(batch_stat=True))
    y.forward(clear_buffer=True)
    close(y.d, reference_logits(net, arch, images), 1e-4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("arch", ARCHS[1:])
def test_calibration_pools_batches_of_every_layer(way, arch):
    """Means and population variances over uneven batches, each normalised by its own on the way."""
    net = random_net(way, sort=True, arch=arch).extract(arch)
    batches = [some_images(6, seed=1), some_images(3, seed=2)]
    pooled_moments = {}
    for images in batches:
        moments = {}
        reference_logits(net, None, images, moments=moments)
        for name, (mean, var) in moments.items():
            first, second = pooled_moments.get(name, (0, 0))
            share = len(images) / 9
            pooled_moments[name] = first + share * mean, second + share * (var + mean ** 2)
    calibrate(net, ((i, images, None) for i, images in enumerate(batches)), 2)
    found = net.arrays()
    assert {n[:-5] for n in found if n.endswith("/mean")} == set(pooled_moments)
    for name, (mean, square) in pooled_moments.items():
        assert np.abs(found[f"{name}/mean"].ravel() - mean).max() <= 1e-4 * np.sqrt(square.max()), name
        close(found[f"{name}/var"].ravel(), square - mean ** 2, 1e-3)


# Losses and gradients --------------------------------------------------------------------------------

@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses(inplace, taught, smoothing):
    rng = np.random.default_rng(0)
    settings = Train(sandwich=inplace, inplace_distill=inplace, subnets_per_step=3, distill=0.7,
                     label_smoothing=smoothing)
    logits = [4 * rng.standard_normal((6, 5)).astype(np.float32) for _ in range(3)]
    labels = rng.integers(0, 5, 6)
    teacher = 4 * rng.standard_normal((6, 5)).astype(np.float32) if taught else None
    outputs = [nn.Variable.from_numpy_array(z) for z in logits]
    value = loss_gradients(outputs, labels, settings, 0.25, teacher)
    wide = [z.astype(np.float64) for z in logits]
    targets = reference_targets(wide, labels, settings, teacher)
    assert abs(value - reference_loss(wide, targets)) < 1e-6 * value
    for i, (output, z) in enumerate(zip(outputs, wide)):
        for at in np.ndindex(*z.shape):
            step = np.zeros_like(z)
            step[at] = 1e-5
            up, down = ([*wide[:i], z + s, *wide[i + 1:]] for s in (step, -step))
            slope = (reference_loss(up, targets) - reference_loss(down, targets)) / 2e-5
            assert abs(output.g[at] - 0.25 * slope) < 1e-7


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("names", [("XP1 7x7 3", "XP0.6 3x3 1", "XP0.8 3x3 3"),
                                   ("-".join(["16"] * 7 + ["32"] * 6 + ["64"] * 7), "-".join(["4"] * 20),
                                    ARCHS[4])], ids=["xception", "resnet20"])
def test_gradients_of_every_parameter(way, names):
    """The sandwich step as trained: largest, smallest and one more, in-place distilled, with dropout."""
    settings = Train(sandwich=True, inplace_distill=True, subnets_per_step=3, weight_decay=0.0)
    net = random_net(way, sort=True, arch=names[0])
    net.config = dataclasses.replace(net.config, dropout=0.3)
    stepper = Stepper(net, settings, Optimiser(net, settings), Single())
    archs = [net.arch(name) for name in names]
    rng = np.random.default_rng(5)
    images, labels = some_images(4, 7), rng.integers(0, 5, 4)
    uniform = rng.random((4, net.layers()[-1].w_in))
    mask = ((uniform >= 0.3) / 0.7).astype(np.float32)

    def logits(arrays):
        return [reference_logits(net, arch, images, arrays, mask=mask) for arch in archs]

    arrays = doubles(net)
    targets = reference_targets(logits(arrays), labels, settings, None)
    loss, _ = stepper.step(iter([(images, labels, lambda purpose, shape: uniform)]), archs, 0.0, 1)
    assert abs(loss - reference_loss(logits(arrays), targets)) < 1e-5 * loss
    touched = stepper.optimiser.touched()
    assert set(touched) == set(stepper.optimiser.variables)
    total = np.sqrt(sum(np.square(v.g.astype(np.float64)).sum() for v in touched.values()))
    for name, variable in touched.items():
        gradient = variable.g.astype(np.float64)
        norm = np.sqrt(np.square(gradient).sum())
        random = rng.standard_normal(gradient.shape)
        for direction in (gradient / max(norm, 1e-30), random / np.sqrt(np.square(random).sum())):
            step = 1e-6 * direction
            up, down = (reference_loss(logits({**arrays, name: arrays[name] + s}), targets)
                        for s in (step, -step))
            slope, expected = (up - down) / 2e-6, (gradient * direction).sum()
            assert abs(slope - expected) <= 1e-3 * norm + 1e-6 * total, name


# Updates ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("way", WAYS)
def test_unused_slices_move_by_momentum_and_decay_alone(way):
    """m <- momentum m + lr (g + decay w), w <- w - m; a parameter no arch touched stays, m too."""
    settings = Train(weight_decay=0.01, momentum=0.9)
    net = random_net(way)
    stepper = Stepper(net, settings, Optimiser(net, settings), Single())
    weights, momentum = doubles(net), {}
    for arch, lr in (("XP1 7x7 3", 0.1), ("XP0.6 3x3 2", 0.05), ("XP0.8 5x5 2", 0.02)):
        stepper.step(iter([(some_images(), np.arange(6) % 5, None)]), [net.arch(arch)], lr, 1)
        touched = stepper.optimiser.touched()
        for name, variable in touched.items():
            decay = settings.weight_decay if name.endswith("/W") else 0.0
            gradient = variable.g.astype(np.float64)
            if name.endswith("/W"):  # NNabla adds the decay to the gradient, in place
                gradient = gradient - decay * weights[name]
            momentum[name] = 0.9 * momentum.get(name, 0) + lr * (gradient + decay * weights[name])
            weights[name] = weights[name] - momentum[name]
        for layer in (u for r in net.layers(arch) if isinstance(r, Residual) for u in r.units):
            for key in ("depthwise/W", "pointwise/W", "bn/gamma", "bn/beta"):
                name = f"{layer.name}/{key}"
                unused = outside(layer, key, weights[name].shape)
                before = weights[name] + momentum[name]
                pure = touched[name].g - (settings.weight_decay * before if key.endswith("/W") else 0)
                assert np.abs(pure[unused]).max(initial=0) <= 1e-8, name
        found = net.arrays()
        for name in weights:
            assert np.abs(found[name] - weights[name]).max() <= 1e-5 * np.abs(weights[name]).max(), name
    state = stepper.optimiser.state()
    for name, expected in momentum.items():
        close(state[f"momentum/{name}"], expected, 1e-4)
    third = [name for name in weights if name.startswith("middle/0/2/")]
    assert third and all(state[f"updates/{name}"] == 1 for name in third if name in momentum)


def test_blocks_that_differ():
    net = ofa.Network.create(dataclasses.replace(CONFIG, middle_blocks=2), SPACE)
    arch = "XP0.6 5x5 3, XP0.8 7x7 2"
    close(net.logits(some_images(), arch), reference_logits(net, arch, some_images(), batch_stat=False), 1e-5)
