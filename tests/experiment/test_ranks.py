"""Ranks and loss scaling, as equalities: N ranks == 1, resumed after a failure == uninterrupted."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.experiment.run import Run
from nnabla_ofa.reports.pages import ranks as trials
from nnabla_ofa.system import container as checkpoint
from nnabla_ofa.system.comm import Nccl, Single, connect
from nnabla_ofa.system.machine import describe_run
from nnabla_ofa.training import loop as train
from nnabla_ofa.training.checkpoints import checkpoints, newest_checkpoint
from nnabla_ofa.training.optimiser import Optimiser
from nnabla_ofa.training.settings import Train
from nnabla_ofa.training.step import LossScale, NotFinite, Stepper

TINY = Path(__file__).resolve().parents[1] / "tiny.yaml"
CONFIG = ofa.Xception(classes=5, widths=(8,) * 8, middle_blocks=2, stem_stride=1, dropout=0.0)
TRAIN = ["runners/train.py", "--recipe", str(TINY), "--search-space", "K7_E1_D3"]


def stepper(comm=None, kernels="auto", scale=None, **settings):
    net = ofa.Network.create(CONFIG, "K357_E0.6+0.8+1_D123")
    net.kernels, settings = kernels, Train(**settings)
    return Stepper(net, settings, Optimiser(net, settings), comm or Single(), scale=scale)


def some_passes(count):
    rng = np.random.default_rng(count)
    return iter([(rng.standard_normal((4, 3, 8, 8)).astype(np.float32), rng.integers(0, 5, 4), None)
                 for _ in range(count)])


def state(one):
    return {**one.net.arrays(), **one.optimiser.state()}


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert np.array_equal(a[name], b[name]), name


class NvmlError(Exception):
    """What the extension lets through where a rank has no GPU of its own."""


def test_a_gpu_that_cannot_serve_is_one_clear_error(monkeypatch):
    def refuse(*args, **options):
        raise NvmlError("Invalid Argument")

    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_RANK", "1")
    monkeypatch.setattr("nnabla.ext_utils.get_extension_context", refuse)
    with pytest.raises(ofa.OfaError, match="device=cudnn is not usable here by local rank 1 .Invalid"):
        connect("cudnn")


# What is sent ------------------------------------------------------------------------------------

class Recorder(Single):
    """One rank that notes what is asked of it; `spoil` makes that many updates overflow."""

    def __init__(self, spoil=0):
        self.averaged, self.meanwhile, self.spoil = [], 0, spoil

    def average_meanwhile(self, output, variables):
        self.meanwhile += 1

    def average_gradients(self, variables):
        self.averaged.append(list(variables))
        if self.spoil:
            self.spoil -= 1
            variables[0].grad.data[...] = np.inf


def test_accumulated_gradients_are_sent_once_and_only_touched_ones():
    comm = Recorder()
    one = stepper(comm)
    one.step(some_passes(3), [one.net.space.smallest()], 0.1, 3)
    [averaged] = comm.averaged
    untouched = [v for v in one.optimiser.variables.values() if v.grad.zeroing]
    assert comm.meanwhile == 1 and untouched
    assert set(averaged) == set(one.optimiser.variables.values()) - set(untouched)


class FakeNccl:
    """NNabla's communicator as far as it is used; notes the calls."""

    def __init__(self):
        self.calls = []

    def all_reduce(self, arrays, division, inplace):
        self.calls.append(("after backward", set(arrays), division))

    def all_reduce_callback(self, arrays, pack_size, division):
        self.calls.append(("during backward", set(arrays), division))
        return []


@pytest.mark.parametrize("subnets, when", [(1, "during backward"), (2, "after backward")])
def test_nccl_overlaps_with_backward_where_each_parameter_has_one_use(subnets, when):
    comm = object.__new__(Nccl)  # its __init__ wants GPUs
    comm._nccl, comm.rank, comm.size, comm.add = FakeNccl(), 0, 1, lambda array: array
    one = stepper(comm, kernels="nnabla")
    archs = [one.net.space.largest(), one.net.arch("XP0.6 3x3 2")][-subnets:]
    one.step(some_passes(2), archs, 0.1, 2)
    touched = {v.grad for v in one.optimiser.touched().values()}
    assert comm._nccl.calls == [(when, touched, True)]
    assert len(touched) < len(one.optimiser.variables) or subnets == 2


# Loss scaling ------------------------------------------------------------------------------------

@pytest.mark.parametrize("clip_grad", [None, 0.5])
def test_loss_scaling_changes_no_bit(clip_grad):
    plain, scaled = stepper(clip_grad=clip_grad), stepper(clip_grad=clip_grad, scale=LossScale())
    for one in (plain, scaled):
        for count in (1, 3):
            one.step(some_passes(count), [one.net.arch("XP0.6 3x3 2")], 0.1, count)
    assert_equal(state(plain), state(scaled))
    assert scaled.scale == LossScale(1024, good=2)


