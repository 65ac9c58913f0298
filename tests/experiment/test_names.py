"""Names that are not UTF-8, and terminals that cannot show them: no run ends by them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from nnabla_ofa.system import records

ROOT = Path(__file__).resolve().parents[2]
NAME = b"donn\xe9es"
SHORT = ["--set", "stages.fullnet.epochs=1", "--set", "train.batch_size=8", "--set", "train.global_batch=16",
         "--set", "data.image_sizes=[8]", "--set", "data.valid_sizes=[8]", "--set",
         "data.calibration_images=8"]


def run(*command, **environment):
    done = subprocess.run([sys.executable, *command], cwd=str(ROOT), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done


@pytest.fixture
def folder(tmp_path):
    """A folder whose name is not UTF-8, with a data set; skips where no file system has one."""
    path = os.path.join(os.fsencode(tmp_path), NAME)
    try:
        os.mkdir(path)
    except OSError as error:
        pytest.skip(f"no such names here: {error}")
    for split in ("train", "val"):
        for label, name in enumerate(("chat", "chien\u00e9")):
            place = tmp_path / "plain" / split / name
            place.mkdir(parents=True)
            for i in range(12):
                _, png = cv2.imencode(".png", np.full((8, 8, 3), 90 * label + i, np.uint8))
                (place / f"{i}.png").write_bytes(png.tobytes())
    os.rename(tmp_path / "plain", os.path.join(path, b"data"))
    return os.fsdecode(path)


@pytest.mark.parametrize("encoding", ["utf-8:strict", "latin-1:strict", "ascii:strict"])
def test_a_stage_in_such_a_folder_and_its_tables(folder, encoding):
    output = os.path.join(folder, "out")
    run("runners/train.py", "--recipe", "tests/tiny.yaml", "--data", os.path.join(folder, "data"),
        "--search-space", "K7_E1_D3", "--output", output, *SHORT, PYTHONIOENCODING=encoding)
    record, = records.read(os.path.join(output, "records"))
    assert record["settings"]["data"]["source"] == os.path.join(folder, "data")
    assert output in record["command"] or "donn" in record["command"]
    run("runners/tables.py", "--records", os.path.join(output, "records"), "--output",
        os.path.join(output, "tables"), PYTHONIOENCODING=encoding)
    run("runners/data.py", "check", "--data", os.path.join(folder, "data"), PYTHONIOENCODING=encoding)
