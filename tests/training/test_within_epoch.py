"""Checkpoints within an epoch, and signals that ask for the end: resumed == uninterrupted, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.experiment.run import Run
from nnabla_ofa.system import container
from nnabla_ofa.system.comm import Single
from nnabla_ofa.system.requeue import STATUS, StopRequested, asked_to_stop
from nnabla_ofa.training import loop
from nnabla_ofa.training.step import Stepper

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/tiny.yaml"
FULL = "K7_E1_D3"
EVERY_STEP = "train.checkpoint_minutes=1e-9"


class Killed(BaseException):
    pass


def tiny(output, *overrides):
    recipe = load_recipe(TINY, ("train.batch_size=16", "train.global_batch=64", *overrides))
    return Run(Lab.open(recipe, 0, Single()), output, "test")


def state(folder):
    arrays, meta = container.load(folder / FULL / "checkpoint-0002.h5")
    for entry in meta["history"]:
        entry.pop("seconds"), entry.pop("images_per_second")
    return arrays, meta["history"]


def equal(one, other):
    (a, history), (b, expected) = state(one), state(other)
    assert history == expected and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    tiny(folder).up_to(FULL)
    return folder


@pytest.mark.parametrize("killed", [(0, 1), (0, 7), (1, 4)])
def test_killed_within_an_epoch(whole, tmp_path, monkeypatch, killed):
    """Loss and top-1 of the epoch, too; the newest state within an epoch is the only one."""
    step, count = Stepper.step, []

    def dying(self, *arguments):
        if len(count) == killed[0] * 11 + killed[1]:
            raise Killed
        count.append(None)
        return step(self, *arguments)
    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", dying)
        with pytest.raises(Killed):
            tiny(tmp_path, EVERY_STEP).up_to(FULL)
    names = {path.name for path in (tmp_path / FULL).glob("checkpoint-*")}
    last = f"checkpoint-000{killed[0]}-step-{killed[1]:06d}.h5"
    assert names == {last, *["checkpoint-0001.h5"] * killed[0]}
    tiny(tmp_path, EVERY_STEP).up_to(FULL)
    equal(tmp_path, whole)
    assert not list((tmp_path / FULL).glob("*-step-*"))


def test_a_state_within_an_epoch_that_is_damaged_falls_back(whole, tmp_path, monkeypatch, capsys):
    def stop(self, epoch, begun, asked):
        self._save(epoch, begun)
        if (epoch, begun.steps) == (1, 3):
            raise Killed
    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_save_within", stop)
        with pytest.raises(Killed):
            tiny(tmp_path).up_to(FULL)
    path, = (tmp_path / FULL).glob("*-step-*")
    path.write_bytes(path.read_bytes()[:-9])
    tiny(tmp_path).up_to(FULL)
    assert "falling back" in capsys.readouterr().out
    equal(tmp_path, whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_run_after_its_step(whole, tmp_path, number):
    """With a status that a scheduler can requeue; repeated, the run ends with the same bits."""
    command = [sys.executable, "runners/train.py", "--recipe", str(TINY), "--search-space", FULL, "--output",
               str(tmp_path), "--set", "train.batch_size=16", "--set", "train.global_batch=64", "--set",
               "stages.fullnet.epochs=2"]
    process = subprocess.Popen(command, cwd=str(ROOT), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 60
    while not (tmp_path / FULL / "monitor").exists() and time.time() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if process.returncode != 0:  # else the run was done before the signal came
        assert process.returncode == STATUS, err
        assert "stopped as asked after" in err and "the same command goes on from there" in err
        assert "Traceback" not in err
    tiny(tmp_path).up_to(FULL)
    equal(tmp_path, whole)


def test_signals_are_seen_and_handlers_put_back():
    before = signal.getsignal(signal.SIGUSR1)
    with asked_to_stop() as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert asked()
    assert signal.getsignal(signal.SIGUSR1) == before and issubclass(StopRequested, Exception)
