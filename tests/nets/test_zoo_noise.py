"""What noise does in training, against NumPy: the two coefficients of Shake-Shake, dropped blocks."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import nnabla as nn
import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.layers import Mode
from nnabla_ofa.layers.functional import survive
from nnabla_ofa.nets.zoo import shake_cifar, stochastic_depth_cifar
from nnabla_ofa.training.loop import noise

RNG = np.random.default_rng(5)


def drawn(purpose, shape):
    """The noise of one pass."""
    return noise(0, "stage", 1, 2, purpose, shape)


def layouts(array):
    """(N, C, H, W) in both layouts, with the mode that each belongs to."""
    return ((Mode(batch_stat=True, random=drawn), array, lambda found: found),
            (Mode(batch_stat=True, fast=True, random=drawn), array.transpose(1, 2, 3, 0),
             lambda found: found.transpose(3, 0, 1, 2)))


@pytest.mark.parametrize("layout", [0, 1], ids=["NCHW", "CHWN"])
def test_shake_mixes_branches_by_one_coefficient_and_gradients_by_another(layout):
    first, second, upstream = RNG.standard_normal((3, 4, 2, 3, 5)).astype(np.float32)
    (mode, a, back), (_, b, _), (_, g, _) = (layouts(array)[layout] for array in (first, second, upstream))
    a, b = (nn.Variable.from_numpy_array(np.ascontiguousarray(array), need_grad=True) for array in (a, b))
    y = shake_cifar.shaken(a, b, "stages/0/0", mode)
    for variable in (a, b):
        variable.grad.zero()
    y.forward(clear_no_need_grad=True)
    found = y.d.copy()
    y.backward(np.ascontiguousarray(g), clear_buffer=True)
    forward, backward = (drawn(f"shake/stages/0/0/{way}", (4,)).reshape(4, 1, 1, 1)
                         for way in ("forward", "backward"))
    assert np.abs(forward - backward).min() > 0.01
    np.testing.assert_allclose(back(found), forward * first + (1 - forward) * second, atol=1e-6)
    np.testing.assert_allclose(back(a.g), backward * upstream, atol=1e-6)
    np.testing.assert_allclose(back(b.g), (1 - backward) * upstream, atol=1e-6)


def test_shake_without_noise_is_the_mean():
    first, second = RNG.standard_normal((2, 4, 2, 3, 5)).astype(np.float32)
    y = shake_cifar.shaken(*map(nn.Variable.from_numpy_array, (first, second)), "x", Mode(batch_stat=True))
    y.forward()
    np.testing.assert_allclose(y.d, (first + second) / 2, rtol=1e-6)


def logits_with(network, mode, x):
    with nn.parameter_scope("", OrderedDict()):
        y = network(nn.Variable.from_numpy_array(x), 3, mode)
        y.forward()
        return y.d.copy()


def test_a_dropped_block_leaves_its_shortcut():
    """Two blocks, the second always or never dropped; without noise it counts half."""
    network = partial(stochastic_depth_cifar.stochastic_depth, blocks=(2,), drop_path=0.5)
    x = RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)
    dropped, kept = (logits_with(network, Mode(batch_stat=True, random=lambda purpose, shape, u=u:
                                               np.full(shape, u)), x) for u in (0.49, 0.5))
    halved = logits_with(network, Mode(batch_stat=True), x)
    assert np.abs(dropped - kept).max() > 0.01
    np.testing.assert_allclose(halved, (dropped + kept) / 2, atol=1e-5)  # logits are linear in the last block
    alone = logits_with(partial(network, drop_path=0.0), Mode(batch_stat=True, random=drawn), x)
    np.testing.assert_allclose(alone, kept, atol=1e-6)


def test_blocks_survive_as_often_as_the_paper_says():
    x = nn.Variable.from_numpy_array(np.ones((1, 1, 1, 1), np.float32))
    found = []
    for step in range(400):
        y = survive(x, "a", 0.3, Mode(batch_stat=True, random=partial(noise, 0, "stage", 1, step)))
        y.forward()
        found.append(y.d.item())
    assert set(found) == {0.0, 1.0} and abs(np.mean(found) - 0.7) < 0.07  # three standard deviations


@pytest.mark.parametrize("name, keyword", [("stochasticdepth18_cifar100", "drop_path"),
                                           ("wideresnet40_10_cifar100", "dropout")])
def test_a_recipe_may_set_the_rate(name, keyword):
    config = ofa.Fixed(name, **{keyword: 0.1})
    assert getattr(config, keyword) == 0.1
    other = {"dropout": "drop_path", "drop_path": "dropout"}[keyword]
    with pytest.raises(ofa.OfaError, match=f"net.{other} is not possible"):
        ofa.Fixed(name, **{other: 0.1})
