"""Results of one run are never mixed with another's in silence; other classes get a new classifier."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.experiment.few_images import for_training
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.options import RunOptions, default_output
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.experiment.run import Run
from nnabla_ofa.system import container
from nnabla_ofa.system.comm import Single

TINY = Path(__file__).resolve().parents[1] / "tiny.yaml"
FULL, KERNEL = "K7_E1_D3", "K357_E1_D3"
SHORT = ("stages.fullnet.epochs=1", "stages.kernel.epochs=1", "train.batch_size=8", "train.global_batch=16",
         "data.image_sizes=[8]", "data.valid_sizes=[8]", "data.calibration_images=8")


def pictures(folder, classes="abc", count=16, seed=0):
    """A data set of noise, a brightness a class."""
    rng = np.random.default_rng(seed)
    for split, images in (("train", count), ("val", 4)):
        for label, name in enumerate(classes):
            (folder / split / name).mkdir(parents=True)
            for i in range(images):
                image = rng.integers(60 * label, 60 * label + 60, (8, 8, 3), np.uint8)
                cv2.imwrite(str(folder / split / name / f"{i}.png"), image)
    return folder


def run(output, data, *overrides, seed=0, **how):
    recipe = load_recipe(TINY, (*SHORT, f"data.source={data}", *overrides))
    return Run(Lab.open(recipe, seed, Single()), output, "test", **how)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A folder of data, and of a run of its first stage."""
    folder = tmp_path_factory.mktemp("first")
    pictures(folder / "data")
    run(folder / "run", folder / "data").up_to(FULL)
    return folder


@pytest.fixture
def begun(first, tmp_path):
    """A copy of that run."""
    return Path(shutil.copytree(first / "run", tmp_path / "run"))


@pytest.mark.parametrize("space", [FULL, KERNEL])
@pytest.mark.parametrize("change, message", [
    (dict(classes="abcd"), "data.classes: 3 -> 4"), (dict(classes="ab"), "data.classes: 3 -> 2"),
    (dict(classes="xyz"), "other class names"), (dict(seed=5), r"other images \(names and sizes\)"),
    (dict(count=20), "data.images: 24 -> 30")])
def test_a_stage_of_other_data_is_not_taken_up(begun, tmp_path, space, change, message):
    """Neither as done nor as another stage's start."""
    data = pictures(tmp_path / "other", **change)
    with pytest.raises(ofa.OfaError, match=f"{FULL}/weights.h5 was trained with other settings .*{message}"):
        run(begun, data).up_to(space)


@pytest.mark.parametrize("override, message", [
    ("net.width_mult=0.04", "net.width_mult: 0.02 -> 0.04"),
    ("data.train_images=12", "data.images: 24 -> 12"),
    ("train.momentum=0.5", "train.momentum: 0.9 -> 0.5"), ("data.augment.pad=2", "data.augment.pad: 1 -> 2"),
    ("stages.fullnet.lr=0.5", "stage.lr: 0.05 -> 0.5")])
def test_a_stage_of_other_settings_is_not_taken_up(begun, first, override, message):
    with pytest.raises(ofa.OfaError, match=message):
        run(begun, first / "data", override).up_to(KERNEL)


def test_settings_of_a_stage_are_compared_as_they_serve_in_it(begun, first, capsys):
    """Its own in place of `train`'s; those of other stages mean nothing to it."""
    run(begun, first / "data", "stages.fullnet.weight_decay=1e-5", "stages.fullnet.warmup_epochs=0",
        "stages.fullnet.only_head=false", "stages.kernel.weight_decay=0.1").up_to(FULL)
    assert "is done" in capsys.readouterr().out
    for override, message in (("weight_decay=0.1", "train.weight_decay: 1e-05 -> 0.1"),
                              ("subnets_per_step=3", "train.subnets_per_step: 2 -> 3"),
                              ("only_head=true", "train.only_head: False -> True")):
        with pytest.raises(ofa.OfaError, match=message):
            run(begun, first / "data", f"stages.fullnet.{override}").up_to(KERNEL)


def test_nor_one_of_another_seed_which_holds_out_other_images(begun, first):
    with pytest.raises(ofa.OfaError, match=r"settings \(seed: 0 -> 1\): undo"):  # not what follows
        run(begun, first / "data", seed=1).up_to(KERNEL)
    with pytest.raises(ofa.OfaError, match="seed: 0 -> 1"):
        run(begun, first / "data", seed=1).up_to(KERNEL, only=True)


def test_an_interrupted_stage_is_not_resumed_on_other_images(begun, tmp_path):
    (begun / FULL / "weights.h5").unlink()
    data = pictures(tmp_path / "other", seed=5)
    with pytest.raises(ofa.OfaError, match=r"was begun with other settings .*other images"):
        run(begun, data).up_to(FULL)


