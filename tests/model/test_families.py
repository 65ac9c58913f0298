"""What every elastic family gives for its layers alone: extraction, sorting, calibration, files, search."""

import dataclasses

import nnabla as nn
import numpy as np
import pytest
from elastic_nets import FAMILIES, images, random_net, relative, some

import nnabla_ofa as ofa
from nnabla_ofa.layers import parameters
from nnabla_ofa.model import Frozen
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
        # NumPy and NNabla multiply kernels by their matrices in other orders, and 20 blocks amplify that.
        assert relative(alone.logits(images()), expected) < 3e-5, arch
        assert relative(alone.fold_bn().logits(images()), expected) < 3e-5, arch
        assert np.array_equal(Frozen(alone)(images()), alone.logits(images()))
        assert alone.cost(image_size=20) == net.cost(arch, 20)
        stored = sum(a.size for n, a in alone.arrays().items() if not n.endswith(("mean", "var")))
        assert stored == net.cost(arch, 20).parameters


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
