"""A teacher from a file, and weights that a stage starts from, at a later epoch too."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from test_fixed import SMALL, run, small  # noqa: F401

import nnabla_ofa as ofa
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.experiment.run import Run
from nnabla_ofa.experiment.teachers import frozen, load_teacher
from nnabla_ofa.system import container
from nnabla_ofa.system.comm import Single
from nnabla_ofa.training.schedule import learning_rate
from nnabla_ofa.training.step import Stepper

TINY = Path(__file__).resolve().parents[1] / "tiny.yaml"
pytestmark = pytest.mark.usefixtures("small")
DIGITS = [str(digit) for digit in range(10)]


def tiny_run(output, *overrides, **how):
    recipe = load_recipe(TINY, ["stages.fullnet.epochs=1", "stages.kernel.epochs=1", "data.image_sizes=[12]",
                                "data.train_images=256", *overrides])
    return Run(Lab.open(recipe, 0, Single()), output, "test", **how)


@pytest.fixture(scope="module")
def elastic(tmp_path_factory):
    """weights.h5 of a tiny elastic network of several subnets, trained on the digits."""
    folder = tmp_path_factory.mktemp("elastic")
    tiny_run(folder).up_to("K357_E1_D3")
    return folder / "K357_E1_D3/weights.h5"


@pytest.fixture
def fixed(tmp_path):
    """weights.h5 of a fixed network, trained on the digits."""
    run(tmp_path / "fixed", "stages.small_resnet.epochs=1").up_to(SMALL)
    return tmp_path / "fixed" / SMALL / "weights.h5"


@pytest.fixture
def teachers(monkeypatch):
    """The teachers of each update's stepper."""
    seen, step = [], Stepper.step

    def stepping(self, *arguments):
        seen.append(self.teachers)
        return step(self, *arguments)
    monkeypatch.setattr(Stepper, "step", stepping)
    return seen


def by_hand(lab, path, size, images):
    """Logits of a file's largest subnet, calibrated on the lab's images."""
    net = ofa.load(path)
    alone = net.extract()
    pixels = np.concatenate([batch for _, batch, _ in lab.calibration.batches(size)])
    alone.calibrate(pixels, batch_size=lab.recipe.train.batch_size)
    return alone.logits(images)


def test_a_fixed_network_learns_from_an_elastic_one(tmp_path, elastic, teachers):
    """Of its largest subnet, calibrated; it stays as it is, and with it the loss is another."""
    before = elastic.read_bytes()
    one = run(tmp_path / "taught", f"train.teacher={elastic}", "stages.small_resnet.epochs=1")
    one.up_to(SMALL)
    x = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)
    assert set(teachers[0]) == {8} and len(teachers) == 2
    expected = by_hand(one.lab, elastic, 8, x)
    assert np.abs(teachers[0][8](x) - expected).max() < 1e-4 * np.abs(expected).max()
    run(tmp_path / "alone", "stages.small_resnet.epochs=1").up_to(SMALL)
    taught, alone = (container.load(tmp_path / name / SMALL / "checkpoint-0001.h5")
                     for name in ("taught", "alone"))
    assert taught[1]["history"][0]["loss"] > alone[1]["history"][0]["loss"] + 0.5
    assert not np.array_equal(taught[0]["net/stem/conv/W"], alone[0]["net/stem/conv/W"])
    assert elastic.read_bytes() == before


def test_an_elastic_network_learns_from_a_fixed_one_in_every_stage(tmp_path, fixed, teachers, capsys):
    one = tiny_run(tmp_path / "run", f"train.teacher={fixed}")
    one.up_to("K357_E1_D3")
    assert len(teachers) == 4 and all(set(found) == {12} for found in teachers)
    x = np.random.default_rng(0).standard_normal((4, 3, 12, 12)).astype(np.float32)
    expected = by_hand(one.lab, fixed, 12, x)
    for found in teachers:
        assert np.abs(found[12](x) - expected).max() < 1e-4 * np.abs(expected).max()
    assert capsys.readouterr().out.count(f"it distils from {fixed}, {SMALL}") == 2


def test_the_teachers_checksum_belongs_to_the_stage(tmp_path, fixed):
    """Not its place; fine-tuning, which has no teacher, does not need the file."""
    short = ("stages.small_resnet.epochs=1", "finetune.epochs=1")
    run(tmp_path / "run", f"train.teacher={fixed}", *short).up_to(SMALL)
    moved = fixed.rename(tmp_path / "moved.h5")
    run(tmp_path / "run", f"train.teacher={moved}", *short).up_to(SMALL)
    with pytest.raises(ofa.OfaError, match=r"trained with other settings \(other teacher\)"):
        run(tmp_path / "run", *short).up_to(SMALL)
    net = ofa.load(moved)
    net.set_arrays({name: array + name.endswith("W") for name, array in net.arrays().items()})
    net.save(moved)
    with pytest.raises(ofa.OfaError, match=r"trained with other settings \(other teacher\)"):
        run(tmp_path / "run", f"train.teacher={moved}", *short).up_to(SMALL)
    moved.unlink()
    run(tmp_path / "run", f"train.teacher={moved}", *short).finetune(
        ofa.load(tmp_path / "run" / SMALL / "weights.h5"), SMALL)


