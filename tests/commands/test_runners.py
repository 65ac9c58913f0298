"""The command lines as a user meets them: one clear error for bad input, nothing lost by a kill."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from nnabla_ofa import kernels
from nnabla_ofa.experiment import options as cli
from nnabla_ofa.system import container as checkpoint
from nnabla_ofa.system import interrupt, records
from nnabla_ofa.training.checkpoints import newest_checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--recipe", "tests/tiny.yaml"]


def start(*command):
    return subprocess.Popen([sys.executable, *map(str, command)], cwd=str(ROOT), text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(*command):
    process = start(*command)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def train(output, space="K7_E1_D3", *more):
    return ["runners/train.py", "--search-space", space, "--output", output, *TINY, *more]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights of a tiny trained stage."""
    output = tmp_path_factory.mktemp("trained")
    status, _, err = run(*train(output))
    assert status == 0, err
    return output / "K7_E1_D3" / "weights.h5"


@pytest.mark.parametrize("command, complaint", [
    (["train.py", "--search-space", "K357"], "K357_E0.6"),
    (["train.py", "--search-space", "K7_E1_D3", "--data", "/nowhere"], "/nowhere"),
    (["train.py", "--search-space", "K7_E1_D3", "--recipe", "nope"], "xception_digits"),
    (["train.py", "--search-space", "K7_E1_D3", "--set", "train.lr=1"], "unknown key train.lr"),
    (["train.py", "--search-space", "K7_E1_D3", "--output", "/proc/x"], "/proc/x"),
    (["train.py", "--search-space", "K357_E1_D3", "--only", "--output", "/tmp/x"], "weights.h5"),
    (["evaluate.py", "--weights", "absent.h5"], "absent.h5"),
    (["evaluate.py", "--weights", "README.md"], "README.md"),
    (["evaluate.py", "--subnet", "XP1 9x9 3"], "kernel=9"),
    (["evaluate.py", "--subnet", "XP1 3x3 3"], "outside this search space"),
    (["evaluate.py", "--subnets", "absent.txt"], "absent.txt"),
    (["evaluate.py", "--name", "a b"], "--name='a b'"), (["rank.py", "--subnets", "a b.json"], "'a b'"),
    (["search.py", "--max-macs", "10"], "the smallest has"),
    (["finetune.py", "--subnet", "XP1"], "XP0.8 3x3 2"),
    (["finetune.py", "--save", "/tmp"], "/tmp is a folder"),
    (["evaluate.py", "--output", "/proc/x"], "/proc/x")])
def test_bad_input_gets_one_clear_error(trained, command, complaint):
    if command[0] != "train.py" and "--weights" not in command:
        command = [*command, "--weights", str(trained)]
    status, _, err = run(f"runners/{command[0]}", *command[1:])
    errors = [line for line in err.splitlines() if "INFO" not in line]
    assert status == 2 and len(errors) == 1 and errors[0].startswith("error: "), err
    assert complaint in errors[0]


