"""What goes wrong is said before the work, in one line that names the argument, the data or the cure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa import commands

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

@pytest.mark.parametrize("command", ["evaluate", "predictor", "search", "rank", "export", "profile", "data"])
@pytest.mark.parametrize("size", ["0", "-3", "big"])
def test_an_image_has_a_side_of_one_pixel_or_more(capsys, command, size):
    own = ["show"] if command == "data" else ["--weights", "absent.h5"]
    with pytest.raises(SystemExit) as end:
        commands.command(command).run([*own, "--image-size", size])
    assert end.value.code == 2
    assert f"--image-size: {size} is not an integer of 1 or more" in capsys.readouterr().err


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
