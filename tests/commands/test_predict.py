"""Predictions are what evaluation sees: the same images, the same statistics, the same scores."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.commands.predict import COMMAND
from nnabla_ofa.data import Augment, Dataset, open_dataset
from nnabla_ofa.data.backends import open_backend
from nnabla_ofa.data.views import valid_images
from nnabla_ofa.experiment import command
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.nets.zoo import ZOO, Entry, resnet_cifar
from nnabla_ofa.system import records
from nnabla_ofa.system.comm import Single

ROOT = Path(__file__).resolve().parents[2]
OLD = ROOT / "tests/fixtures/commit-4d1da9f"
SMALLEST = "XP1 3x3 3"


def run(*command):
    done = subprocess.run([sys.executable, *map(str, command)], cwd=str(ROOT), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    return done.returncode, done.stdout, [line for line in done.stderr.splitlines() if "INFO" not in line]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a supernet of one epoch, its largest and smallest subnet judged on the test images."""
    output = tmp_path_factory.mktemp("trained")
    stage = ["--recipe", "tests/tiny.yaml", "--search-space", "K357_E1_D3", "--output", output]
    short = [text for name in ("fullnet", "kernel") for text in ("--set", f"stages.{name}.epochs=1")]
    status, _, err = run("runners/train.py", *stage, *short)
    assert status == 0, err
    status, _, err = run("runners/evaluate.py", "--weights", output / "K357_E1_D3/weights.h5",
                         "--subnet", "XP1 7x7 3", "--subnet", SMALLEST, "--output", output)
    assert status == 0, err
    return output


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The test images as files, and their labels."""
    folder, (_, test) = tmp_path_factory.mktemp("digits"), open_dataset("digits")
    for i, image in enumerate(test.images):
        cv2.imwrite(str(folder / f"{i:03}.png"), image)
    return sorted(folder.iterdir()), test.labels


@pytest.fixture
def predict(capsys, monkeypatch):
    """predict(arguments...) -> (exit status, standard output, lines of standard error), in this process."""
    monkeypatch.setattr(command, "connect", lambda device: Single())  # the context is the tests' own

    def call(*arguments):
        status = 0
        try:
            COMMAND.run(list(map(str, arguments)))
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return status, out, err.splitlines()
    return call


def alone(path, classes=("cat", "dog"), **info):
    """A stand-alone network of random weights and statistics, as a file; info: what it carries."""
    rng, net = np.random.default_rng(3), ofa.Network.create(ofa.ResNet20(classes=len(classes)), "C4_C4_C4")
    net.set_arrays({name: rng.uniform(0.5, 1.5, array.shape) if name.endswith(("var", "gamma")) else
                    array + 0.1 * rng.standard_normal(array.shape) for name, array in net.arrays().items()})
    net.info = {"classes": list(classes), **info}
    net.save(path)
    return net


def probabilities(logits):
    shares = np.exp(logits.astype(np.float64))
    return shares / shares.sum(axis=1, keepdims=True)


# Against evaluation ------------------------------------------------------------------------------

@pytest.mark.parametrize("subnet", [None, SMALLEST])
def test_predictions_are_those_of_the_evaluation(trained, digits, predict, subnet):
    paths, labels = digits
    chosen = ["--subnet", subnet] if subnet else []
    status, out, err = predict("--weights", trained / "K357_E1_D3/weights.h5", "--json", "--top", 10, *paths,
                               *chosen)
    assert status == 0, err
    assert ["training images of digits" in line and SMALLEST in line for line in err] == [True] * bool(subnet)
    rows = [one["predictions"] for one in json.loads(out)]
    own = [next(row["probability"] for row in of if row["label"] == label) for of, label in zip(rows, labels)]
    record, = (one for one in records.read(trained / "records") if one["kind"] == "evaluate")
    judged, = (row for row in record["results"] if (SMALLEST in row["subnet"]) == bool(subnet))
    top1 = np.mean([of[0]["label"] == label for of, label in zip(rows, labels)])
    assert top1 == pytest.approx(judged["top1"])
    assert -np.mean(np.log(own)) == pytest.approx(judged["loss"], rel=1e-5)
    assert all(sum(row["probability"] for row in of) == pytest.approx(1) for of in rows)


def test_data_that_are_named_give_new_statistics(trained, digits, predict):
    """At the image size that is asked for; without them the stored ones serve, and that is said."""
    common = ["--weights", trained / "K357_E1_D3/weights.h5", "--image-size", 12, *digits[0][:3], "--json"]
    status, stored, err = predict(*common)
    assert status == 0 and ["are those of 16 pixels" in line for line in err] == [True], err
    status, anew, err = predict(*common, "--data", "digits")
    assert status == 0 and ["at 12 pixels: from 64 training images" in line for line in err] == [True], err
    assert json.loads(stored) != json.loads(anew)


def test_the_best_of_a_stage_and_new_weights_are_calibrated(tmp_path, trained, weights, digits, predict):
    """Under another name, too; files that are older than what tells this are known by it."""
    renamed, old = tmp_path / "renamed.h5", tmp_path / "best.h5"
    shutil.copy(trained / "K357_E1_D3/best.h5", renamed)
    shutil.copy(OLD / "K7_E1_D3/weights.h5", old)
    for path, why in ((renamed, "within a stage"), (old, "within a stage"), (weights, "never calibrated")):
        status, _, err = predict("--weights", path, digits[0][0])
        assert status == 0 and len(err) == 1 and why in err[0] and "training images of digits" in err[0], err
    status, _, err = predict("--weights", OLD / "K7_E1_D3/weights.h5", digits[0][0])
    assert (status, err) == (0, [])


def test_fine_tuned_subnets_and_saved_ones_predict_as_they_are(tmp_path, trained, digits, predict):
    tuned = tmp_path / "tuned.h5"
    weights, own = trained / "K357_E1_D3/weights.h5", ["--subnet", SMALLEST, "--set", "data.valid_sizes=[12]"]
    status, _, err = run("runners/finetune.py", "--weights", weights, *own, "--save", tuned, "--output",
                         tmp_path)
    assert status == 0, err
    assert predict("--weights", tuned, digits[0][0])[::2] == (0, [])
    best, = tmp_path.glob("finetune-*/best.h5")
    assert "within a stage" in predict("--weights", best, digits[0][0])[2][0]
    net = ofa.load(tuned)
    assert net.info["calibrated"] == {"subnet": str(net.space.largest()), "image_size": 12}

    net, pixels = ofa.load(weights), open_dataset("digits")[0].images[:64]
    net.calibrate(pixels.transpose(0, 3, 1, 2), SMALLEST)
    net.save(tmp_path / "supernet.h5")
    net.extract(SMALLEST).save(tmp_path / "calibrated.h5")
    net.extract("XP1 5x5 3").save(tmp_path / "other.h5")
    for name, more, said in (("calibrated", [], []), ("supernet", ["--subnet", SMALLEST], []),
                             ("supernet", [], ["of another subnet"]), ("other", [], ["of another subnet"])):
        status, _, err = predict("--weights", tmp_path / f"{name}.h5", *more, digits[0][0])
        assert status == 0 and ["of another subnet" in line for line in err] == [True] * len(said), err


def test_a_subnet_without_data_is_refused(trained, digits, predict):
    asked = ["--weights", trained / "K357_E1_D3/weights.h5", "--subnet", SMALLEST, digits[0][0]]
    for more in (["--set", "data.source=/nowhere"], ["--data", "/nowhere"]):
        status, out, err = predict(*asked, *more)
        assert (status, out, len(err)) == (2, "", 1) and "--data" in err[0] + more[0] and "/nowhere" in err[0]


def test_the_runner_and_the_module_say_the_same(trained, digits):
    asked = ["--weights", trained / "K357_E1_D3/weights.h5", *digits[0][:2], "--top", 1]
    first, second = (run(*way, *asked) for way in (["runners/predict.py"], ["-m", "nnabla_ofa", "predict"]))
    assert first == second and first[0] == 0 and len(first[1].splitlines()) == 2, first


# Images ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("backend", ["opencv", "pillow"])
def test_images_are_read_as_in_evaluation(tmp_path, predict, backend):
    """The centre square, reduced while it is decoded, resized and normalised."""
    rng = np.random.default_rng(0)
    paths = [str(tmp_path / name) for name in ("wide.jpg", "tall.png", "small.jpg")]
    for path, shape in zip(paths, ((90, 200, 3), (120, 80, 3), (9, 11, 3))):
        cv2.imwrite(path, cv2.resize(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8), shape[1::-1]))
    augment = Augment(valid_resize=1.25)
    overrides = ["data.valid_sizes=[16]", f"data.backend={backend}", "data.augment.valid_resize=1.25"]
    recipe = load_recipe(ROOT / "tests/tiny_resnet20.yaml", overrides).settings()
    net = alone(tmp_path / "alone.h5", mean=augment.mean, std=augment.std, recipe=recipe)
    images = Dataset("images", ("cat", "dog"), np.zeros(3, np.int32), paths=tuple(paths))
    seen = valid_images(images, range(3), 16, augment, open_backend(backend))
    expected = probabilities(net.logits(np.stack(list(seen)).transpose(0, 3, 1, 2)))
    status, out, err = predict("--weights", tmp_path / "alone.h5", "--json", *paths)
    assert status == 0 and not err, err
    assert [one["image"] for one in json.loads(out)] == paths
    for one, shares in zip(json.loads(out), expected):
        found = {row["label"]: row["probability"] for row in one["predictions"]}
        assert [found[0], found[1]] == pytest.approx(shares, rel=1e-4)


def test_unreadable_images_are_named_and_the_others_done(tmp_path, digits, predict):
    alone(tmp_path / "alone.h5", mean=[0.5] * 3, std=[0.2] * 3)
    (tmp_path / "damaged.jpg").write_bytes(b"nothing")
    wrong = ["absent.png", str(tmp_path / "damaged.jpg"), str(tmp_path), "new\nline.png"]
    mixed = [wrong[0], digits[0][0], wrong[1], wrong[2], digits[0][1], wrong[3], wrong[0]]
    asked = ["--weights", tmp_path / "alone.h5", "--image-size", 16]
    status, out, err = predict(*asked, *mixed)
    assert status == 2 and out == predict(*asked, *digits[0][:2])[1] and len(out.splitlines()) == 4
    assert len(err) == 4 and all(line.startswith("error: ") for line in err)
    assert all(name in line for name, line in zip([*wrong[:3], "new\\nline.png"], err))
    status, out, err = predict(*asked, "--json", *wrong[:2])
    assert (status, json.loads(out), len(err)) == (2, [], 2)


def test_no_image_is_refused(tmp_path, predict):
    status, _, err = predict("--weights", tmp_path / "alone.h5")
    assert status == 2 and "IMAGE" in err[-1]


# What is printed ---------------------------------------------------------------------------------

def test_lines_hold_file_probability_and_class(tmp_path, digits, predict):
    names = ["cat", "new\nline", "tab\there", "\x1b[31mred", "d\xe9j\xe0", "<script>", "last"]
    alone(tmp_path / "alone.h5", names, mean=[0.5] * 3, std=[0.2] * 3)
    asked = ["--weights", tmp_path / "alone.h5", "--image-size", 16, *digits[0][:2]]
    status, out, err = predict(*asked, "--json", "--top", 100)
    found = json.loads(out)
    assert status == 0 and not err
    assert all({row["class"] for row in one["predictions"]} == set(names) for one in found)
    for top in (None, 1, 3, 100):
        status, out, _ = predict(*asked, *(["--top", top] if top else []))
        lines = [line.split("\t") for line in out.splitlines()]
        assert [len(line) for line in lines] == [3] * 2 * min(top or 5, 7)
        expected = [(one["image"], row) for one in found for row in one["predictions"][:top or 5]]
        for (path, share, name), (image, row) in zip(lines, expected):
            assert (path, share) == (image, f"{row['probability']:.4f}")
            assert name == row["class"].encode("unicode_escape").decode() or name == row["class"]
            assert name.isprintable()
    shares = [row["probability"] for row in found[0]["predictions"]]
    assert shares == sorted(shares, reverse=True) and math.isclose(sum(shares), 1)


@pytest.mark.parametrize("arguments, complaint", [
    (["--top", "0"], "--top"), (["--image-size", "0"], "--image-size"),
    (["--image-size", "-3"], "--image-size"), (["--subnet", "XP1 7x7 3"], "XP1 7x7 3"),
    (["--set", "data.workers=0"], "carries no recipe"), ([], "--image-size")])
def test_wrong_arguments_are_named(tmp_path, digits, predict, arguments, complaint):
    alone(tmp_path / "alone.h5", mean=[0.5] * 3, std=[0.2] * 3)
    status, out, err = predict("--weights", tmp_path / "alone.h5", digits[0][0], *arguments)
    assert (status, out) == (2, "") and complaint in err[-1], err


@pytest.mark.parametrize("info, complaint", [({}, "mean and std"), ({"mean": [0.5] * 3}, "mean and std"),
                                             ({"classes": ["cat"]}, "1 names for 2 classes")])
def test_files_that_do_not_say_enough_are_refused(tmp_path, digits, predict, info, complaint):
    net = alone(tmp_path / "alone.h5")
    net.info = info
    net.save(tmp_path / "alone.h5")
    status, out, err = predict("--weights", tmp_path / "alone.h5", "--image-size", 16, digits[0][0])
    assert (status, out, len(err)) == (2, "", 1) and complaint in err[0], err


def test_scores_that_are_not_finite_are_no_predictions(tmp_path, digits, predict):
    net = alone(tmp_path / "alone.h5", mean=[0.5] * 3, std=[0.2] * 3)
    net.set_arrays({name: np.full_like(a, np.nan) for name, a in net.arrays().items()})
    net.save(tmp_path / "alone.h5")
    status, out, err = predict("--weights", tmp_path / "alone.h5", "--image-size", 16, digits[0][0])
    assert (status, out, len(err)) == (2, "", 1) and "not finite" in err[0], err


def test_fixed_networks_predict_too(tmp_path, monkeypatch, digits, predict):
    monkeypatch.setitem(ZOO, "small_resnet", Entry(partial(resnet_cifar.resnet, blocks=(1, 1))))
    net = ofa.FixedNetwork.create(ofa.Fixed("small_resnet", classes=10))
    _, test = open_dataset("digits")
    net.info = {"mean": [0.5] * 3, "std": [0.2] * 3}
    net.calibrate(test.images.transpose(0, 3, 1, 2))
    net.save(tmp_path / "fixed.h5")
    status, out, err = predict("--weights", tmp_path / "fixed.h5", "--image-size", 8, "--top", 10,
                               digits[0][0])
    seen = valid_images(test, [0], 8, Augment(), open_backend("opencv"))
    expected = probabilities(net.logits(np.stack(list(seen)).transpose(0, 3, 1, 2)))[0]
    assert status == 0 and not err, err
    found = {name: float(share) for _, share, name in (line.split("\t") for line in out.splitlines())}
    assert [found[name] for name in "0123456789"] == pytest.approx(expected, abs=1e-4)
