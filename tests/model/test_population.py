"""Many subnets together give what each gives alone; what they share runs once."""

import dataclasses
import sys

import elastic_nets
import nnabla as nn
import numpy as np
import pytest
from test_supernet import CONFIG, archs, random_net, relative

from nnabla_ofa.evaluation import Result, calibrate, evaluate_archs, score
from nnabla_ofa.model import Frozen, network
from nnabla_ofa.model.network import flat
from nnabla_ofa.model.population import Piece

SPACE = "K357_E0.6+0.8+1_D123"
NEAR = ("XP1 7x7 3, XP0.8 5x5 2, XP1 3x3 3, {}, XP1 7x7 2, XP0.6 3x3 3, XP1 5x5 1, XP1 7x7 3")


class Batches:
    """Random labelled images in numbered batches, as `Images` deals them; the last one is smaller."""

    def __init__(self, seed, sizes=(4, 4, 3)):
        rng = np.random.default_rng(seed)
        self.all = [(i, rng.standard_normal((n, 3, 16, 16)).astype(np.float32),
                     rng.integers(CONFIG.classes, size=n)) for i, n in enumerate(sizes)]

    def count(self):
        return len(self.all)

    def batches(self, size, comm=None):
        return iter(self.all)


def evaluated_alone(net, arch, calibration, test):
    """Result of one arch: extracted, calibrated, its own graph."""
    alone = net.extract(arch)
    calibrate(alone, calibration.batches(16), calibration.count())
    graph = Frozen(alone)
    sums = np.sum([score(graph(images), labels) for _, images, labels in test.batches(16)], axis=0)
    return Result(*(sums[:3] / sums[3]), int(sums[3]))


@pytest.mark.parametrize("kernels", ["nnabla", "auto"])
def test_together_equals_one_by_one(kernels, monkeypatch):
    net = random_net(SPACE, kernels=kernels)
    chosen = archs(SPACE, 4) + [net.arch(NEAR.format(b)) for b in ("XP1 7x7 3", "XP0.6 3x3 1")]
    chosen = [*chosen, chosen[2]]
    calibration, test = Batches(1), Batches(2)
    together = evaluate_archs(net, chosen, 16, calibration, test)
    monkeypatch.setattr(sys.modules["nnabla_ofa.evaluation.judge"], "MOST_TOGETHER", 3)
    assert evaluate_archs(net, chosen, 16, calibration, test) == together
    for arch, result in zip(chosen, together):
        alone = evaluated_alone(net, arch, calibration, test)
        assert result[1:] == alone[1:], arch
        assert relative(np.array(result.loss), np.array(alone.loss)) < 1e-6, arch


@pytest.mark.parametrize("family", [family for family in elastic_nets.FAMILIES if family != "xception"])
def test_another_family(family):
    net, rng = elastic_nets.random_net(family), np.random.default_rng(6)
    parent = net.space.sample(rng)
    chosen = [net.space.largest()] + [net.space.mutate(parent, rng, 0.2) for _ in range(5)]
    calibration, test = Batches(1), Batches(2)
    for arch, result in zip(chosen, evaluate_archs(net, chosen, 16, calibration, test)):
        alone = evaluated_alone(net, arch, calibration, test)
        assert result[1:] == alone[1:] and abs(result.loss - alone.loss) < 1e-5 * alone.loss, arch


def test_sorted_channels_change_nothing():
    net, data = random_net("K357_E1_D123"), Batches(1)
    chosen = archs("K357_E1_D123", 4)
    before = evaluate_archs(net, chosen, 16, data, data)
    net.sort_channels()
    for one, other in zip(before, evaluate_archs(net, chosen, 16, data, data)):
        assert one.top1 == other.top1 and abs(one.loss - other.loss) < 1e-4 * one.loss


@pytest.mark.parametrize("kernels", ["nnabla", "auto"])
def test_moments_are_those_of_a_training_graph(kernels):
    net = random_net(SPACE, kernels=kernels)
    [(_, images, _)] = Batches(3, [5]).all
    for arch in archs(SPACE, 2):
        alone, statistics = net.extract(arch), {}
        y, = alone.forward(nn.Variable.from_numpy_array(images), [alone.space.largest()],
                           dataclasses.replace(alone.mode(batch_stat=True), statistics=statistics))
        y.forward()
        population = net.population([arch])
        row = population.moments(images)
        mean, square = np.split(row[1:], 2)
        population.set_statistics(mean, square - mean ** 2)
        found = population.statistics(0)
        assert row[0] == 5 and {name[:-len("/mean")] for name in found if name.endswith("mean")} == \
            set(statistics)
        for name, (batch_mean, batch_variance) in statistics.items():
            assert relative(found[f"{name}/mean"].ravel(), batch_mean.d.ravel()) < 1e-5
            assert relative(found[f"{name}/var"].ravel(), batch_variance.d.ravel()) < 1e-4


def test_shared_layers_run_once_and_keep_no_gradients(monkeypatch):
    net, built = random_net(SPACE), []

    def counting(layer, declared, arrays, build):
        def counted(x, mode):
            built.append(flat([layer])[0].name)
            y = build(x, mode)
            assert not y.need_grad
            return y
        return Piece(layer, declared, arrays, counted)

    monkeypatch.setattr(network, "Piece", counting)
    population = net.population([net.arch(NEAR.format(b)) for b in
                                  ("XP1 7x7 3", "XP0.6 3x3 1", "XP1 3x3 1")])  # the last two are one
    population.logits(Batches(3).all[0][1])
    population.logits(Batches(4).all[0][1])  # the graph is kept
    counts = {name: built.count(name) for name in built}
    assert counts["stem/0"] == counts["entry/2/0"] == counts["middle/2/0"] == 1
    assert counts["middle/3/0"] == counts["middle/7/0"] == counts["classifier"] == 2
    assert len(population) == 3