def test_the_same_data_elsewhere_and_accepted_changes_are_taken_up(begun, first, tmp_path, capsys):
    moved = shutil.copytree(first / "data", tmp_path / "moved")
    run(begun, moved).up_to(FULL)
    assert "is done" in capsys.readouterr().out
    run(begun, moved, "train.momentum=0.5", accept_changes=True).up_to(KERNEL)
    assert (begun / KERNEL / "weights.h5").exists()


def test_weights_of_an_older_version_are_compared_by_what_they_say(begun, first):
    arrays, meta = container.load(begun / FULL / "weights.h5")
    del meta["info"]["identity"]
    container.save(begun / FULL / "weights.h5", arrays, meta)
    run(begun, first / "data").up_to(FULL)
    with pytest.raises(ofa.OfaError, match="train.momentum"):
        run(begun, first / "data", "train.momentum=0.5").up_to(FULL)


def test_evaluations_belong_to_their_images(begun, first, tmp_path):
    """The same names and counts, other images: measured anew."""
    net = ofa.load(begun / FULL / "weights.h5")
    files = []
    for data in (first / "data", pictures(tmp_path / "other", seed=5), first / "data"):
        with run(tmp_path / "search", data).evaluations(net) as top1_of:
            top1_of([net.space.largest()], 8)
            files.append(top1_of.path)
    assert files[0] == files[2] != files[1] and len(set(files)) == 2


@pytest.mark.parametrize("data, folder", [
    ("digits", "xception_digits"), ("/data/cifar10", "xception_digits-cifar10"),
    ("/data/my flowers/", "xception_digits-my_flowers")])
def test_the_default_folder_has_the_datas_name(data, folder):
    recipe = load_recipe("xception_digits", [f"data.source='{data}'"])
    assert default_output(recipe) == Path("runs", folder)
    assert RunOptions().output is None


# Other classes -----------------------------------------------------------------------------------

CLASSES = {"more": "abcd", "fewer": "ab", "others": "xyz", "a permutation": "cab"}


@pytest.mark.parametrize("classes", CLASSES.values(), ids=CLASSES)
def test_a_new_classifier_keeps_what_is_known_by_name(begun, tmp_path, classes):
    data = pictures(tmp_path / "other", "".join(sorted(classes)))
    net, own = ofa.load(begun / FULL / "weights.h5"), run(tmp_path / "tuned", data, new_head=True)
    if sorted(classes) != sorted("abc"):
        with pytest.raises(ofa.OfaError, match="--new-head"):
            run(tmp_path / "tuned", data).adapted(net, "weights.h5")
    head = own.adapted(net, "weights.h5")
    before, after = net.arrays(), head.arrays()
    for name in before:
        if not name.startswith("classifier"):
            assert np.array_equal(before[name], after[name])
    for new, name in enumerate(sorted(classes)):
        if name in "abc":
            old = "abc".index(name)
            assert np.array_equal(after["classifier/affine/W"][:, new], before["classifier/affine/W"][:, old])
            assert after["classifier/affine/b"][new] == before["classifier/affine/b"][old]
    assert head.config.classes == len(classes) and head.info["classes"] == sorted(classes)


def spelt(data, form):
    """The data set with the names of its class folders in one form of Unicode.

    Skips where the file system has one form only.
    """
    for folder in [folder for split in ("train", "val") for folder in (data / split).iterdir()]:
        folder.rename(folder.with_name(unicodedata.normalize(form, folder.name)))
    found = sorted(os.listdir(data / "train"))
    if found != sorted(unicodedata.normalize(form, name) for name in found):
        pytest.skip("this file system has one form of Unicode only")
    return data


def test_the_same_classes_in_another_spelling_of_unicode_are_the_same(tmp_path):
    """Taken up, evaluated and adapted as if nothing had changed. "é" sorts after "z", an "e" and its accent
    before it."""
    classes = ["caf\u00e9", "cafz", "th\u00e9"]
    composed, decomposed = (spelt(pictures(tmp_path / form, classes), form) for form in ("NFC", "NFD"))
    run(tmp_path / "out", composed).up_to(FULL)
    net = ofa.load(tmp_path / "out" / FULL / "weights.h5")
    own, other = run(tmp_path / "out", composed), run(tmp_path / "out", decomposed)
    assert own.lab.classes != other.lab.classes and own.lab.fingerprint() == other.lab.fingerprint()
    assert own.lab.train.labels.tolist() == other.lab.train.labels.tolist()
    assert other.adapted(net, "weights.h5") is net
    other.up_to(FULL)
    more = spelt(pictures(tmp_path / "more", [*classes, "\u00fcber"]), "NFD")
    head = run(tmp_path / "tuned", more, new_head=True).adapted(net, "weights.h5")
    assert head.info["classes"] == [unicodedata.normalize("NFD", name) for name in
                                    ("cafz", "caf\u00e9", "th\u00e9", "\u00fcber")]
    before, after = (one.arrays()["classifier/affine/W"] for one in (net, head))
    assert np.array_equal(after[:, :3], before)


