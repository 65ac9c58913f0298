"""What goes wrong is said before the work, in one line that names the argument, the data or the cure."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa import commands
from nnabla_ofa.data import cifar, open_dataset
from nnabla_ofa.data import split as divide
from nnabla_ofa.experiment.few_images import begun, fitted
from nnabla_ofa.experiment.options import located
from nnabla_ofa.experiment.parse import default_recipe
from nnabla_ofa.system import container
from nnabla_ofa.training.loop import passes_per_update
from nnabla_ofa.training.settings import Train

ROOT = Path(__file__).resolve().parents[2]


def run(name, *arguments, cwd=ROOT):
    """(exit status, standard output, lines of standard error) of a runner."""
    command = [sys.executable, str(ROOT / f"runners/{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=str(cwd), stdin=subprocess.DEVNULL, timeout=300, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.returncode, done.stdout, done.stderr.splitlines()


def pictures(folder, classes=("cat", "dog"), count=4, splits=("train", "val")):
    """A data set of `count` small images a class and split."""
    rng = np.random.default_rng(0)
    for split in splits:
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
                cv2.imwrite(str(folder / split / name / f"{i}.png"), image)


# Before the work, not after it -------------------------------------------------------------------

@pytest.mark.parametrize("command", ["profile", "data"])
@pytest.mark.parametrize("size", ["0", "-3", "big"])
def test_an_image_has_a_side_of_one_pixel_or_more(capsys, command, size):
    own = ["show"] if command == "data" else ["--weights", "absent.h5"]
    with pytest.raises(SystemExit) as end:
        commands.command(command).run([*own, "--image-size", size])
    assert end.value.code == 2
    assert f"--image-size: {size} is not an integer of 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "predictor", "export"])
@pytest.mark.parametrize("size", ["0", "-3"])
def test_a_size_that_replaces_the_recipes_is_refused_as_the_recipes_is(weights, tmp_path, command, size):
    form = ["--format", "nnp", "--output", tmp_path / "net.nnp"] if command == "export" else []
    status, out, err = run(command, "--weights", weights, "--image-size", size, *form)
    errors = [line for line in err if "INFO" not in line]
    assert status == 2 and len(errors) == 1 and f"data.valid_sizes=({size},) is not" in errors[0], err
    assert errors[0].startswith("error: --image-size: ")


@pytest.mark.parametrize("command, complaint", [
    (["evaluate", "--weigths", "a.h5"], "the following arguments are required: --weights"),
    (["evaluate", "--weights", "a.h5", "--foo"], "unrecognized arguments: --foo"),
    (["search", "--weights", "a.h5", "--objective", "two\nlines"], "argument --objective: invalid choice: "),
    (["data"], "the following arguments are required: prepare, check or show"),
    (["data", "show", "--count", "0"], "argument --count: 0 is not an integer of 1 or more")])
def test_what_is_wrong_with_a_command_line_is_one_line(capsys, command, complaint):
    """Of a command and of a command within it; no usage comes before."""
    with pytest.raises(SystemExit) as end:
        commands.command(command[0]).run(command[1:])
    line, = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and line.startswith(f"error: {complaint}"), line


def test_processes_say_once_what_is_wrong_with_their_command_line(mpirun):
    done = mpirun(2, ["runners/evaluate.py", "--foo"], check=False)
    assert done.returncode == 2 and done.stderr.count("error: ") == 1, done.stderr


@pytest.mark.parametrize("place", ["file/sheet.png", "/proc/sheet.png"])
def test_a_contact_sheet_that_cannot_be_written_is_refused_before_the_work(tmp_path, place):
    (tmp_path / "file").write_bytes(b"")
    status, _, err = run("data", "show", "--data", "absent", "--save", tmp_path / place)
    assert status == 2 and err[-1].startswith(f"error: cannot write {tmp_path / place}"), err


@pytest.mark.parametrize("count", [0, 2, 4, 5])
def test_an_order_of_few_subnets_is_said_to_say_nothing(weights, tmp_path, count):
    net = ofa.load(weights)
    archs = net.space.sample_distinct(6, np.random.default_rng(0))
    entries = {str(i): {"arch": str(arch), **({"acc": 0.5 + i / 100} if i < count else {})}
               for i, arch in enumerate(archs)}
    (tmp_path / "few.json").write_text(json.dumps(entries))
    status, out, err = run("rank", "--weights", weights, "--output", tmp_path, "--subnets",
                           tmp_path / "few.json")
    assert status == 0, err
    assert (f"the file knows the accuracy of {count} subnets: an order of fewer than 5" in out) == (count < 5)
    assert ("supernet: Pearson" in out) == (count > 0)


@pytest.mark.parametrize("samples", ["3", "9", "0", "-1"])
def test_too_few_samples_are_refused_before_they_are_measured(capsys, samples):
    with pytest.raises(SystemExit) as end:
        commands.command("predictor").run(["--weights", "absent.h5", "--samples", samples])
    assert end.value.code == 2
    assert f"--samples: {samples} is not an integer of 10 or more" in capsys.readouterr().err


def test_a_space_of_too_few_subnets_is_refused_before_they_are_measured(weights, tmp_path):
    ofa.load(weights).extract().save(tmp_path / "one.h5")
    status, out, err = run("predictor", "--weights", tmp_path / "one.h5", "--output", tmp_path)
    assert status == 2 and "has 1 different subnets, too few to learn from" in err[-1]
    assert "evaluating" not in out and not list(tmp_path.rglob("*.jsonl"))


def test_unreadable_images_are_said_to_be_in_the_data_that_were_checked(tmp_path, monkeypatch):
    pictures(tmp_path / "flowers")
    (tmp_path / "flowers/train/cat/0.png").write_bytes(b"nothing")
    monkeypatch.setenv("OFA_DATA", str(tmp_path / "flowers"))
    status, _, err = run("data", "check")
    assert status == 2 and err[-1].startswith(f"error: {tmp_path / 'flowers'} has unreadable images")


def test_a_contact_sheet_shows_classes_of_any_name(tmp_path):
    pictures(tmp_path / "odd", classes=("new\nline", "\x1b[31m", "plain"))
    sheet = tmp_path / "sheet.png"
    status, _, err = run("data", "show", "--data", tmp_path / "odd", "--save", sheet)
    assert status == 0 and sheet.stat().st_size, err


# Data --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("data", ["cifar-10-batches-py", "cifar-10-batches-bin/", "cifar-10-python.tar.gz",
                                  "cifar-10-binary.tar.gz", "cifar-100-python", "cifar-100-binary",
                                  "cifar100"])
def test_cifar_under_a_distributed_name_takes_a_recipe_of_cifar(data):
    assert default_recipe(data) == default_recipe(f"/data/{data}") == "xception_cifar10"


@pytest.mark.parametrize("form", cifar.FORMS)
def test_cifar_in_any_folder_takes_a_recipe_of_cifar(tmp_path, form):
    for folder in (tmp_path / "mine", tmp_path / "whole" / form.folder):
        folder.mkdir(parents=True)
        for name in (*form.train, form.test, form.classes):
            (folder / name).write_bytes(b"")
    for folder in ("mine", "whole"):
        assert default_recipe(str(tmp_path / folder)) == "xception_cifar10"
    assert default_recipe(str(tmp_path)) == "xception_imagenet"


def test_a_relative_folder_is_found_from_another_working_directory(tmp_path, monkeypatch):
    pictures(tmp_path / "flowers")
    tiny = ["--recipe", ROOT / "tests/tiny.yaml", "--output", tmp_path / "out", "--set", "data.held_out=0.25",
            "--set", "stages.fullnet.epochs=1"]
    status, out, err = run("train", *tiny, "--search-space", "K7_E1_D3", "--data", "flowers", cwd=tmp_path)
    assert status == 0, err
    weights = tmp_path / "out/K7_E1_D3/weights.h5"
    assert ofa.load(weights).info["recipe"]["data"]["source"] == str(tmp_path / "flowers")
    (tmp_path / "elsewhere").mkdir()
    status, out, err = run("evaluate", "--weights", weights, "--output", tmp_path / "out",
                           cwd=tmp_path / "elsewhere")
    assert status == 0 and "Top_1_Acc" in out, err


@pytest.mark.parametrize("source", ["digits", "cifar10", "absent/folder", "/absent"])
def test_names_of_data_sets_stay_names(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert located(source) == source
    (tmp_path / "digits").mkdir()  # open_dataset takes the name, too
    assert located("digits") == "digits"
    (tmp_path / "cifar10").mkdir()
    assert located("cifar10") == str(tmp_path / "cifar10")


@pytest.mark.parametrize("which, split", [("held out of training", "train"), ("test images", "val")])
def test_images_of_which_none_can_be_read_are_named_before_the_training(tmp_path, which, split):
    """Figures on them were NaN, after the last epoch."""
    pictures(tmp_path / "data", count=12)
    train, test = open_dataset(str(tmp_path / "data"), in_memory=False)
    chosen = test.paths if split == "val" else divide(train, 0.25, 0)[1].paths
    for path in chosen:
        Path(path).write_bytes(b"nothing")
    tiny = ["--recipe", "tests/tiny.yaml", "--output", tmp_path / "out", "--set", "data.held_out=0.25"]
    tiny += ["--set", "data.max_unreadable=0.99", "--search-space", "K7_E1_D3", "--data", tmp_path / "data"]
    status, out, err = run("train", *tiny)
    assert status == 2 and err[-1].startswith(f"error: none of the {len(chosen)} ") and which in err[-1], err
    assert chosen[-1] in err[-1] and "stage" not in out
    Path(chosen[0]).write_bytes(Path(train.paths[0] if split == "val" else test.paths[0]).read_bytes())
    status, out, err = run("train", *tiny)
    assert status == 0, err


# Few images --------------------------------------------------------------------------------------

def test_a_data_set_of_36_images_just_trains(tmp_path):
    pictures(tmp_path / "data", count=20)
    tiny = ["--recipe", "tests/tiny.yaml", "--output", tmp_path / "out", "--set", "data.held_out=0.1",
            "--set", "train.batch_size=64", "--set", "train.global_batch=512",
            "--set", "stages.fullnet.epochs=1"]
    status, out, err = run("train", *tiny, "--search-space", "K7_E1_D3", "--data", tmp_path / "data")
    assert status == 0, err
    assert "36 training images are fewer than an update takes (train.global_batch=512): it takes 36" in out
    weights = tmp_path / "out/K7_E1_D3/weights.h5"
    trained = ofa.load(weights).info["recipe"]["train"]
    assert (trained["batch_size"], trained["global_batch"]) == (36, 36)  # as it was trained
    status, out, err = run("finetune", *tiny[2:6], "--weights", weights)
    assert status == 0, err


def test_updates_fit_the_images_and_the_processes():
    for batch_size, passes, ranks in ((64, 8, 1), (64, 8, 2), (64, 6, 3), (1, 512, 4), (512, 1, 1), (7, 5, 5),
                                      (1, 4, 4)):
        asked = Train(batch_size=batch_size, global_batch=batch_size * passes)
        for images in (*range(ranks, 80), 100, 511, 512, 513, 5000):
            found = fitted(asked, images, ranks)
            if images >= asked.global_batch:
                assert found is asked
                continue
            assert passes_per_update(found, ranks) >= 1 and found.batch_size <= batch_size
            assert images - passes_per_update(found, ranks) * ranks < found.global_batch <= images
        for images in range(ranks):
            with pytest.raises(ofa.OfaError, match=f"{images} training images .* {ranks} processes"):
                fitted(asked, images, ranks)


def test_two_processes_share_few_images(mpirun, tmp_path):
    """And one goes on where two began; three are refused with the numbers that fit."""
    pictures(tmp_path / "data", count=20)
    command = ["runners/train.py", "--recipe", "tests/tiny.yaml", "--output", tmp_path / "out", "--data",
               tmp_path / "data", "--search-space", "K7_E1_D3", "--set", "data.held_out=0.1",
               "--set", "stages.fullnet.epochs=1"]
    done = mpirun(2, command)
    assert "it takes 36, in passes of 18" in done.stdout
    (tmp_path / "out/K7_E1_D3/weights.h5").unlink()  # as killed before the stage's end
    three = mpirun(3, command, check=False)
    assert three.stderr.count("error: 3 processes cannot share the 2 passes of an update evenly "
                              "(train.global_batch=36 in passes of train.batch_size=18): start 1 or 2") == 1
    status, out, err = run("train", *command[1:])
    assert status == 0 and "it takes 36, in passes of 18" in out and "goes on after epoch 1" in out, err
    weights = ofa.load(tmp_path / "out/K7_E1_D3/weights.h5")
    assert weights.info["recipe"]["train"]["batch_size"] == 18


def test_few_images_keep_the_passes_they_were_begun_with(tmp_path):
    train, path = Train(batch_size=16, global_batch=128), tmp_path / "K7_E1_D3/checkpoint-0001.h5"
    assert begun(train, 36, tmp_path) is None
    for passes in (3, 4, 5, 36):
        before = {"batch_size": 36 // passes, "global_batch": 36 // passes * passes}
        container.save(path, {}, {"info": {"recipe": {"train": before}}})
        assert begun(train, 36, tmp_path) == replace(train, **before)
    assert begun(replace(train, batch_size=8), 36, tmp_path) == replace(train, batch_size=1, global_batch=36)
    container.save(path, {}, {"info": {"recipe": {"train": {"batch_size": 18, "global_batch": 36}}}})
    assert begun(train, 36, tmp_path) is None  # the recipe now allows 16
    path.write_bytes(b"damaged")
    assert begun(train, 36, tmp_path) is None
