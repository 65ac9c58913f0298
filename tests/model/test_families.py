"""What every elastic family gives for its layers alone: extraction, sorting, calibration, files, search."""

import dataclasses

import nnabla as nn
import numpy as np
import pytest
from elastic_nets import FAMILIES, images, random_net, relative, some

import nnabla_ofa as ofa
from nnabla_ofa.layers import parameters
from nnabla_ofa.model import Frozen, sorting
from nnabla_ofa.nets import Space
from nnabla_ofa.nets.registry import ELASTIC


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def test_every_family_is_tested_here():
    assert FAMILIES.keys() == ELASTIC.keys()


def test_extracted_and_folded_equal_the_supernet(family):
    net = random_net(family)
    for arch in some(net, 4):
        alone, expected = net.extract(arch), net.logits(images(), arch)
        assert relative(alone.logits(images()), expected) < 3e-6, arch
        assert relative(alone.fold_bn().logits(images()), expected) < 3e-6, arch
        assert np.array_equal(Frozen(alone)(images()), alone.logits(images()))
        assert alone.cost(image_size=20) == net.cost(arch, 20)
        stored = sum(a.size for n, a in alone.arrays().items() if not n.endswith(("mean", "var")))
        assert stored == net.cost(arch, 20).parameters


@pytest.mark.parametrize("size", [32, 33])
def test_the_compiled_functions_give_what_nnabla_does(family, size):
    """Logits in evaluation, and the gradient in training as a whole.

    Where rounding moves a unit over a kink of its activation, a few hundredths of the gradient move with it;
    a part that is wrong or missing moves more. tests/kernels compares the functions one by one.
    """
    nets = [random_net(family, kernels=kernels) for kernels in ("nnabla", "auto")]
    x, weights = images(8, size), np.random.default_rng(5).standard_normal((8, 7))
    for arch in some(nets[0], 1):
        plain, fused = (net.logits(x, arch) for net in nets)
        assert relative(fused, plain) < 3e-6, arch
        gradients = []
        for net in nets:
            y, = net.forward(nn.Variable.from_numpy_array(x), [arch], net.mode(batch_stat=True))
            for variable in net.variables().values():
                variable.grad.zero()
            y.forward(clear_no_need_grad=True)
            y.backward(weights, clear_buffer=True)
            gradients.append(np.concatenate([v.g.ravel() for v in net.variables().values() if v.need_grad]))
        assert np.linalg.norm(gradients[1] - gradients[0]) < 0.05 * np.linalg.norm(gradients[0]), arch


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9, 17, 31])
def test_odd_and_tiny_images_are_taken(family, size):
    net = random_net(family)
    for arch in some(net, 1):
        found = net.logits(images(1, size), arch)
        assert found.shape == (1, 7) and np.isfinite(found).all()


def test_the_layers_say_which_blocks_decide_them(family):
    """Changing one block changes those layers alone that `deciding_blocks` names it for."""
    config, whole, _ = FAMILIES[family]
    space, rng = config.space(whole), np.random.default_rng(3)
    decided = config.deciding_blocks()
    for _ in range(20):
        one = space.sample(rng).canonical()
        other = space.mutate(one, rng, 0.1).canonical()
        pair = [config.layers(space, arch) for arch in (one, other)]
        assert len(pair[0]) == len(pair[1]) == len(decided)
        changed = {i for i, (a, b) in enumerate(zip(one.blocks, other.blocks)) if a != b}
        for a, b, blocks in zip(*pair, decided):
            assert a == b or changed & set(blocks)


def test_widening_keeps_the_logits_of_what_was_there(family):
    config, whole, part = FAMILIES[family]
    full = {"xception": "K7_E1_D3", "resnet20": "C16_C32_C64", "ofa_resnet50": "D2_E0.35_W1"}
    net = random_net(family, full.get(family, "K7_E6_D4"))
    wider = net.widened(whole)
    assert relative(wider.logits(images(), net.space.largest()), net.logits(images())) < 1e-6
    narrow = ofa.Network.create(config, config.space(part))
    assert set(narrow.declared()) <= set(wider.declared())


def test_calibration_sets_the_statistics_of_the_subnet_alone(family):
    net, x = random_net(family), images(6)
    arch = some(net, 1)[2].canonical()
    before, alone = net.arrays(), net.extract(arch)
    net.calibrate(x, arch, batch_size=6)
    statistics = {}
    y, = alone.forward(nn.Variable.from_numpy_array(x), [alone.space.largest()],
                       dataclasses.replace(alone.mode(batch_stat=True), statistics=statistics))
    y.forward()
    extracted = net.extract(arch).arrays()
    for name, (mean, variance) in statistics.items():
        assert relative(extracted[f"{name}/mean"].ravel(), mean.d.ravel()) < 1e-4, name
        assert relative(extracted[f"{name}/var"].ravel(), variance.d.ravel()) < 1e-4, name
    assert relative(net.logits(x, arch), y.d) < 1e-3
    for name, array in net.arrays().items():
        if name.endswith(("mean", "var")) and name in extracted:
            width = extracted[name].shape[1]
            assert np.array_equal(array[:, width:], before[name][:, width:]), name
        else:
            assert np.array_equal(array, before[name]), name


