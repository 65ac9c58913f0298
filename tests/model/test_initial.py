"""What new networks begin with, of elastic families and of the zoo, against what NumPy says."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.experiment.run import Run
from nnabla_ofa.model import create
from nnabla_ofa.model.initial import (
    EPS,
    first_convolution,
    identity_convolutions,
    principal_components,
    whitened,
    with_identity,
    zero_last_bn,
)
from nnabla_ofa.system import container
from nnabla_ofa.system.comm import Single
from nnabla_ofa.training.step import Stepper

TINY = Path(__file__).resolve().parents[1] / "tiny.yaml"
FULL = "K7_E1_D3"


def elastic(recipe, space=None):
    loaded = load_recipe(recipe)
    return create(loaded.net, space or loaded.stages[-1].space, 0)


# The BNs that end a branch, by the families' own description of their blocks.
LAST = {
    "xception_digits": [f"middle/{i}/2/bn/gamma" for i in range(8)],
    "resnet20_cifar10": [f"blocks/{i}/1/bn/gamma" for i in range(9)],
    "resnet50_digits": [f"stages/{i}/{j}/2/bn/gamma" for i, n in enumerate((4, 4, 6, 4)) for j in range(n)]}


@pytest.mark.parametrize("recipe", LAST)
def test_the_last_bn_of_every_branch_of_elastic_networks(recipe):
    found = zero_last_bn(elastic(recipe))
    assert list(found) == LAST[recipe] and not any(array.any() for array in found.values())


@pytest.mark.parametrize("name, count", [
    ("resnet18_cifar", 8), ("resnet50_cifar", 16), ("mobilenetv2_cifar", 14),
    ("stochasticdepth18_cifar100", 8),
    ("preactresnet18_cifar", 0), ("vgg11_cifar", 0), ("seresnet18_cifar100", 0), ("vit_tiny_cifar", 0)])
def test_the_last_bn_of_networks_of_the_zoo(name, count):
    """Branches that end without a BN, or with a ReLU behind it, have none."""
    assert len(zero_last_bn(ofa.create(name))) == count


def test_blocks_begin_as_their_shortcuts():
    """At scale 0 a subnet with one more block in each stage computes what the one without it does."""
    net = elastic("resnet50_digits", "D01_E0.35_W1")
    images = np.random.default_rng(0).standard_normal((2, 3, 24, 24)).astype(np.float32)
    deep, shallow = (net.logits(images, f"D{depth}_E0.35_W1") for depth in (1, 0))
    assert np.abs(deep - shallow).max() > 1e-3 * np.abs(deep).max()
    net.set_arrays({**net.arrays(), **zero_last_bn(net)})
    deep, shallow = (net.logits(images, f"D{depth}_E0.35_W1") for depth in (1, 0))
    np.testing.assert_allclose(deep, shallow, rtol=1e-5, atol=1e-6 * np.abs(deep).max())


def test_identity_convolutions():
    net = elastic("resnet50_digits")
    found, before = identity_convolutions(net), net.arrays()
    assert {n for n in before if n.endswith("conv/W") and before[n].shape[2] == 3} - set(found) == {
        "stem/0/conv/W"}
    weight = found["stem/2/conv/W"]
    outs, ins = weight.shape[:2]
    assert outs == 2 * ins and np.array_equal(weight[ins:], before["stem/2/conv/W"][ins:])
    expected = np.zeros((ins, ins, 3, 3))
    for i in range(ins):
        expected[i, i, 1, 1] = 1
    assert np.array_equal(weight[:ins], expected)
    assert not identity_convolutions(ofa.create("mobilenet_cifar"))  # depthwise and 1x1 ones
    assert not identity_convolutions(ofa.create("resnext29_32x4d_cifar"))  # grouped ones


def test_more_channels_in_than_out():
    weight = with_identity(np.full((2, 3, 3, 3), 5.0))
    assert weight.sum() == 2 and weight[0, 0, 1, 1] == weight[1, 1, 1, 1] == 1


@pytest.mark.parametrize("name, first", [("resnet18_cifar", "stem/conv/W"),
                                         ("vgg11_cifar", "stages/0/0/conv/W")])
def test_the_first_convolution(name, first):
    assert first_convolution(ofa.create(name)) == first


# Whitening ---------------------------------------------------------------------------------------

def pictures(count=20, side=12):
    """Noise whose neighbours and colours depend on each other."""
    x = np.random.default_rng(3).standard_normal((count, 3, side + 1, side + 1))
    x = x[..., 1:] + 0.7 * x[..., :-1]
    x = x[:, :, 1:] - 0.4 * x[:, :, :-1]
    return (x + 0.5 * x[:, ::-1]).astype(np.float32)


@pytest.mark.parametrize("patch", [2, 3])
def test_whitened_patches_have_unit_covariance(patch):
    images = pictures()
    outs = 6 * patch ** 2 + 2
    weight = np.random.default_rng(0).standard_normal((outs, 3, 3, 3)).astype(np.float32)
    found = whitened(weight, images, patch)
    half = 3 * patch ** 2
    assert np.array_equal(found[:2 * half:2], -found[1:2 * half:2])
    np.testing.assert_allclose(found[2 * half:], weight[2 * half:], atol=5e-5)
    # the convolution of a patch is the product with the kernel's own part
    filters = found[:2 * half:2, :, :patch, :patch].reshape(half, -1)
    assert not found[:2 * half, :, patch:].any() and not found[:2 * half, :, :, patch:].any()
    rows = np.array([image[:, i:i + patch, j:j + patch].ravel() for image in images
                     for i in range(13 - patch) for j in range(13 - patch)], np.float64)
    outputs = rows @ filters.T
    covariance = outputs.T @ outputs / len(rows)
    variances = np.linalg.eigvalsh(rows.T @ rows / len(rows))[::-1]
    np.testing.assert_allclose(covariance, np.diag(variances / (variances + EPS)), atol=2e-3)


def test_few_filters_take_the_components_of_the_largest_variance():
    variances, components = principal_components(pictures(), 2)
    assert (np.diff(variances) <= 0).all()
    found = whitened(np.ones((8, 3, 3, 3), np.float32), pictures(), 2)
    expected = components[:4] / np.sqrt(variances[:4, None, None, None] + EPS)
    np.testing.assert_allclose(found[::2, :, :2, :2], expected, atol=1e-4)
    peaks = components.reshape(12, -1)
    assert (peaks[np.arange(12), np.abs(peaks).argmax(1)] > 0).all()


def test_patches_larger_than_the_kernel_are_one_error():
    with pytest.raises(ofa.OfaError, match="train.whitening=4: the first convolution has a kernel of 3x3"):
        whitened(np.zeros((8, 3, 3, 3), np.float32), pictures(), 4)


# Runs --------------------------------------------------------------------------------------------

ALL = ("train.whitening=2", "train.zero_last_bn=true", "train.identity_convolutions=true")


def tiny(output, *overrides, recipe=TINY):
    few = ("data.train_images=256", "data.held_out=0.05")
    return Run(Lab.open(load_recipe(recipe, (*few, *ALL, *overrides)), 0, Single()), output, "test")


def weights(run, space):
    return container.load(run.output / space / "weights.h5")[0]


def test_training_moves_all_but_the_whitened_filters(tmp_path):
    """In the stage that makes them, in the next one, and where a subnet is trained from scratch."""
    run = tiny(tmp_path)
    run.up_to("K357_E1_D3")
    images = run.lab.as_evaluated(2048)
    assert images.shape == (256, 3, 16, 16)
    random = create(replace(run.recipe.net, classes=10), FULL, 0).arrays()
    expected = whitened(random["stem/0/conv/W"], images, 2)
    assert np.array_equal(weights(run, FULL)["stem/0/conv/W"], expected)
    assert np.array_equal(weights(run, "K357_E1_D3")["stem/0/conv/W"], expected)
    moved = weights(run, FULL)
    assert moved["stem/0/bn/gamma"].std() > 0 and moved["middle/0/2/bn/gamma"].any()
    assert not np.array_equal(moved["stem/1/conv/W"], with_identity(random["stem/1/conv/W"]))
    path, _ = run.finetune(ofa.load(run.weights(run.recipe.stages[-1])), "XP1 3x3 3", scratch=True)
    assert np.array_equal(container.load(path)[0]["stem/0/conv/W"], expected)


@pytest.mark.parametrize("kernels", ["nnabla", "fast"])
def test_a_fixed_first_convolution_leaves_the_other_gradients_alone(kernels):
    """The other arrays move as they do where it is trained, too."""
    from nnabla_ofa.kernels import unavailable_reason
    from nnabla_ofa.training.optimiser import Optimiser
    from nnabla_ofa.training.settings import Train
    if kernels == "fast" and unavailable_reason():
        pytest.skip(str(unavailable_reason()))
    images, labels = pictures(8), np.arange(8) % 5
    after = []
    for whitening in (None, 2):
        net = ofa.Network.create(ofa.Xception(classes=5, widths=(8,) * 8, middle_blocks=2, stem_stride=1,
                                              dropout=0.0), FULL)
        net.kernels = kernels
        settings = Train(batch_size=8, global_batch=8, distill=0.0, whitening=whitening)
        stepper = Stepper(net, settings, Optimiser(net, settings), Single())
        stepper.step(iter([(images, labels, None)]), [net.arch(None)], 0.1, 1)
        after.append(net.arrays())
    trained, fixed = after
    assert not np.array_equal(trained.pop("stem/0/conv/W"), fixed.pop("stem/0/conv/W"))
    assert all(np.array_equal(trained[name], fixed[name]) for name in fixed)


@pytest.mark.parametrize("recipe, space", [("tiny.yaml", FULL), ("tiny_resnet20.yaml", None)])
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(tmp_path, killed_twice, recipe, space):
    make = partial(tiny, recipe=TINY.parent / recipe)
    more = ("train.lookahead=2", "train.lookahead_power=3", "train.growing_sizes=0.6",
            "train.checkpoint_minutes=1e-9", "train.nesterov=true", "stages.fullnet.epochs=2")
    whole = make(tmp_path / "whole", *more)
    space = space or whole.recipe.stages[0].space
    whole.up_to(space)
    killed_twice(lambda: make(tmp_path / "killed", *more).up_to(space))
    killed = make(tmp_path / "killed", *more)
    killed.up_to(space)
    a, b = weights(whole, space), weights(killed, space)
    assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
