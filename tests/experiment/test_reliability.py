"""What machines do to a week of training: kills, full disks, broken files, images, numbers."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.data import Augment, TrainLoader, fixed_batches, open_dataset
from nnabla_ofa.errors import OfaError
from nnabla_ofa.evaluation import Images
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.experiment.run import Run
from nnabla_ofa.model import load_network
from nnabla_ofa.reports.pages import reliability
from nnabla_ofa.system import container as checkpoint
from nnabla_ofa.system import files as files_module
from nnabla_ofa.system.comm import Single
from nnabla_ofa.training import loop, step
from nnabla_ofa.training.checkpoints import checkpoints, newest_checkpoint, save_checkpoint
from nnabla_ofa.training.loop import Loop

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "tiny.yaml"
FULL = "K7_E1_D3"


def tiny_run(output, *overrides, **how):
    recipe = load_recipe(TINY, ["stages.kernel.epochs=1", *overrides])
    return Run(Lab.open(recipe, 0, Single()), output, "test", **how)


def same_file(one, other):
    (a, _), (b, _) = checkpoint.load(one), checkpoint.load(other)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# Kills -------------------------------------------------------------------------------------------

class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run that nothing happens to: two stages and a fine-tuning."""
    output = tmp_path_factory.mktemp("alone")
    both(tiny_run(output))
    return output


def both(run):
    run.up_to("K357_E1_D3")
    run.finetune(load_network(run.output / "K357_E1_D3/weights.h5"), "XP1 3x3 3")


def files(output):
    return sorted(path.relative_to(output) for path in output.rglob("*.h5"))


