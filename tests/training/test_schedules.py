"""Learning rates and smoothed labels, against what a table or a line of NumPy says."""

from __future__ import annotations

import numpy as np
import pytest

from nnabla_ofa.errors import OfaError
from nnabla_ofa.experiment.parse import from_settings, load_recipe
from nnabla_ofa.training.losses import smooth_targets
from nnabla_ofa.training.schedule import learning_rate
from nnabla_ofa.training.settings import LrStep, Stage, Train


def rates(epochs, places, lr=0.1, steps=(), **settings):
    stage = Stage("s", "s", epochs, lr, steps=steps)
    return [learning_rate(stage, Train(**settings), place) for place in places]


def test_linear_with_a_warm_up_is_that_of_mindspores_xception():
    """lr_init to lr_max in one epoch, then to lr_end at epoch 250; a rate a step."""
    epochs, steps = 250, 7
    total, warm = epochs * steps, steps
    init, most, end = 0.00004, 0.4, 0.00004
    expected = [init + (most - init) * i / warm if i < warm else
                most - (most - end) * (i - warm) / (total - warm) for i in range(total + 1)]
    found = rates(epochs, np.arange(total + 1) / steps, most, schedule="linear", warmup_epochs=1,
                  lr_init=init, lr_end=end)
    assert np.allclose(found, expected, rtol=1e-12) and found[0] == init and np.isclose(found[-1], end)


def test_polynomial():
    places = np.array([2, 4, 6, 9, 10.0])
    expected = 0.01 + 0.09 * (1 - (places - 2) / 8) ** 1.5
    found = rates(10, places, schedule="polynomial", power=1.5, warmup_epochs=2, lr_end=0.01)
    assert np.allclose(found, expected, rtol=1e-12)
    assert rates(10, places, schedule="polynomial", power=1) == rates(10, places, schedule="linear")


def test_cosine_down_to_an_end():
    found = rates(100, [0, 25, 50, 100], schedule="cosine", lr_end=0.02)
    assert np.allclose(found, [0.1, 0.06 + 0.04 / np.sqrt(2), 0.06, 0.02])


def test_steps_are_the_rates_of_the_cifar100_table():
    recipe = load_recipe("zoo_cifar100", ["train.warmup_epochs=0"])
    stage, = recipe.stages
    expected = [0.1] * 60 + [0.02] * 60 + [0.004] * 40 + [0.0008] * 40
    assert [learning_rate(stage, recipe.train, epoch) for epoch in range(stage.epochs)] == expected
    assert learning_rate(stage, recipe.train, 59.999) == 0.1
    warm = load_recipe("zoo_cifar100")
    assert np.isclose(learning_rate(stage, warm.train, 0.5), 0.05, rtol=0.01)
    assert from_settings(warm.settings()) == warm


@pytest.mark.parametrize("schedule", ["exponential", "cosine", "linear", "polynomial", "steps"])
def test_every_schedule_warms_up_and_is_scaled(schedule):
    steps = (LrStep(5, 0.01),) if schedule == "steps" else ()
    own = dict(lr=0.1, steps=steps, schedule=schedule, warmup_epochs=4, lr_init=0.02)
    found = rates(10, [0, 1, 2, 3], **own)
    assert np.allclose(found, [0.02, 0.04, 0.06, 0.08], rtol=1e-12)
    places = [0, 1, 5, 9]
    scaled = rates(10, places, **own, batch_size=64, global_batch=1024, lr_batch=128)
    assert np.allclose(scaled, 8 * np.array(rates(10, places, **own)), rtol=1e-12)


def before_these_keys(stage, settings, epoch):
    """The rate as recipes without lr_init, lr_end and lr_batch were trained."""
    if epoch < settings.warmup_epochs:
        return stage.lr * (epoch + 1e-3) / settings.warmup_epochs
    if settings.schedule == "cosine":
        return stage.lr * 0.5 * (1 + np.cos(np.pi * epoch / stage.epochs))
    return stage.lr * settings.lr_decay ** int(epoch // settings.decay_epochs)


@pytest.mark.parametrize("schedule", ["exponential", "cosine"])
def test_older_recipes_train_with_the_same_bits(schedule):
    stage, settings = Stage("s", "s", 7, 0.045), Train(schedule=schedule, warmup_epochs=0.5)
    places = np.arange(0, 7, 0.01)
    assert all(learning_rate(stage, settings, e) == before_these_keys(stage, settings, e) for e in places)


@pytest.mark.parametrize("override, complaint", [
    ("train.schedule=square", "one of exponential, cosine, linear, polynomial, steps"),
    ("train.lr_end=-0.1", "0 or more"), ("train.lr_init=-1", "0 or more"),
    ("train.power=0", "positive"), ("train.lr_batch=0", "1 or more"),
    ("train.loss_scale=1000", "power of two"), ("train.ema=1", r"in \(0, 1\)"),
    ("train.label_smoothing_to=none", "all, others"), ("train.optimiser=adam", "sgd, rmsprop, adamw"),
    ("train.betas=[0.9,1]", r"in \[0, 1\)"), ("train.betas=[0.9]", "2 values"),
    ("stages.fullnet.steps=[{epoch: 1, lr: 0.1}]", "choose train.schedule=steps"),
    ("stages.fullnet.steps=[{epoch: 2, lr: 0.1}, {epoch: 1, lr: 0.1}]", "ascending"),
    ("stages.fullnet.steps=[{epoch: 2}]", r"stages\[0\].steps\[0\].lr is missing"),
    ("stages.fullnet.finished_epochs=8", "below stages.fullnet.epochs=8")])
def test_bad_values_are_named(override, complaint):
    with pytest.raises(OfaError, match=complaint):
        load_recipe("xception_digits", ["stages.fullnet.epochs=8", override])


@pytest.mark.parametrize("overrides, complaint", [
    (["train.schedule=exponential", "train.lr_end=0.1"], "schedule=exponential, which has no end"),
    (["train.optimiser=adamw", "train.nesterov=true"], "possible with train.optimiser=adamw"),
    (["train.distill=0", "train.teacher=a.h5"], "possible with train.distill=0")])
def test_settings_that_contradict_each_other(overrides, complaint):
    with pytest.raises(OfaError, match=complaint):
        load_recipe("xception_digits", overrides)


# Smoothed labels ---------------------------------------------------------------------------------

def test_smoothing_to_all_and_to_the_others():
    labels = np.array([2, 0])
    to_all = [[.025, .025, .925, .025], [.925, .025, .025, .025]]
    others = [[.1 / 3, .1 / 3, .9, .1 / 3], [.9, .1 / 3, .1 / 3, .1 / 3]]
    assert np.allclose(smooth_targets(labels, 4, 0.1, "all"), to_all)
    assert np.allclose(smooth_targets(labels, 4, 0.1, "others"), others)
    mixed = np.array([[0, 0, 0.3, 0.7]], np.float32)
    expected = 0.3 * smooth_targets(np.array([2]), 4, 0.1, "others") + 0.7 * smooth_targets(
        np.array([3]), 4, 0.1, "others")
    assert np.allclose(smooth_targets(mixed, 4, 0.1, "others"), expected)
    assert smooth_targets(mixed, 4, 0.0, "others").tolist() == mixed.tolist()
