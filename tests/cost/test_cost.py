"""Costs of many subnets at once equal the costs of each; the graph's own MACs equal them, too."""

import nnabla as nn
import numpy as np
import pytest
from elastic_nets import FAMILIES

import nnabla_ofa as ofa
from nnabla_ofa.cost import CostModel, Operations
from nnabla_ofa.nets.elastic.resnet20 import ResNet20

NETS = [(ofa.Xception(classes=10, width_mult=0.0625, stem_stride=1), "K357_E0.6+0.8+1_D123"),
        (ofa.Xception(classes=10, width_mult=0.0625, middle_blocks=3), "K35_E0.8+1_D23"),
        (ofa.Xception(classes=10, width_mult=0.02, entry_strides=(2, 1, 2)), "K357_E1_D123"),
        (ResNet20(classes=10), "C4-16_C4-32_C4-64"),
        (ResNet20(classes=10, shortcut="always"), "C8-16_C4-32_C64"),
        (FAMILIES["mobilenetv3"][0], "K357_E346_D234"),
        (FAMILIES["proxylessnas"][0], "K37_E46_D23"),
        (FAMILIES["ofa_resnet50"][0], "D012_E0.2+0.25+0.35_W0.65+0.8+1"),
        (ofa.OfaResNet50(classes=10, stage_widths=(16, 24, 32, 40)), "D12_E0.35_W0.8+1")]


@pytest.fixture(params=NETS, ids=lambda p: f"{p[0].family} {p[1]}")
def net(request):
    config, space = request.param
    return ofa.Network(config, config.space(space))


def some(net, count, seed=0):
    rng = np.random.default_rng(seed)
    return [net.space.largest(), net.space.smallest()] + [net.space.sample(rng) for _ in range(count)]


@pytest.mark.parametrize("size", [17, 32])
def test_costs_of_many_are_the_costs_of_each(net, size):
    model = CostModel(net, size)
    for seed in range(3):  # the second time, the tables know most of it
        archs = some(net, 60, seed)
        expected = np.array([net.cost(arch, size) for arch in archs])
        assert np.array_equal(np.stack(model(archs), axis=1), expected)
        assert np.array_equal(np.stack(model(model.operations.rows(archs)), axis=1), expected)
        layers = np.stack(model.by_layer(archs), axis=2)
        assert np.array_equal(layers.sum(axis=1), expected)


def test_rows_and_archs_are_inverse(net):
    operations = Operations(net, 32)
    archs = some(net, 20)
    for arch, row in zip(archs, operations.rows(archs)):
        assert net.space.archs([row]) == [arch.canonical()]
        chosen = [choice == block for choices, block in zip(net.space.blocks, arch.canonical().blocks)
                  for choice in choices.distinct()]
        assert np.array_equal(net.space.one_hot(row[None])[0], chosen)


def test_xception_is_made_of_30_operations():
    config, space = NETS[0]
    operations = Operations(ofa.Network(config, config.space(space)), 32)
    assert len(operations.all()) == 9 + 21
    known = len(operations.all())
    operations.numbers(some(operations.net, 50))
    assert len(operations.found) == known


def graph_cost(net, arch, size):
    """(MACs, activations) of the functions of a subnet's plain NNabla graph."""
    alone = ofa.Network.create(net.config, ofa.Space.of(arch))
    alone.kernels = "nnabla"
    y, = alone.forward(nn.Variable((1, 3, size, size)), [alone.space.largest()], alone.mode(batch_stat=False))
    counts = []

    def count(function):
        if function.info.type_name in ("Convolution", "Affine"):
            outputs = int(np.prod(function.outputs[0].shape))
            weight = function.inputs[1].shape
            per_output = int(np.prod(weight[1:])) if len(weight) == 4 else weight[0]
            counts.append((outputs * per_output, outputs))
    y.visit(count)
    return np.sum(counts, axis=0)


def test_the_graph_has_those_macs_and_activations(net):
    model = CostModel(net, 32)
    for arch in some(net, 4):
        cost = model([arch])
        assert np.array_equal(graph_cost(net, arch, 32), [cost.macs[0], cost.activations[0]])
        alone = ofa.Network.create(net.config, ofa.Space.of(arch))
        trained = [p for p in alone.variables().values() if p.need_grad]
        assert sum(p.size for p in trained) == cost.parameters[0]


@pytest.mark.parametrize("archs, complaint", [
    (np.zeros((2, 3), int), r"not integers \(n, 8\)"),
    (np.zeros((2, 8)), "float64"),
    (np.full((1, 8), 21), "outside the distinct choices"),
    (np.full((1, 8), -1), "outside the distinct choices"),
    ([ofa.Xception(middle_blocks=3).arch("XP1 3x3 1")], "has 3 blocks")])
def test_what_is_no_arch_of_the_space_is_refused(archs, complaint):
    config, space = NETS[0]
    with pytest.raises(ofa.OfaError, match=complaint):
        CostModel(ofa.Network(config, config.space(space)), 32)(archs)


def test_an_arch_of_a_larger_space_is_refused():
    config = NETS[0][0]
    with pytest.raises(ofa.OfaError, match="outside this search space"):
        CostModel(ofa.Network(config, config.space("K35_E1_D3")), 32)([config.arch("XP1 7x7 3")])
    with pytest.raises(ofa.OfaError, match="image_size=0"):
        CostModel(ofa.Network(config, config.space("K35_E1_D3")), 0)


def test_no_archs_cost_nothing():
    config, space = NETS[0]
    assert CostModel(ofa.Network(config, config.space(space)), 32)([]).macs.shape == (0,)