def test_classes_are_matched_by_name(tmp_path, fixed):
    """A teacher of more classes, in another order, gives the scores of the data's."""
    lab = run(tmp_path).lab
    assert list(lab.classes) == DIGITS
    net = ofa.load(fixed)
    names, order = ["other", *DIGITS[::-1]], np.r_[0, np.arange(10)[::-1]]
    wide = ofa.FixedNetwork.create(dataclasses.replace(net.config, classes=11), SMALL)
    arrays = net.arrays()
    for name in ("classifier/affine/W", "classifier/affine/b"):
        arrays[name] = np.ascontiguousarray(arrays[name][..., order])
    wide.set_arrays(arrays)
    wide.info = {**net.info, "classes": names}
    wide.save(tmp_path / "wide.h5")
    own, matched = (frozen(lab, load_teacher(lab, str(path)), "auto")[8]
                    for path in (fixed, tmp_path / "wide.h5"))
    x = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)
    assert np.array_equal(own(x), matched(x))


@pytest.mark.parametrize("change, complaint", [
    ({"classes": ["none", *DIGITS[1:]]}, r"does not know all 10 of digits by name \(0\)"),
    ({"std": [0.1, 0.1, 0.1]}, r"set data.augment.std=\[0.1, 0.1, 0.1\]")])
def test_a_teacher_that_cannot_serve_is_named(tmp_path, fixed, change, complaint):
    net = ofa.load(fixed)
    net.info = {**net.info, **change}
    net.save(tmp_path / "other.h5")
    for path, message in ((tmp_path / "other.h5", complaint), (tmp_path / "absent.h5", "absent.h5")):
        with pytest.raises(ofa.OfaError, match=message):
            run(tmp_path, f"train.teacher={path}").up_to(SMALL)


# Weights to start from -----------------------------------------------------------------------------

def test_a_fixed_network_starts_from_a_file_at_a_later_epoch(tmp_path, fixed, monkeypatch):
    """The rest of the schedule, with the draws of those epochs; interrupted, too."""
    begun, step = [], Stepper.step

    def stepping(self, *arguments):
        begun.append((self.net.arrays(), arguments[2]))
        return step(self, *arguments)
    monkeypatch.setattr(Stepper, "step", stepping)
    late = ("stages.small_resnet.epochs=4", "stages.small_resnet.finished_epochs=2", "train.schedule=cosine")
    one = run(tmp_path / "late", *late)
    Run(one.lab, one.output, "test", start=fixed).up_to(SMALL, only=True)
    start = ofa.load(fixed).arrays()
    trained = [name for name, p in ofa.load(fixed).declared().items() if p.trained]
    assert all(np.array_equal(begun[0][0][name], start[name]) for name in trained)
    stage, settings = one.recipe.stages[0], one.recipe.train
    assert [lr for _, lr in begun] == [learning_rate(stage, settings, e) for e in (2, 2.5, 3, 3.5)]
    folder = tmp_path / "late" / SMALL
    _, meta = container.load(folder / "checkpoint-0004.h5")
    assert [entry["epoch"] for entry in meta["history"]] == [3, 4]
    whole = ofa.load(folder / "weights.h5").arrays()
    for name in ("weights.h5", "checkpoint-0004.h5"):
        (folder / name).unlink()
    Run(one.lab, one.output, "test", start=fixed).up_to(SMALL, only=True)
    assert len(begun) == 6  # the second of the two epochs, again
    assert all(np.array_equal(a, whole[name]) for name, a in ofa.load(folder / "weights.h5").arrays().items())


def test_starts_that_cannot_be(tmp_path, fixed, elastic):
    with pytest.raises(ofa.OfaError, match="finished_epochs=1 is for weights that have these epochs behind"):
        run(tmp_path / "new", "stages.small_resnet.finished_epochs=1").up_to(SMALL)
    one = run(tmp_path / "other")
    with pytest.raises(ofa.OfaError, match=f"{elastic} lacks .*another network"):
        Run(one.lab, one.output, "test", start=elastic).up_to(SMALL, only=True)
    with pytest.raises(ofa.OfaError, match="is a fixed network, no stage can start from it"):
        tiny_run(tmp_path / "tiny", start=fixed).up_to("K357_E1_D3", only=True)


# Sizes -------------------------------------------------------------------------------------------

def test_images_of_one_size_to_learn_from_and_of_another_to_judge(tmp_path):
    """As 224 and 240 pixels; evaluation sees the centre that valid_resize says."""
    one = run(tmp_path, "data.image_sizes=[6]", "data.valid_sizes=[10, 8]", "stages.small_resnet.epochs=1",
              "data.augment.valid_resize=256/224")
    one.up_to(SMALL)
    net = ofa.load(tmp_path / SMALL / "weights.h5")
    assert net.info["calibrated"] == {"subnet": SMALL, "image_size": 10} and net.info["image_sizes"] == [6]
    rows = one.lab.rows(net, [None], say=lambda text: None)
    assert [(row["image_size"], row["macs"]) for row in rows] == [
        (size, net.cost(image_size=size).macs) for size in (10, 8)]
    number, images, labels = next(iter(one.lab.test.batches(10)))
    assert images.shape[2:] == (10, 10) and number == 0