def test_without_a_compiler_plain_nnabla_serves_and_says_so(trained, tmp_path):
    without = {**os.environ, "PATH": str(tmp_path), "CC": "", "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "runners/evaluate.py", "--weights", str(trained), "--output",
               str(tmp_path)]
    plain = subprocess.run(command, cwd=str(ROOT), env=without, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert plain.returncode == 0 and "plain NNabla serves" in plain.stdout, plain.stderr
    asked = subprocess.run([*command, "--kernels", "fast"], cwd=str(ROOT), env=without, text=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert asked.returncode == 2 and "--kernels fast is not possible" in asked.stderr


def test_first_line_says_which_recipe_and_how_to_get_the_other(tmp_path):
    _, out, _ = run("runners/train.py", "--search-space", "K9", "--output", tmp_path)
    assert out.startswith("recipe xception_digits (the default) on digits; for ImageNet: --data")


@pytest.mark.parametrize("data, recipe", [
    (None, "xception_digits"), ("digits", "xception_digits"), ("cifar10", "xception_cifar10"),
    ("/data/cifar10/", "xception_cifar10"), ("/data/imagenet", "xception_imagenet"),
    ("/data/flowers", "xception_imagenet")])
def test_the_datas_name_chooses_the_recipe_where_none_is_named(data, recipe):
    assert cli.default_recipe(data) == recipe


@pytest.mark.parametrize("recipe, data, found", [
    (None, None, ("xception_cifar10", "/home/cifar10")), (None, "digits", ("xception_digits", "digits")),
    ("xception_imagenet", None, ("xception_imagenet", "/home/cifar10")),
    ("xception_digits", None, ("xception_digits", "digits")),
    ("xception_digits", "2012", ("xception_digits", "2012"))])
def test_the_environment_names_data_where_nothing_else_does(monkeypatch, recipe, data, found):
    monkeypatch.setenv("OFA_DATA", "/home/cifar10")
    args = argparse.Namespace(recipe=recipe, data=data, overrides=[], net=None)
    chosen = cli.choose_recipe(args)
    assert (chosen.name, chosen.data.source) == found
    if recipe is None:  # weights name their data, too
        args.data = None
        again = cli.choose_recipe(args, cli.load_recipe("xception_digits").settings())
        assert (again.name, again.data.source) == ("xception_digits", "digits")


def test_weights_are_not_judged_on_other_classes(trained, tmp_path):
    for split in ("train", "val"):
        for name in "abcdefghij":
            folder = tmp_path / "letters" / split / name
            folder.mkdir(parents=True)
            for i in range(3):
                cv2.imwrite(str(folder / f"{i}.png"), np.full((8, 8, 3), 25 * i, np.uint8))
    status, _, err = run("runners/evaluate.py", "--weights", trained, "--data", tmp_path / "letters")
    assert status == 2 and "10 classes (0, 1, 2, ...)" in err and "10 (a, b, c, ...)" in err


@pytest.mark.parametrize("command", [["train.py", "--search-space", "K7_E1_D3", "--seed", "-1"],
                                     ["data.py", "check", "--data", "digits", "--workers", "0"]])
def test_numbers_out_of_range_are_named(command):
    status, _, err = run(f"runners/{command[0]}", *command[1:])
    assert status == 2 and f"{command[-2]}: {command[-1]} is not an integer of" in err


@pytest.mark.parametrize("module", [kernels.block.__module__, "nnabla.context", "contextlib"])
def test_an_interrupt_waits_for_the_end_of_a_function(module):
    scope = {"__name__": module, "os": os, "signal": signal, "time": time}
    exec("def function(done):\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(0.1)\n"
         "    done.append(True)", scope)
    done, deadline = [], time.time() + 10
    with interrupt.between_functions(), pytest.raises(KeyboardInterrupt):
        scope["function"](done)
        while time.time() < deadline:
            time.sleep(0.01)
    assert done


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_and_ends_the_same(trained, tmp_path, how):
    process = start(*train(tmp_path))
    first = tmp_path / "K7_E1_D3" / "checkpoint-0001.h5"
    deadline = time.time() + 120
    while not first.exists() and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130 and "Traceback" not in err and "interrupted" in err, err
    status, out, err = run(*train(tmp_path))
    assert status == 0, err
    expected, _ = checkpoint.load(trained)
    found, _ = checkpoint.load(tmp_path / "K7_E1_D3" / "weights.h5")
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    status, out, _ = run(*train(tmp_path))
    assert status == 0 and "is done" in out


def test_the_time_of_a_resumed_run_holds_the_epochs_before(trained, tmp_path):
    folder = tmp_path / "K7_E1_D3"
    shutil.copytree(str(trained.parent), str(folder))
    (folder / "weights.h5").unlink()  # as killed between the last epoch and the stage's end
    arrays, meta = newest_checkpoint(folder)
    for epoch in meta["history"]:
        epoch["seconds"] = 1000.0
    save_checkpoint(folder, meta["epoch"], arrays, meta)
    status, out, err = run(*train(tmp_path))
    assert status == 0, err
    assert f"goes on after epoch {meta['epoch']} of {meta['epoch']}" in out
    record, = records.read(tmp_path / "records")
    assert 2000 < record["seconds"] < 2100


def test_a_second_run_into_one_folder_is_refused(tmp_path):
    slow = ["--set", "stages.fullnet.epochs=400"]
    process = start(*train(tmp_path, "K7_E1_D3", *slow))
    try:
        deadline = time.time() + 60
        while not (tmp_path / "K7_E1_D3" / "checkpoint-0001.h5").exists() and time.time() < deadline:
            time.sleep(0.05)
        status, _, err = run(*train(tmp_path, "K7_E1_D3", *slow))
    finally:
        process.kill()
        process.communicate()
    assert status == 2 and "another run is writing" in err


def test_a_second_family_goes_through_the_same_commands(tmp_path):
    weights = tmp_path / "C4-16_C4-32_C4-64" / "weights.h5"
    settings = ["--recipe", "tests/tiny_resnet20.yaml", "--output", tmp_path]
    largest = "16-16-16-16-16-16-16-32-32-32-32-32-32-64-64-64-64-64-64-64"
    for command in (["train.py", "--search-space", "C4-16_C4-32_C4-64"],
                    ["evaluate.py", "--weights", weights, "--subnet", largest],
                    ["search.py", "--weights", weights, "--count", "8", "--max-macs", "500k"],
                    ["finetune.py", "--weights", weights]):
        status, out, err = run("runners/" + command[0], *command[1:], *settings)
        assert status == 0, err
    page = tmp_path / "tables" / "tiny_resnet20.md"
    status, out, err = run("runners/tables.py", "--records", tmp_path / "records", "--output", page.parent)
    assert status == 0 and largest in page.read_text(), err