def test_a_step_that_overflows_is_skipped_and_counted(monkeypatch):
    monkeypatch.setattr(LossScale, "PATIENCE", 2)
    one = stepper(Recorder(spoil=2), scale=LossScale())
    before, archs = state(one), [one.net.space.largest()]
    assert one.step(some_passes(1), archs, 0.1, 1) is None
    assert one.step(some_passes(1), archs, 0.1, 1) is None
    assert_equal(state(one), before)
    assert one.scale == LossScale(256, skipped=2)
    values = [one.scale.value for _ in range(5) if one.step(some_passes(1), archs, 0.1, 1)]
    assert values == [256, 512, 512, 1024, 1024]
    one.comm.spoil, one.scale.value = 1, 1
    with pytest.raises(NotFinite, match="gradient inf"):
        one.step(some_passes(1), archs, 0.1, 1)


def test_loss_scaling_resumes_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(LossScale, "PATIENCE", 4)
    monkeypatch.setattr(train, "loss_scale", LossScale)
    settings = load_recipe(TINY, ["train.global_batch=64"])

    def fit(folder, spoil):
        Run(Lab.open(settings, 0, Recorder(spoil)), tmp_path / folder, "test").up_to("K7_E1_D3")
        return checkpoint.load(tmp_path / folder / "K7_E1_D3/checkpoint-0002.h5")

    whole, meta = fit("whole", 3)
    assert meta["loss_scale"] == {"value": 2048, "good": 3, "skipped": 3}
    assert [(entry["loss_scale"], entry["skipped_steps"]) for entry in meta["history"]] == [
        (512, 3), (2048, 3)]
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    for name in ("checkpoint-0002.h5", "weights.h5"):
        (tmp_path / "resumed/K7_E1_D3" / name).unlink()
    resumed, meta_resumed = fit("resumed", 0)
    assert_equal(whole, resumed)
    assert meta["loss_scale"] == meta_resumed["loss_scale"]


# Under mpirun ------------------------------------------------------------------------------------

def last_checkpoint(folder):
    return newest_checkpoint(folder)[0]


def test_any_number_of_ranks_trains_and_evaluates_alike(tmp_path, mpirun):
    # one update a stage: rounding has no time to grow
    train = ["runners/train.py", "--search-space", "K357_E1_D3", "--recipe", str(TINY)]
    for override in ("global_batch=640", "batch_size=16"):
        train += ["--set", f"train.{override}"]
    for stage in ("fullnet", "kernel"):
        train += ["--set", f"stages.{stage}.epochs=1"]
    # 360 test images in two batches: the second is smaller, and of four ranks two get none
    evaluate = ["runners/evaluate.py", "--weights", str(tmp_path / "1/K357_E1_D3/weights.h5"),
                "--subnet", "XP1 5x5 3", "--set", "train.batch_size=320", "--set", "train.global_batch=320"]
    trained, judged = {}, {}
    for ranks in (1, 2, 4):
        output = ["--output", str(tmp_path / str(ranks))]
        mpirun(ranks, ["-c", "import runpy, sys\n"
                       f"for sys.argv in {[train + output, evaluate + output]}:\n"
                       "    runpy.run_path(sys.argv[0], run_name='__main__')"])
        trained[ranks] = last_checkpoint(tmp_path / str(ranks) / "K357_E1_D3")
        [record] = (tmp_path / str(ranks)).rglob("evaluate-*.json")
        judged[ranks] = json.loads(record.read_text())["results"]
    for ranks in (2, 4):
        assert judged[ranks] == judged[1]
        for name, one in trained[1].items():
            limit = 1e-2 * max(np.abs(one).max(), 1e-3)  # updates of a tiny network amplify rounding
            assert np.abs(one - trained[ranks][name]).max() <= limit, (ranks, name)


def test_a_failing_rank_stops_all_and_the_same_command_goes_on(tmp_path, mpirun):
    mpirun(2, [*TRAIN, "--output", tmp_path / "whole"])
    ends = {"exception": "this rank was made to fail", "memory": "Unable to allocate", "kill": "9"}
    for how, said in ends.items():  # 718 images in updates of 128: the first fails in epoch 2
        failed = mpirun(2, ["tests/failing_rank.py", how, 1, 6 if how == "exception" else 1,
                            *TRAIN, "--output", tmp_path / "resumed"], timeout=60, check=False)
        assert failed.returncode != 0 and said in failed.stderr
        assert failed.stderr.count("Traceback") == (how != "kill")
        [(epoch, _)] = checkpoints(tmp_path / "resumed/K7_E1_D3")
        assert epoch == 1
    mpirun(2, [*TRAIN, "--output", tmp_path / "resumed"])
    whole, resumed = (last_checkpoint(tmp_path / name / "K7_E1_D3") for name in ("whole", "resumed"))
    assert_equal(whole, resumed)