@pytest.mark.parametrize("write, moment", [(4, "half"), (6, "after"), (9, "half")])
def test_killed_at_any_write_a_run_ends_the_same(alone, tmp_path, monkeypatch, write, moment):
    """Stages and fine-tuning; a half written file is left behind, as kill -9 leaves it."""
    atomically, count = checkpoint.write_atomically, []

    def killed(path, content):
        count.append(path)
        if len(count) < write:
            return atomically(path, content)
        if moment == "half":
            path.with_name(f".{path.name}.1.tmp").write_bytes(content[:len(content) // 2])
        elif moment == "after":
            atomically(path, content)
        raise Killed
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomically", killed)
        with pytest.raises(Killed):
            both(tiny_run(tmp_path))
    both(tiny_run(tmp_path))
    assert files(tmp_path) == files(alone) and len(files(alone)) == 10
    assert all(same_file(alone / path, tmp_path / path) for path in files(alone))
    assert not list(tmp_path.rglob("*.tmp"))


# Files -------------------------------------------------------------------------------------------

def saved(folder, epoch):
    save_checkpoint(folder, epoch, {"w": np.full(3, epoch, np.float32)}, {"history": []})
    return folder / f"checkpoint-{epoch:04d}.h5"


def test_a_broken_newest_checkpoint_is_named_and_the_one_before_it_serves(tmp_path):
    paths, said = [saved(tmp_path, epoch) for epoch in (1, 2, 3)], []
    paths[2].write_bytes(paths[2].read_bytes()[:99])
    shutil.copy(TINY, paths[1])
    arrays, meta = newest_checkpoint(tmp_path, said.append)
    assert meta["epoch"] == 1 and arrays["w"][0] == 1 and len(said) == 2
    assert "checkpoint-0003.h5 is damaged" in said[0] and "falling back" in said[1]


def test_when_no_checkpoint_is_whole_nothing_is_begun_anew(tmp_path):
    """A run from the start would delete what may still be mended."""
    path = saved(tmp_path, 7)
    path.write_bytes(b"")
    with pytest.raises(OfaError, match="none of the 1 checkpoints .* can be read: .* delete them"):
        newest_checkpoint(tmp_path, lambda text: None)
    assert newest_checkpoint(tmp_path / "empty") is None


def test_a_network_is_no_checkpoint_and_the_other_way_round(tmp_path):
    with pytest.raises(OfaError, match="holds a checkpoint, not a network"):
        load_network(saved(tmp_path, 1))
    ofa.Network.create(ofa.Xception(widths=(8,) * 8), FULL).save(tmp_path / "checkpoint-0002.h5")
    said = []
    assert newest_checkpoint(tmp_path, said.append)[1]["epoch"] == 1
    assert "holds a network, not a checkpoint" in said[0]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_checkpoint_before_it(tmp_path, monkeypatch, step):
    saved(tmp_path, 1)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class FullFile:
        def __init__(self, path, mode):
            self.file = open(path, mode)
        def __enter__(self):
            return self
        def __exit__(self, *_):
            self.file.close()
        def write(self, content):
            self.file.write(content[:len(content) // 2])
            full()
    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(files_module, "open", FullFile, raising=False)
        else:
            patch.setattr(os, step, full)
        with pytest.raises(OfaError, match="cannot write .*checkpoint-0002.h5: No space left on device; "
                                           "what was there before is unchanged, make room"):
            saved(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-0001.h5"]
    assert newest_checkpoint(tmp_path)[1]["epoch"] == 1


LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_run_that_cannot_write_stops_with_one_error_and_goes_on_later(alone, tmp_path):
    """A limit on the size of files: the network (best.h5) still fits below it, the checkpoint does not."""
    size = (alone / FULL / "best.h5").stat().st_size + 1
    command = ["runners/train.py", "--search-space", FULL, "--recipe", str(TINY), "--output", str(tmp_path)]
    run = subprocess.run([sys.executable, "-c", LIMITED, str(size), *command], cwd=str(ROOT), text=True,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert run.returncode == 2 and len(errors) == 1, run.stderr
    assert "cannot write" in errors[0] and "checkpoint-0001.h5: File too large" in errors[0]
    assert "Traceback" not in run.stderr
    tiny_run(tmp_path).up_to(FULL)
    assert same_file(tmp_path / FULL / "weights.h5", alone / FULL / "weights.h5")


# Numbers -----------------------------------------------------------------------------------------

def test_a_loss_that_is_not_finite_stops_and_the_run_goes_on_from_before(alone, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        rate = loop.learning_rate
        patch.setattr(loop, "learning_rate", lambda stage, settings, epoch: (
            1e30 if epoch > 1 else rate(stage, settings, epoch)))
        with pytest.raises(OfaError) as caught:
            tiny_run(tmp_path).up_to(FULL)
    text = str(caught.value)
    for part in ("epoch 2 step 3 of stage fullnet", "image size 1", "lr 1e+30", "loss nan", "gradient nan in",
                 "subnets XP1 7x7 3, XP1 7x7 3", "parameters", "lower the learning rate"):
        assert part in text, text
    assert [epoch for epoch, _ in checkpoints(tmp_path / FULL)] == [1]
    tiny_run(tmp_path).up_to(FULL)
    assert same_file(tmp_path / FULL / "weights.h5", alone / FULL / "weights.h5")


def test_a_gradient_that_is_not_finite_stops_though_the_loss_is(tmp_path, monkeypatch):
    gradients = step.loss_gradients

    def overflowing(outputs, *more):
        loss = gradients(outputs, *more)
        outputs[0].g[0, 0] = np.inf
        return loss
    monkeypatch.setattr(step, "loss_gradients", overflowing)
    with pytest.raises(OfaError, match=r"step 1 .*loss 2\.\d+, .*gradient (nan|inf) in "):
        tiny_run(tmp_path).up_to(FULL)
    assert not checkpoints(tmp_path / FULL)


def test_a_state_that_is_not_finite_is_not_saved(tmp_path):
    saved(tmp_path, 1)
    with pytest.raises(OfaError, match="w .and 0 more. is not finite after epoch 2"):
        save_checkpoint(tmp_path, 2, {"w": np.array([np.nan])}, {})
    assert [epoch for epoch, _ in checkpoints(tmp_path)] == [1]


# Images ------------------------------------------------------------------------------------------

BROKEN = ("train/ant/3.png", "train/ant/4.png", "train/bee/7.png")  # of 2 x 8, two in a row


def folder(root, broken=BROKEN):
    """Two classes of eight images; every pixel of one says which it is."""
    for part in ("train", "val"):
        for c, name in enumerate(("ant", "bee")):
            (root / part / name).mkdir(parents=True)
            for i in range(8):
                cv2.imwrite(str(root / part / name / f"{i}.png"), np.full((70, 70, 3), 10 * i + c, np.uint8))
    for path in broken:
        (root / path).write_bytes(b"no image")
    return root


PLAIN = Augment(crop="none", flip=False)


def seen(root, ranks, epoch=0, limit=0.2, workers=2):
    """(label, pixel) of an epoch's places, in order, whatever the number of ranks."""
    data = open_dataset(root, limit)[0]
    parts = [TrainLoader(data, PLAIN, 0, "s", 4 // ranks, rank, ranks, workers).epoch(epoch, lambda step: 8)
             for rank in range(ranks)]
    return [(label, pixel) for together in zip(*parts) for images, labels in together
            for label, pixel in zip(labels.tolist(), images[:, 0, 0, 0].tolist())]


def test_the_next_readable_image_of_the_class_takes_the_place(tmp_path, capfd):
    found = seen(folder(tmp_path / "broken"), 1)
    whole = seen(folder(tmp_path / "whole", ()), 1)
    stand_in = {(0, 30): (0, 50), (0, 40): (0, 50), (1, 71): (1, 1)}
    assert found == [stand_in.get(place, place) for place in whole]
    log = capfd.readouterr().err.splitlines()
    assert len(log) == 3 and sorted(name for name in BROKEN for line in log if name in line) == sorted(BROKEN)
    assert all("of at most 3, passed over" in line and "replace the file" in line for line in log)


@pytest.mark.parametrize("ranks, workers", [(1, 0), (2, 2), (4, 1)])
def test_ranks_threads_and_repetition_change_nothing(tmp_path, ranks, workers):
    folder(tmp_path)
    assert seen(tmp_path, ranks, 3, workers=workers) == seen(tmp_path, 1, 3)


def test_beyond_the_limit_a_run_stops_with_the_names(tmp_path):
    folder(tmp_path)
    with pytest.raises(OfaError) as caught:
        list(seen(tmp_path, 1, limit=0.13))
    assert all(name in str(caught.value) for name in BROKEN)
    assert "data.max_unreadable=0.13 allows 2 of 16 images" in str(caught.value)
    with pytest.raises(OfaError, match="cannot be decoded .*allows 0 of 16 images"):
        seen(tmp_path, 1, limit=0)


def test_a_class_without_a_readable_image_is_named(tmp_path):
    folder(tmp_path, [f"train/ant/{i}.png" for i in range(8)])
    with pytest.raises(OfaError, match="no image of class ant can be read"):
        seen(tmp_path, 1, limit=0.9)


@pytest.mark.parametrize("ranks", [1, 3])
def test_evaluation_leaves_unreadable_images_out_and_counts_the_others(tmp_path, ranks):
    folder(tmp_path, ["val/ant/0.png", *(f"val/bee/{i}.png" for i in range(4))])
    data = open_dataset(tmp_path, 0.5)[1]
    batches = [b for rank in range(ranks) for b in fixed_batches(data, range(16), 8, 4, PLAIN, rank, ranks)]
    batches.sort(key=lambda batch: batch[0])
    assert [(number, len(labels)) for number, _, labels in batches] == [(0, 3), (1, 4), (3, 4)]
    pixels = [int(p) for _, images, _ in batches for p in images[:, 0, 0, 0]]
    assert pixels == [10, 20, 30, 40, 50, 60, 70, 41, 51, 61, 71]
    images = Images(data, np.arange(16), PLAIN, 4)
    net = ofa.Network.create(ofa.Xception(classes=2, widths=(8,) * 8, middle_blocks=1), FULL)
    from nnabla_ofa.evaluation import evaluate_archs
    result, = evaluate_archs(net, [None], 8, images, images)
    assert result.images == 11


def test_small_images_with_a_broken_one_stay_on_disk(tmp_path):
    folder(tmp_path)
    for path in tmp_path.rglob("*.png"):
        if path.stat().st_size > 8:
            cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    train_set, test_set = open_dataset(tmp_path, 0.2)
    assert train_set.images is None and test_set.images is not None


def test_a_run_with_unreadable_images_resumes_to_the_same_bits(tmp_path, monkeypatch):
    """The limit may be raised in between: it is no part of what is computed."""
    data = folder(tmp_path / "data")
    settings = [f"data.source={data}", "data.held_out=0.2", "train.batch_size=4", "train.global_batch=4"]
    tiny_run(tmp_path / "a", *settings, "data.max_unreadable=0.2").up_to(FULL)
    save = Loop._save

    def die(self, epoch):
        save(self, epoch)
        raise Killed
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_save", die)
        with pytest.raises(Killed):
            tiny_run(tmp_path / "b", *settings, "data.max_unreadable=0.2").up_to(FULL)
    tiny_run(tmp_path / "b", *settings, "data.max_unreadable=0.5").up_to(FULL)
    assert all(same_file(tmp_path / "a" / path, tmp_path / "b" / path) for path in files(tmp_path / "a"))


# The page ----------------------------------------------------------------------------------------

def test_page_shows_every_row_and_kill():
    record = {"kind": "reliability", "recipe": "reliability", "command": "python x", "seconds": 60,
              "date": "2026-11-21", "ranks": 2, "commit": "abc",
              "versions": {"nnabla": "1.39.0"}, "machine": {"cpu": "a CPU", "cores": 2},
              "results": [{"what": "kills", "times": 3, "came_out": {"same": 2, "other": 1}, "lost": 1}],
              "kills": [{"killed": "rank 1", "after": "kernel 1 2 pass 1", "half_written": 1,
                         "equal": False}],
              "compared": {"files": 1, "arrays": 2, "updates": 3, "passes": 4}}
    page = reliability.pages([record, {"kind": "train", "recipe": "x"}])["reliability.md"]
    assert "| kills | 3 | 2 same; 1 other | 1 |" in page
    assert "| rank 1 | kernel 1 2 pass 1 | half a checkpoint | NO |" in page and "`python x`" in page
    assert reliability.pages([{"kind": "train", "recipe": "x"}]) == {}
