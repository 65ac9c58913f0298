"""The moving average of the weights, against the recursion; resumed and shared runs are the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from test_fixed import SMALL, run, small  # noqa: F401

import nnabla_ofa as ofa
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.experiment.run import Run
from nnabla_ofa.system import container
from nnabla_ofa.system.comm import Single
from nnabla_ofa.training.average import Average
from nnabla_ofa.training.step import Stepper

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/tiny.yaml"
WHOLE = "K357_E0.6+0.8+1_D123"


def recursion(first, weights, decay):
    """The average after each of the updates."""
    found = [first.astype(np.float64)]
    for t, w in enumerate(weights, 1):
        own = min(decay, (1 + t) / (10 + t))
        found.append(own * found[-1] + (1 - own) * w)
    return found[1:]


def close(a, b):
    return np.abs(a - b).max() <= 2e-6 * max(1, np.abs(b).max())


@pytest.fixture
def seen(monkeypatch):
    """Weights before training and after each update; those that validation saw."""
    after, validated, step, judge = [], [], Stepper.step, Lab.judge

    def stepping(self, *arguments):
        if not after:
            after.append(self.net.arrays())
        found = step(self, *arguments)
        after.append(self.net.arrays())
        return found

    def judging(self, net, archs, size, on="test"):
        if on == "valid":
            validated.append(net.arrays())
        return judge(self, net, archs, size, on)
    monkeypatch.setattr(Stepper, "step", stepping)
    monkeypatch.setattr(Lab, "judge", judging)
    return after, validated


@pytest.mark.parametrize("running", [False, True])
def test_results_hold_the_average_and_checkpoints_both(tmp_path, seen, running, small):  # noqa: F811
    """Validation, best.h5 and weights.h5; BN's running statistics are averaged where they serve."""
    run(tmp_path, "train.ema=0.6", f"train.running_statistics={str(running).lower()}").up_to(SMALL)
    (first, *after), validated = seen
    arrays, meta = container.load(tmp_path / SMALL / "checkpoint-0002.h5")
    weights, best = (ofa.load(tmp_path / SMALL / f"{name}.h5") for name in ("weights", "best"))
    scores = [entry["valid_top1"] for entry in meta["history"]]
    epoch = len(after) // 2 * (1 + (scores[1] >= scores[0]))
    for name, parameter in weights.declared().items():
        if parameter.trained or running:
            expected = recursion(first[name], [a[name] for a in after], 0.6)
            assert [len(after), len(validated)] == [4, 2]
            assert close(weights.arrays()[name], expected[-1]), name
            assert close(best.arrays()[name], expected[epoch - 1]), name
            assert all(close(v[name], e) for v, e in zip(validated, expected[1::2])), name
            assert np.array_equal(arrays[f"average/{name}"], weights.arrays()[name])
        assert np.array_equal(arrays[f"net/{name}"], after[-1][name])
    assert int(arrays["averaged_updates"][0]) == 4


def test_an_update_counts_for_arrays_that_it_did_not_touch():
    net = ofa.Network.create(ofa.Xception(classes=5, widths=(8,) * 8, middle_blocks=2, stem_stride=1), WHOLE)
    average, first = Average(net, 0.99), net.arrays()
    moved = {name: array + name.endswith("W") for name, array in first.items()}
    net.set_arrays(moved)
    average.update()
    net.set_arrays(first)
    average.update()
    with average.in_place():
        found = net.arrays()
    for name, parameter in net.declared().items():
        expected = recursion(first[name], [moved[name], first[name]], 0.99)[-1]
        assert close(found[name], expected if parameter.trained else first[name])
        assert np.array_equal(net.arrays()[name], first[name])


# Runs --------------------------------------------------------------------------------------------

SETTINGS = {
    "nesterov": ("train.nesterov=true", "train.schedule=steps", "train.decay_all=true",
                 "stages.fullnet.steps=[{epoch: 0.3, lr: 0.02}]", "train.label_smoothing_to=others"),
    "rmsprop": ("train.optimiser=rmsprop", "train.schedule=linear", "train.lr_end=0.001",
                "stages.fullnet.lr=0.01"),
    "adamw": ("train.optimiser=adamw", "train.eps=0.01", "train.schedule=polynomial", "train.lr_batch=640",
              "train.warmup_epochs=0.5", "stages.fullnet.lr=0.003")}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(tmp_path, killed_twice, name):
    """Killed within the first epoch and within the second one."""
    def tiny(folder):
        overrides = (*SETTINGS[name], "train.ema=0.9", "train.checkpoint_minutes=1e-9",
                     "data.train_images=256", "data.held_out=0.05")
        return Run(Lab.open(load_recipe(TINY, overrides), 0, Single()), tmp_path / folder, "test")

    tiny("whole").up_to("K7_E1_D3")
    killed_twice(lambda: tiny("killed").up_to("K7_E1_D3"))
    assert list((tmp_path / "killed/K7_E1_D3").glob("checkpoint-0001-step-*.h5"))
    tiny("killed").up_to("K7_E1_D3")
    for file in ("checkpoint-0002.h5", "best.h5", "weights.h5"):
        (a, _), (b, _) = (container.load(tmp_path / run / "K7_E1_D3" / file) for run in ("whole", "killed"))
        assert a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a), file


def test_any_number_of_ranks_trains_alike(tmp_path, mpirun):
    commands = []
    for overrides in SETTINGS.values():
        command = ["runners/train.py", "--recipe", str(TINY), "--search-space", "K7_E1_D3"]
        for override in ("train.global_batch=64", "train.batch_size=16", "train.ema=0.9",
                         "stages.fullnet.epochs=1", "data.train_images=64", "data.held_out=0.05", *overrides):
            command += ["--set", override]
        commands.append(command)
    for ranks in (1, 2):
        argv = [[*command, "--output", str(tmp_path / f"{name}{ranks}")]
                for name, command in zip(SETTINGS, commands)]
        mpirun(ranks, ["-c", "import runpy, sys\n" f"for sys.argv in {argv}:\n"
                       "    runpy.run_path(sys.argv[0], run_name='__main__')"])
    for name in SETTINGS:
        one, two = (container.load(tmp_path / f"{name}{ranks}/K7_E1_D3/checkpoint-0001.h5")[0]
                    for ranks in (1, 2))
        assert one.keys() == two.keys() and any(n.startswith("average/") for n in one)
        for n, array in one.items():
            limit = 1e-2 * max(np.abs(array).max(), 1e-3)  # updates of a tiny network amplify rounding
            assert np.abs(array - two[n]).max() <= limit, (name, n)


def test_an_average_may_begin_in_the_middle(tmp_path, small):  # noqa: F811
    """Of the weights that the checkpoint has, once the change is accepted."""
    run(tmp_path).up_to(SMALL)
    for name in ("weights.h5", "checkpoint-0002.h5"):
        (tmp_path / SMALL / name).unlink()
    with pytest.raises(ofa.OfaError, match="train.ema: None -> 0.9"):
        run(tmp_path, "train.ema=0.9").up_to(SMALL)
    shutil.copytree(tmp_path, tmp_path / "copy")
    changed = run(tmp_path / "copy", "train.ema=0.9")
    Run(changed.lab, changed.output, "test", accept_changes=True).up_to(SMALL)
    arrays, _ = container.load(tmp_path / "copy" / SMALL / "checkpoint-0002.h5")
    assert int(arrays["averaged_updates"][0]) == 2