class Killed(BaseException):
    pass


def test_every_stage_goes_on_with_other_ranks(tmp_path, monkeypatch, mpirun):
    """One process is killed before a stage's last update, which two make: later ones amplify rounding."""
    chosen = ["train.global_batch=640", "stages.kernel.epochs=2"]

    def tiny_run(output):
        return Run(Lab.open(load_recipe(TINY, chosen), 0, Single()), output, "test")

    tiny_run(tmp_path / "alone").up_to("K357_E1_D3")
    step, updates, commands = Stepper.step, [], []

    def dying(self, *arguments):
        updates.append(None)
        if len(updates) % 2 == 0:
            raise Killed
        return step(self, *arguments)

    for space in ("K7_E1_D3", "K357_E1_D3"):
        shutil.copytree(tmp_path / "alone", tmp_path / space)
        shutil.rmtree(tmp_path / space / space)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Stepper, "step", dying)
            tiny_run(tmp_path / space).up_to(space, only=True)
        commands.append(["runners/train.py", "--recipe", str(TINY), "--search-space", space, "--only",
                         "--output", str(tmp_path / space),
                         *(part for setting in chosen for part in ("--set", setting))])
    two = mpirun(2, ["-c", f"import runpy, sys\nfor sys.argv in {commands}:\n"
                           "    runpy.run_path(sys.argv[0], run_name='__main__')"])
    assert two.stdout.count("goes on after epoch 1 of 2") == 2
    for space in ("K7_E1_D3", "K357_E1_D3"):
        alone, changed = (last_checkpoint(tmp_path / run / space) for run in ("alone", space))
        assert alone.keys() == changed.keys()
        for name, array in alone.items():
            limit = 1e-4 * max(np.abs(array).max(), 1e-3)
            assert np.abs(array - changed[name]).max() <= limit, (space, name)


def test_ranks_that_differ_and_a_second_run_are_refused_once(tmp_path, mpirun):
    differ = ("import os, runpy, sys; sys.argv += ['--set', 'train.momentum=0.' + "
              "os.environ['OMPI_COMM_WORLD_RANK']]; runpy.run_path(sys.argv[0], run_name='__main__')")
    refused = mpirun(2, ["-c", f"import sys; del sys.argv[0]; {differ}", *TRAIN,
                         "--output", tmp_path / "a"], timeout=60, check=False)
    assert refused.stderr.count("error: the ranks have different recipes") == 1
    folder = tmp_path / "b/K7_E1_D3"
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        second = mpirun(2, [*TRAIN, "--output", tmp_path / "b"], timeout=60, check=False)
    assert second.stderr.count("error: another run is writing to") == 1
    assert refused.returncode != 0 and second.returncode != 0


AVERAGES = """
import os
import nnabla as nn, numpy as np
from nnabla_ofa.system.comm import SMALL, connect
os.environ.pop("OMPI_COMM_WORLD_SIZE")  # as under srun, which tells PMIX_RANK alone
comm = connect("cpu")
sizes = [(3,), (SMALL - 1,), (SMALL,), (2, SMALL), (5, 7), (1, 1)]
variables = [nn.Variable(size, need_grad=True) for size in sizes]
value = lambda rank, i: np.random.default_rng([rank, i]).standard_normal(sizes[i]).astype(np.float32)
for i, v in enumerate(variables):
    v.g = value(comm.rank, i)
comm.average_gradients(variables)
for i, v in enumerate(variables):
    expected = np.mean([value(rank, i) for rank in range(comm.size)], axis=0, dtype=np.float64)
    assert np.abs(v.g - expected).max() < 1e-6, i
assert comm.size == 4 and comm.add(np.ones(3)).tolist() == [4.0] * 3
if comm.rank == 3:
    raise RuntimeError("nobody catches this")
comm.add(np.ones(1))
"""


def test_gradients_are_averaged_and_an_uncaught_error_stops_all_ranks(mpirun):
    done = mpirun(4, ["-c", AVERAGES], timeout=60, check=False)
    assert done.returncode != 0 and "AssertionError" not in done.stderr
    assert done.stderr.count("RuntimeError: nobody catches this") == 1


def test_page_of_trials():
    rows = [{"what": "a rank is killed", "ranks": 4, "times": 3, "came_out": {"stopped": 2, "hung": 1},
             "lost": 1, "seconds": 4.2}]
    record = {**describe_run("command", 0, 4), "kind": "reliability", "recipe": trials.RANKS,
              "stage": "stop4", "space": "K7_E1_D3", "settings": {}, "seconds": 60.0, "results": rows}
    page = trials.pages([record])["ranks.md"]
    assert "## One of four ranks fails" in page
    assert "| a rank is killed | 4 | 3 | stopped (2); hung (1) | 1 | 4.2 s |" in page
    assert trials.pages([dict(record, recipe="xception_digits")]) == {}
