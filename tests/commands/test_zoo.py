"""A fixed network goes through the same commands as an elastic one; those that need subnets refuse it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAME = "resnet18_cifar"
SMALL = ["--set", "data.image_sizes=[8]", "--set", "data.valid_sizes=[8]", "--set", "data.train_images=64",
         "--set", "data.calibration_images=32", "--set", "data.workers=0", "--set", "data.augment.pad=1",
         "--set", "train.batch_size=32", "--set", "train.global_batch=64"]


def run(command, *arguments):
    command = [sys.executable, f"runners/{command}.py", *map(str, arguments)]
    return subprocess.run(command, cwd=str(ROOT), stdin=subprocess.DEVNULL, text=True, timeout=300,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run of one epoch on a few digits."""
    output = tmp_path_factory.mktemp("zoo")
    done = run("train", "--recipe", "zoo_cifar10", "--data", "digits", "--output", output, *SMALL,
               "--set", f"stages.{NAME}.epochs=1")
    assert done.returncode == 0, done.stderr
    assert f"stage {NAME}: {NAME}, 1 epochs" in done.stdout
    return output


def record(output, name):
    return json.loads((output / "records/zoo_cifar10" / name).read_text(encoding="utf-8"))


def test_trained_evaluated_finetuned_profiled(trained):
    weights = trained / NAME / "weights.h5"
    again = ["train", "--recipe", "zoo_cifar10", "--data", "digits", "--output", trained, *SMALL]
    assert "is done" in run(*again, "--set", f"stages.{NAME}.epochs=1").stdout
    assert "stage.epochs: 1 -> 300" in run(*again).stderr
    done = run("evaluate", "--weights", weights, "--output", trained)
    assert done.returncode == 0, done.stderr
    row, = record(trained, f"evaluate-{NAME}.json")["results"]
    first, = record(trained, f"train-{NAME}.json")["results"]
    assert row == first and row["subnet"] == NAME and row["parameters"] == 11_173_962
    done = run("finetune", "--weights", weights, "--output", trained, "--set", "finetune.epochs=1",
               "--save", trained / "tuned.h5")
    assert done.returncode == 0, done.stderr
    rows = record(trained, "finetune-finetune.json")["results"]
    assert [row["when"] for row in rows] == ["before", "after"]
    done = run("profile", "--weights", weights, "--image-size", 32, "--save", trained / "costs.json")
    assert done.returncode == 0, done.stderr
    row, = json.loads((trained / "costs.json").read_text())
    assert row["macs"] == 555_422_720 and row["subnet"] == NAME


def test_exported_and_in_the_tables(trained):
    done = run("export", "--weights", trained / NAME / "weights.h5", "--output", trained / "net.nnp",
               "--format", "nnp", "--fold")
    assert done.returncode == 0, done.stderr
    done = run("tables", "--records", trained / "records", "--output", trained / "tables")
    assert done.returncode == 0, done.stderr
    page = (trained / "tables/zoo_cifar10.md").read_text(encoding="utf-8")
    assert NAME in page and "11.17 M" in page


@pytest.mark.parametrize("command, arguments", [
    ("search", []), ("predictor", []), ("rank", ["--subnets", "cvpr2021.json"]),
    ("profile", ["--build-table", "latency.json"]), ("evaluate", ["--subnet", "XP1 7x7 3"]),
    ("export", ["--format", "nnabla-nas", "--output", "absent/a.h5"])])
def test_what_needs_subnets_says_so(trained, tmp_path, command, arguments):
    arguments = [str(tmp_path / one) if "." in one or "/" in one else one for one in arguments]
    output = [] if command in ("profile", "export") else ["--output", tmp_path]
    done = run(command, "--weights", trained / NAME / "weights.h5", *arguments, *output)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()[-1:]) == 1, done.stderr
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("error: ") and "resnet18_cifar" in message, done.stderr


def test_the_zoo_is_listed(tmp_path):
    done = run("zoo", "resnet*_cifar", "--classes", 7, "--save", tmp_path / "zoo.json")
    assert done.returncode == 0, done.stderr
    rows = {row["network"]: row for row in json.loads((tmp_path / "zoo.json").read_text())}
    assert rows[NAME]["parameters"] == 11_173_962 - 3 * 513 and rows[NAME]["pixels"] == 32
    assert "pytorch-cifar/ResNet18" in rows[NAME]["sources"] and NAME in done.stdout
    assert "0.9574 (zoo_cifar10), 0.7739 (zoo_cifar100)" in rows["resnet50_cifar"]["published top-1"]
    done = run("zoo", "resnet18")
    assert done.returncode == 2 and "resnet18_cifar" in done.stderr.split("nearest are")[1]


def test_a_network_is_named_by_an_option():
    done = run("profile", "--net", "resnet34_cifar", "--classes", 100)
    assert done.returncode == 0 and "21328292" in done.stdout, done.stderr
    done = run("train", "--recipe", "zoo_cifar10", "--net", "resnet19", "--data", "digits")
    assert done.returncode == 2 and done.stderr.strip().splitlines()[-1].startswith("error: "), done.stderr
    assert "nearest are resnet" in done.stderr
