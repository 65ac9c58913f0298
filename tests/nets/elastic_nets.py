"""A tiny network of every elastic family, for tests that run over all of them."""

from __future__ import annotations

import numpy as np

import nnabla_ofa as ofa

# The configuration, its whole space, and a space in which some widths are those of the largest subnet.
FAMILIES = {
    "xception": (ofa.Xception(classes=7, widths=(8, 8, 16, 16, 40, 24, 32, 40), stem_stride=1),
                 "K357_E0.6+0.8+1_D123", "K35_E0.8+1_D12"),
    "resnet20": (ofa.ResNet20(classes=7), "C4-16_C4-32_C4-64", "C8-16_C16-32_C64"),
    "mobilenetv3": (ofa.MobileNetV3(classes=7, width_mult=0.25, stem_stride=1), "K357_E346_D234",
                    "K57_E46_D34"),
    "proxylessnas": (ofa.ProxylessNAS(classes=7, width_mult=0.25, stem_stride=1), "K357_E346_D234",
                     "K57_E6_D23"),
    "ofa_resnet50": (ofa.OfaResNet50(classes=7, stage_widths=(32, 48, 56, 80), stem_pool=False),
                     "D012_E0.2+0.25+0.35_W0.65+0.8+1", "D01_E0.25+0.35_W0.8+1")}


def random_net(family, space=None, seed=0, kernels="auto"):
    """A network whose kernel matrices, biases, BN parameters and statistics are all random.

    Gammas are small: else 20 blocks in a row would amplify what rounding makes different.
    """
    config, whole, _ = FAMILIES[family]
    net = ofa.Network.create(config, space or whole, seed)
    rng, arrays = np.random.default_rng(seed + 1), net.arrays()
    for name, array in arrays.items():
        if name.endswith(("gamma", "var")):
            arrays[name] = rng.uniform(0.5, 1.5, array.shape) * (0.5 if name.endswith("gamma") else 1)
        elif name.endswith(("beta", "mean", "/b")):
            arrays[name] = array + 0.3 * rng.standard_normal(array.shape)
        elif name.endswith(("to5", "to3")):
            arrays[name] = array + 0.05 * rng.standard_normal(array.shape)
    net.set_arrays(arrays)
    net.kernels = kernels
    return net


def some(net, count, seed=2):
    """The largest and the smallest subnet, and `count` drawn ones."""
    rng = np.random.default_rng(seed)
    return [net.space.largest(), net.space.smallest()] + [net.space.sample(rng) for _ in range(count)]


def images(count=2, size=20, seed=9):
    return np.random.default_rng(seed).standard_normal((count, 3, size, size)).astype(np.float32)


def relative(found, expected):
    """The largest difference, of the largest expected value."""
    return np.abs(found - expected).max() / np.abs(expected).max()