def test_files_come_back(family, tmp_path):
    net = random_net(family)
    arch = some(net, 1)[2]
    net.save(tmp_path / "supernet.h5")
    net.extract(arch).save(tmp_path / "subnet.h5")
    again, alone = ofa.load(tmp_path / "supernet.h5"), ofa.load(tmp_path / "subnet.h5")
    assert again.config == net.config and again.space == net.space
    assert np.array_equal(again.logits(images(), arch), net.logits(images(), arch))
    assert alone.space == Space.of(arch)
    assert np.array_equal(alone.logits(images()), net.extract(arch).logits(images()))


def test_training_reaches_every_parameter(family):
    """Of the largest subnet all; of a smaller one as many as its cost says or more, and none outside."""
    net = random_net(family, kernels="nnabla")
    for arch in some(net, 1):
        for variable in net.variables().values():
            variable.grad.zero()
        y, = net.forward(nn.Variable.from_numpy_array(images(4)), [arch], net.mode(batch_stat=True))
        y.forward(clear_no_need_grad=True)
        y.backward(np.random.default_rng(5).standard_normal(y.shape), clear_buffer=True)
        moved = {n for n, v in net.variables().items() if net.declared()[n].trained and np.abs(v.g).max() > 0}
        used = {n for layer in net.layers(arch) for n, p in parameters(layer).items() if p.trained}
        assert moved <= used, arch
        if arch == net.space.largest():
            idle = {n for n in used if n.endswith(("to5", "to3"))}  # of smaller kernels
            assert used - moved <= idle | {n for n in used if "/skip/" in n}


STAGES = {"xception": ["K357_E1_D3", "K357_E1_D123", "K357_E0.8+1_D123", "K357_E0.6+0.8+1_D123"],
          "resnet20": ["C16_C32_C64", "C8-16_C16-32_C32-64", "C4-16_C4-32_C4-64"],
          "mobilenetv3": ["K7_E6_D4", "K357_E6_D4", "K357_E6_D34", "K357_E6_D234", "K357_E46_D234",
                          "K357_E346_D234"],
          "ofa_resnet50": ["D2_E0.35_W1", "D012_E0.35_W1", "D012_E0.25+0.35_W1", "D012_E0.2+0.25+0.35_W1",
                           "D012_E0.2+0.25+0.35_W0.8+1", "D012_E0.2+0.25+0.35_W0.65+0.8+1"]}
STAGES["proxylessnas"] = STAGES["mobilenetv3"]


@pytest.mark.parametrize("family, stage", [(f, i) for f in STAGES for i in range(len(STAGES[f]))])
def test_sorting_at_any_stage_keeps_every_logit(family, stage):
    """Of every subnet of the stage before, which is trained: sorted, then widened, then sorted again."""
    space = STAGES[family][stage]
    net = random_net(family, space)
    expected = {arch: net.logits(images(), arch) for arch in some(net, 5)}
    before = net.arrays()
    net.sort_channels()
    assert any(not np.array_equal(array, before[name]) for name, array in net.arrays().items())
    wider = net.widened(STAGES[family][min(stage + 1, len(STAGES[family]) - 1)])
    for sorted_net in (net, wider):
        for arch, logits in expected.items():
            assert relative(sorted_net.logits(images(), arch), logits) < 1e-5, arch
    wider.sort_channels()  # within the segments of all spaces' widths
    for arch, logits in expected.items():
        assert relative(wider.logits(images(), arch), logits) < 1e-5, arch


@pytest.mark.parametrize("family", STAGES)
def test_sorted_channels_are_in_order_within_their_segments(family):
    net = random_net(family, STAGES[family][-2])
    net.sort_channels()
    groups, arrays = sorting.groups(net.layers()), net.arrays()
    assert groups
    for group in groups:
        importance = sum(layer.importance(arrays) for layer in group.consumers)
        for start, stop in zip((0, *group.segments), group.segments):
            assert (np.diff(importance[start:stop]) <= 1e-5 * importance.max()).all()
    again = net.arrays()
    net.sort_channels()
    assert all(np.array_equal(array, again[name]) for name, array in net.arrays().items())
