"""The vision transformer, for which there is no original: counts by hand, logits by numpy."""

from __future__ import annotations

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa import kernels

NAME = "vit_tiny_cifar"
PATCHES, WIDTH, HEADS, DEPTH = 64, 192, 3, 9
WAYS = [pytest.param(way, marks=pytest.mark.skipif(
    way == "fast" and kernels.unavailable_reason() is not None,
    reason=str(kernels.unavailable_reason()))) for way in ("nnabla", "fast")]


def random_net(classes=5):
    """A network whose arrays are all random, none zero or one."""
    net = ofa.create(NAME, classes=classes)
    rng = np.random.default_rng(1)
    net.set_arrays({name: array + 0.1 * rng.standard_normal(array.shape)
                    for name, array in net.arrays().items()})
    return net


def computed(arrays, x):
    """Logits of images in float64, patches as rows."""
    def affine(y, name):
        weight = arrays[f"{name}/conv/W"][:, :, 0, 0].astype(np.float64)
        return y @ weight.T + arrays[f"{name}/conv/b"]

    def norm(y, name):
        centred = y - y.mean(-1, keepdims=True)
        gamma, beta = (arrays[f"{name}/norm/{key}"].ravel() for key in ("gamma", "beta"))
        return centred / np.sqrt((centred ** 2).mean(-1, keepdims=True) + 1e-6) * gamma + beta

    def heads(y):
        return y.reshape(len(y), PATCHES, HEADS, WIDTH // HEADS).transpose(0, 2, 1, 3)

    pixels = x.reshape(len(x), 3, 8, 4, 8, 4).astype(np.float64)
    y = np.einsum("ncihjw,ochw->nijo", pixels, arrays["patches/conv/W"]) + arrays["patches/conv/b"]
    y = (y + arrays["positions/learned/W"][0].transpose(1, 2, 0)).reshape(len(x), PATCHES, WIDTH)
    for i in range(DEPTH):
        name = f"blocks/{i}/attention"
        q, k, v = map(heads, np.split(affine(norm(y, name), f"{name}/qkv"), 3, axis=-1))
        weights = np.exp(q @ k.transpose(0, 1, 3, 2) / np.sqrt(WIDTH // HEADS))
        z = weights / weights.sum(-1, keepdims=True) @ v
        y = y + affine(z.transpose(0, 2, 1, 3).reshape(y.shape), f"{name}/out")
        name = f"blocks/{i}/mlp"
        z = affine(norm(y, name), f"{name}/0")
        z = 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z ** 3)))
        y = y + affine(z, f"{name}/1")
    return norm(y, "last").mean(1) @ arrays["classifier/affine/W"] + arrays["classifier/affine/b"]


@pytest.mark.parametrize("way", WAYS)
def test_logits_are_those_of_the_formula(way):
    net = random_net()
    net.kernels = way
    x = np.random.default_rng(2).standard_normal((3, 3, 32, 32)).astype(np.float32)
    expected = computed(net.arrays(), x)
    assert np.abs(expected[0] - expected[1]).max() > 0.01 * np.abs(expected).max()
    assert np.abs(net.logits(x) - expected).max() < 1e-5 * np.abs(expected).max()


def test_parameters_and_macs_are_those_of_the_sizes():
    w = WIDTH
    block = 2 * 2 * w + (w * 3 * w + 3 * w) + (w * w + w) + (w * 4 * w + 4 * w) + (4 * w * w + w)
    cost = ofa.zoo.cost(NAME, classes=10)
    assert cost.parameters == (3 * 4 * 4 * w + w) + PATCHES * w + DEPTH * block + 2 * w + (10 * w + 10)
    assert cost.macs == PATCHES * (48 * w + DEPTH * 12 * w * w) + 10 * w
    assert cost.statistics == 0


def test_weight_decay_shrinks_weights_alone():
    for name, parameter in ofa.zoo.declared(NAME).items():
        assert parameter.decay == (name.endswith(("conv/W", "affine/W"))), name


def test_it_takes_images_of_its_size_alone():
    with pytest.raises(ofa.OfaError, match="images of 32 x 32 pixels alone"):
        ofa.zoo.cost(NAME, image_size=36)