def test_finetuning_and_a_stage_on_other_classes(begun, tmp_path):
    data = pictures(tmp_path / "other", "wxyz")
    own = run(tmp_path / "tuned", data, "finetune.epochs=1", new_head=True)
    net = own.adapted(ofa.load(begun / FULL / "weights.h5"), begun / FULL / "weights.h5")
    path, rows = own.finetune(net, "XP1 7x7 3")
    assert ofa.load(path).info["classes"] == list("wxyz") and len(rows) == 2
    with pytest.raises(ofa.OfaError, match="untrained score"):
        own.adapted(ofa.load(begun / FULL / "weights.h5"), "weights.h5", needs_known=True)
    stage = run(tmp_path / "stage", data, new_head=True, start=begun / FULL / "weights.h5")
    stage.up_to(KERNEL, only=True)
    trained = ofa.load(tmp_path / "stage" / KERNEL / "weights.h5")
    assert trained.config.classes == 4 and trained.info["classes"] == list("wxyz")


@pytest.fixture
def unnamed(begun):
    """Weights that say how images are normalised and nothing else, as those of another program."""
    arrays, meta = container.load(begun / FULL / "weights.h5")
    container.save(begun / "unnamed.h5", arrays, {**meta, "info": {key: meta["info"][key]
                                                                   for key in ("mean", "std")}})
    return begun / "unnamed.h5"


def test_weights_without_names_of_classes_know_those_of_data_with_as_many(unnamed, first, tmp_path, capsys):
    net, own = ofa.load(unnamed), run(tmp_path / "same", first / "data")
    assert own.adapted(net, unnamed) is net
    said = capsys.readouterr().out
    assert "names no classes: they are taken for those of the data, a, b, c, ..., in" in said
    other = run(tmp_path / "other", pictures(tmp_path / "data", "abcd"), new_head=True)
    head = other.adapted(net, unnamed)
    before, after = (one.arrays()["classifier/affine/W"] for one in (net, head))
    assert not any(np.array_equal(before[:, old], after[:, new]) for old in range(3) for new in range(4))
    with pytest.raises(ofa.OfaError, match="knows 0 of the 4 classes"):
        other.adapted(net, unnamed, needs_known=True)
    with pytest.raises(ofa.OfaError, match=r"has 3 classes \(without names, \.\.\.\)"):
        run(tmp_path / "other", tmp_path / "data").adapted(net, unnamed)


def test_weights_of_another_program_are_given_the_images_that_they_know(unnamed, first, tmp_path):
    with pytest.raises(ofa.OfaError, match=r"another normalisation: set data.augment.mean=\[0.485"):
        run(tmp_path, first / "data", "data.augment.mean=[0.5,0.5,0.5]").adapted(ofa.load(unnamed), unnamed)


def test_a_repeated_finetuning_on_few_images_of_weights_of_many_goes_on(begun, first, tmp_path):
    """Its checkpoints say in how many passes it took them, not the network that it began with."""
    net = ofa.load(begun / FULL / "weights.h5")
    for _ in range(2):
        few = for_training(run(tmp_path / "few", first / "data", "finetune.epochs=1", "train.batch_size=40",
                               "train.global_batch=80"))
        path, _ = few.finetune(net, "XP1 7x7 3")
    assert ofa.load(path).info["recipe"]["train"]["global_batch"] == 24


def test_a_record_names_the_commit_that_began_the_run(tmp_path, first, monkeypatch):
    one = run(tmp_path / "out", first / "data")
    began = one.code
    monkeypatch.setattr("nnabla_ofa.system.machine.commit", lambda root: "of another day")
    one.up_to(FULL)
    record, = (tmp_path / "out" / "records").rglob("*.json")
    assert json.loads(record.read_text())["commit"] == began


def test_a_full_network_of_other_classes_teaches_nothing(begun, tmp_path, capsys):
    data = pictures(tmp_path / "other", classes="xyz")
    run(begun, data, "train.distill=1.0", accept_changes=True, new_head=True).up_to(KERNEL, only=True)
    assert "this stage trains without distillation" in capsys.readouterr().out
