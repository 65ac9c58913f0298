"""Fixed networks: the same function as the reference, exact counts, one space, one stage."""

from __future__ import annotations

import dataclasses
import importlib.util
from functools import partial
from pathlib import Path

import nnabla as nn
import numpy as np
import pytest
import zoo_reference as reference

import nnabla_ofa as ofa
from nnabla_ofa import kernels
from nnabla_ofa.data import Augment
from nnabla_ofa.evaluation import calibrate
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.parse import from_settings
from nnabla_ofa.experiment.run import Run
from nnabla_ofa.formats import export
from nnabla_ofa.layers import functional
from nnabla_ofa.layers.attention import self_attention
from nnabla_ofa.layers.conv import Conv
from nnabla_ofa.model.fixed import graph_cost
from nnabla_ofa.nets import registry
from nnabla_ofa.nets.zoo import ZOO, Entry, resnet_cifar
from nnabla_ofa.system.comm import Single
from nnabla_ofa.training.checkpoints import checkpoints

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
SMALL, MIXED = "small_resnet", "mixed"
WAYS = [pytest.param(way, marks=pytest.mark.skipif(
    way == "fast" and kernels.unavailable_reason() is not None,
    reason=str(kernels.unavailable_reason()))) for way in ("nnabla", "fast")]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A network of seconds: one block in each of the first two stages."""
    monkeypatch.setitem(ZOO, SMALL, Entry(partial(resnet_cifar.resnet, blocks=(1, 1))))
    monkeypatch.setitem(ZOO, MIXED, Entry(mixed))


def mixed(x, classes, mode):
    """Convolutions with BN, with a bias, in groups, after and beside every other kind of layer."""
    y = functional.conv(functional.batch_norm(x, "norm", mode), "0", 8, 3, mode)
    y = functional.conv(y, "large", 8, 5, mode)
    y = functional.conv(y, "1", 8, 3, mode, groups=8, bias=True, act="swish")
    y = functional.shuffle(functional.max_pool(y, 2, mode), 2, mode)
    gate = functional.dense(functional.global_mean(y, mode), "gate", 8, mode, act="sigmoid")
    y = functional.conv(functional.scale(y, gate, mode), "2", 8, 3, mode, residual=y)
    return functional.classifier(functional.concat(y, *functional.split(y, (5, 3), mode), mode=mode),
                                 "classifier", classes, mode)


def random_net(family=SMALL, classes=5, way="nnabla"):
    """A network whose BN parameters and statistics are all random."""
    net = ofa.FixedNetwork.create(ofa.Fixed(family, classes=classes))
    rng, arrays = np.random.default_rng(1), net.arrays()
    for name, parameter in net.declared().items():
        if name.endswith("gamma") or parameter.role == "variance":
            arrays[name] = rng.uniform(0.5, 1.5, parameter.shape)
        elif name.endswith(("beta", "/b")) or parameter.role == "mean":
            arrays[name] = 0.3 * rng.standard_normal(parameter.shape)
    net.set_arrays(arrays)
    net.kernels = way
    return net


def images(count=3, side=16):
    return np.random.default_rng(2).standard_normal((count, 3, side, side)).astype(np.float32)


def relative(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


# The function ------------------------------------------------------------------------------------

@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("gain", [1, 2])
def test_resnet18_computes_the_logits_of_the_reference(gain, way):
    net = ofa.FixedNetwork(ofa.Fixed("resnet18_cifar", classes=100), ofa.Space((), "resnet18_cifar"))
    net.set_arrays(reference.formula(net, "pytorch-cifar100/resnet18", gain))
    net.kernels = way
    expected = np.load(FIXTURES / "resnet18_cifar100_logits.npz")[f"gain{gain}"]
    assert relative(net.logits(reference.images(32)), expected) < 1e-5


@pytest.mark.parametrize("name", ["XP1 7x7 3", "XP0.6 3x3 1", "XP0.8 5x5 2"])
@pytest.mark.parametrize("side", [32, 37])
def test_the_graphs_count_is_that_of_elastic_layers(name, side):
    config = ofa.Xception(classes=4, width_mult=0.05)
    alone = ofa.Network.create(config, name)
    alone.kernels = "nnabla"
    y, = alone.forward(nn.Variable((1, 3, side, side)), [alone.space.largest()], alone.mode(batch_stat=False))
    counted, cost = graph_cost(y), alone.cost(image_size=side)
    assert (counted.macs, counted.activations) == (cost.macs, cost.activations)


@pytest.mark.skipif(kernels.unavailable_reason() is not None, reason=str(kernels.unavailable_reason()))
@pytest.mark.parametrize("family", [SMALL, MIXED])
@pytest.mark.parametrize("batch_stat", [False, True])
def test_fused_functions_compute_the_same(batch_stat, family):
    found = []
    for way in ("fast", "nnabla"):
        net = random_net(family, way=way)
        y, = net.forward(nn.Variable.from_numpy_array(images()), [net.arch(None)], net.mode(batch_stat))
        y.forward()
        found.append(y.d.copy())
    assert relative(*found) < 1e-5


# What a network can ------------------------------------------------------------------------------

def test_its_space_is_itself():
    net = random_net()
    assert str(net.space) == str(net.arch(None)) == net.arch(SMALL).short() == SMALL
    assert net.space.single() and net.space.distinct_count() == 1
    assert net.space.archs(net.space.indices([net.arch(None)])) == [net.arch(None)]
    for wrong in ("XP1 7x7 3", "", "resnet18_cifar"):
        with pytest.raises(ofa.OfaError, match="fixed network"):
            net.arch(wrong)
    with pytest.raises(ofa.OfaError, match="net.family='resnet19' is not one of"):
        registry.config_class("resnet19")


def test_new_weights_depend_on_seed_and_name_alone():
    same, again, other = (ofa.create(ofa.Fixed(SMALL), SMALL, seed).arrays() for seed in (3, 3, 4))
    assert all(np.array_equal(array, again[name]) for name, array in same.items())
    assert not np.array_equal(same["stem/conv/W"], other["stem/conv/W"])


@pytest.mark.parametrize("family", [SMALL, MIXED])
def test_files_copies_and_folded_copies_compute_the_same(family, tmp_path):
    net = random_net(family)
    expected = net.logits(images())
    net.info = {"mean": [0.5] * 3}
    net.save(tmp_path / "net.h5")
    loaded = ofa.load(tmp_path / "net.h5")
    loaded.kernels = "nnabla"
    assert loaded.info == net.info and np.array_equal(loaded.logits(images()), expected)
    copy = net.extract()
    copy.variables()["classifier/affine/W"].d = 0
    assert np.array_equal(net.logits(images()), expected)
    folded = net.fold_bn()
    assert relative(folded.logits(images()), expected) < 1e-5
    assert not [name for name in folded.arrays() if "/bn/" in name and not name.startswith("norm/")]


@pytest.mark.parametrize("way", WAYS)
def test_calibrated_statistics_are_those_of_the_batches(way):
    net, x, statistics = random_net(way=way), images(6), {}
    mode = dataclasses.replace(net.mode(batch_stat=True), statistics=statistics)
    y, = net.forward(nn.Variable.from_numpy_array(x), [net.arch(None)], mode)
    y.forward()
    calibrate(net, [(0, x, None)], 1)
    found = net.arrays()
    assert len(statistics) == 6
    for name, (mean, variance) in statistics.items():
        assert relative(found[f"{name}/mean"].ravel(), mean.d.ravel()) < 1e-5
        assert relative(found[f"{name}/var"].ravel(), variance.d.ravel()) < 1e-4


def test_calibration_of_a_layer_that_serves_twice_pools_what_it_sees(monkeypatch):
    """... and leaves out layers that are only stored."""
    def build(x, classes, mode):
        functional.idle(Conv("never", 3, 2, (1, 1)), mode)
        once = functional.conv(x, "same", 3, 1, mode)
        return functional.classifier(functional.conv(once, "same", 3, 1, mode), "classifier", classes, mode)

    monkeypatch.setitem(ZOO, "twice", Entry(build))
    net = random_net("twice")
    x, weights = images(), net.arrays()
    calibrate(net, [(0, x, None)], 1)
    seen = []
    for _ in range(2):
        seen.append(np.einsum("oi,nihw->nohw", weights["same/conv/W"][:, :, 0, 0].astype(np.float64), x))
        mean, std = seen[-1].mean((0, 2, 3), keepdims=True), seen[-1].std((0, 2, 3), keepdims=True)
        x = np.maximum(weights["same/bn/gamma"] * (seen[-1] - mean) / std + weights["same/bn/beta"], 0)
    seen = np.concatenate(seen)
    assert relative(net.arrays()["same/bn/mean"], seen.mean((0, 2, 3), keepdims=True)) < 1e-4
    assert relative(net.arrays()["same/bn/var"], seen.var((0, 2, 3), keepdims=True)) < 1e-4
    assert all(np.array_equal(net.arrays()[name], weights[name]) for name in weights if "never" in name)


def test_a_network_without_bn_calibrates_to_itself(monkeypatch):
    monkeypatch.setitem(ZOO, "plain", Entry(
        lambda x, classes, mode: functional.classifier(x, "classifier", classes, mode)))
    net = random_net("plain")
    before = net.arrays()
    calibrate(net, [(0, images(), None)], 1)
    assert all(np.array_equal(array, before[name]) for name, array in net.arrays().items())


FORMS = ["nnp", pytest.param("onnx", marks=pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")),
    reason="requirements-onnx.txt is not installed"))]


def everything(x, classes, mode):
    """What an export could get wrong: padded pools, parts, reshapes, broadcasts, attention."""
    y = functional.conv(x, "stem", 12, 3, mode, act="swish")
    y = y + functional.learned("places", (12, 16, 16), mode)
    y = self_attention(functional.layer_norm(y, "norm", mode), 2, mode)
    y = functional.concat(*functional.split(y, (1, 3), mode)[::-1], y, mode=mode)
    y = functional.shuffle(y, 2, mode) + functional.shift(y, mode)
    y = functional.average_pool(y, 3, mode, 2, 1) - functional.max_pool(y, 3, mode, 2, 1)
    y = functional.scale(y, functional.global_mean(y, mode), mode)
    y = functional.crop(functional.upsample(functional.subsample(y, 3, mode), 2, mode), 5, 4, mode)
    y = functional.conv(y, "gelu", 4, 1, mode, act="gelu", bn=False)
    return functional.dense(functional.flatten(y, mode), "classifier", classes, mode, scores=True)


@pytest.mark.parametrize("batch_size", [None, 1])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("build", [None, everything])
def test_an_exported_file_computes_the_same(build, form, batch_size, tmp_path, monkeypatch):
    if build is not None:
        monkeypatch.setitem(ZOO, SMALL, Entry(build, image_size=16, exact=True))
    net = random_net()
    about = export.describe(net, "abcde", Augment(), 16, fold=True, batch_size=batch_size)
    assert export.export(net, tmp_path / f"net.{form}", form, about, images()) < 1e-4
    assert about["arch"] == SMALL and about["net"]["family"] == SMALL


# One stage ---------------------------------------------------------------------------------------

def run(output, *overrides):
    recipe = from_settings({
        "name": "fixed", "net": {"family": SMALL},
        "data": {"source": "digits", "image_sizes": [8], "valid_sizes": [8], "held_out": 0.5, "workers": 0,
                 "train_images": 64, "calibration_images": 32,
                 "augment": {"crop": "padded", "pad": 1, "flip": False, "valid_resize": 1.0}},
        "train": {"batch_size": 16, "global_batch": 32}, "stages": [{"epochs": 2, "lr": 0.05}]}, overrides)
    return Run(Lab.open(recipe, 0, Single()), output, "test")


def test_a_resumed_stage_ends_with_the_bits_of_an_uninterrupted_one(tmp_path):
    for folder in ("whole", "resumed"):
        run(tmp_path / folder).up_to(SMALL)
    stage = tmp_path / "resumed" / SMALL
    (stage / "weights.h5").unlink()
    (stage / "checkpoint-0002.h5").unlink()
    run(tmp_path / "resumed").up_to(SMALL)
    assert [epoch for epoch, _ in checkpoints(stage)] == [2, 1]
    one, other = (ofa.load(tmp_path / folder / SMALL / "weights.h5").arrays()
                  for folder in ("whole", "resumed"))
    assert all(np.array_equal(array, other[name]) for name, array in one.items())


def test_running_statistics_follow_the_batches(tmp_path):
    """mean <- decay mean + (1 - decay) batch's; they, not calibration, serve the stage's result."""
    found = run(tmp_path, "train.running_statistics=true", "stages.small_resnet.epochs=1", "net.bn_decay=0.5")
    found.up_to(SMALL)
    net = ofa.load(tmp_path / SMALL / "weights.h5")
    initial = ofa.create(net.config, SMALL, 0).arrays()
    means = [name for name, p in net.declared().items() if p.role == "mean"]
    assert all(not np.array_equal(net.arrays()[name], initial[name]) for name in means)
    best = ofa.load(tmp_path / SMALL / "best.h5")
    assert all(np.array_equal(net.arrays()[name], best.arrays()[name]) for name in net.declared())
    with pytest.raises(ofa.OfaError, match="running_statistics"):
        from_settings({"name": "elastic", "net": {}, "data": {}, "train": {"running_statistics": True},
                       "stages": [{"name": "all", "space": "K357_E1_D3", "epochs": 1, "lr": 0.1}]})


def test_a_stage_of_a_fixed_network_has_its_name():
    stage, = run(Path("unused")).recipe.stages
    assert (stage.name, stage.space) == (SMALL, SMALL)
