"""Lookahead against the recursion; its slow weights are the result, a resumed run ends with the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.experiment.run import Run
from nnabla_ofa.system import container
from nnabla_ofa.system.comm import Single
from nnabla_ofa.training.lookahead import Lookahead
from nnabla_ofa.training.settings import Train
from nnabla_ofa.training.step import Stepper

TINY = Path(__file__).resolve().parents[1] / "tiny.yaml"
CONFIG = ofa.Xception(classes=5, widths=(8,) * 8, middle_blocks=2, stem_stride=1)
FULL = "K7_E1_D3"


@pytest.mark.parametrize("power", [0, 3])
def test_slow_and_fast_weights_are_those_of_the_recursion(power):
    """Between two meetings the trained weights go on alone."""
    net = ofa.Network.create(CONFIG, FULL)
    look = Lookahead(net, Train(lookahead=3, lookahead_rate=0.3, lookahead_power=power))
    draw, name = np.random.default_rng(0), "middle/0/1/pointwise/W"
    name = next(n for n in net.arrays() if n.startswith("middle/0") and n.endswith("W"))
    fast = slow = net.arrays()[name].astype(np.float64)
    for update in range(1, 8):
        change = draw.standard_normal(fast.shape)
        net.set_arrays({**net.arrays(), name: net.arrays()[name] + change})
        fast = fast + change
        look.update(update / 7)
        if update % 3 == 0:
            rate = 1 - 0.7 * (update / 7) ** power
            fast = slow = slow + rate * (fast - slow)
        np.testing.assert_allclose(net.arrays()[name], fast, atol=1e-5)
        with look.in_place():
            np.testing.assert_allclose(net.arrays()[name], slow, atol=1e-5)


def test_with_rate_one_nothing_changes(tmp_path):
    """Slow weights that go all the way, after every update, are the trained ones."""
    def trained(folder, *overrides):
        few = ("data.train_images=256", "data.held_out=0.05", *overrides)
        run = Run(Lab.open(load_recipe(TINY, few), 0, Single()), tmp_path / folder, "test")
        run.up_to(FULL)
        return container.load(run.weights(run.recipe.stages[0]))[0]
    plain, same, other = (trained("plain"), trained("same", "train.lookahead=1", "train.lookahead_rate=1"),
                          trained("other", "train.lookahead=1"))
    for name, array in plain.items():
        np.testing.assert_allclose(same[name], array, rtol=1e-3, atol=1e-4, err_msg=name)
    assert any(np.abs(other[name] - plain[name]).max() > 1e-3 for name in plain)


def test_checkpoints_hold_both_and_the_result_is_slow(tmp_path, monkeypatch):
    after, step = [], Stepper.step

    def stepping(self, *arguments):
        found = step(self, *arguments)
        after.append(self.net.arrays())
        return found
    monkeypatch.setattr(Stepper, "step", stepping)
    run = Run(Lab.open(load_recipe(TINY, (
        "data.train_images=256", "data.held_out=0.05", "train.lookahead=3")), 0, Single()), tmp_path, "test")
    run.up_to(FULL)
    arrays, _ = container.load(tmp_path / FULL / "checkpoint-0002.h5")
    result = container.load(tmp_path / FULL / "weights.h5")[0]
    name = "stem/0/conv/W"
    assert int(arrays["lookahead_updates"][0]) == len(after) == 4
    assert np.array_equal(arrays[f"net/{name}"], after[-1][name])  # one update after the meeting
    assert np.array_equal(arrays[f"slow/{name}"], result[name])
    assert not np.array_equal(result[name], after[-1][name])


@pytest.mark.parametrize("override, message", [
    ("train.lookahead=0", "train.lookahead=0 is not 1 or more"),
    ("train.lookahead_rate=0", r"train.lookahead_rate=0.0 is not in \(0, 1\]"),
    ("train.lookahead_power=-1", "train.lookahead_power=-1.0 is not 0 or more")])
def test_wrong_values_are_one_error(override, message):
    with pytest.raises(ofa.OfaError, match=message):
        load_recipe(TINY, [override])
    with pytest.raises(ofa.OfaError, match="without train.ema"):
        load_recipe(TINY, ["train.lookahead=5", "train.ema=0.9"])
