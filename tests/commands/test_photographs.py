"""A user's photographs: from class folders to a network, to other classes, predictions and a file."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import nnabla_ofa as ofa
from nnabla_ofa.system import records

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def photographs(shared, tmp_path_factory):
    """Two data sets of 36 real photographs in class folders of a dozen: of 3 classes, and of 2 others."""
    archive = shared / "data" / "imagenet_samples_200.tar"
    if not archive.exists():
        pytest.skip(f"no {archive.name} in ../shared/data")
    folder = tmp_path_factory.mktemp("photographs")
    with tarfile.open(archive) as tar:
        for i, member in enumerate([m for m in tar.getmembers() if m.isfile()][:36]):
            content, name = tar.extractfile(member).read(), Path(member.name).name
            part = "val" if i % 4 == 3 else "train"
            for path in (folder / "first" / part / "abc"[i // 12] / name,
                         folder / "second" / part / ("even", "odd")[i // 6 % 2] / name):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    return folder


def run(*command):
    done = subprocess.run([sys.executable, *map(str, command)], cwd=str(ROOT), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_class_folders_to_a_file_for_other_programs(photographs, tmp_path):
    settings = [
        "net.width_mult=0.05", "net.middle_blocks=1", "data.image_sizes=[32]", "data.valid_sizes=[32]",
        "data.held_out=0.3", "data.calibration_images=16", "data.workers=1", "train.batch_size=8",
        "train.global_batch=8", "stages.fullnet.epochs=1", "finetune.subnet=null", "finetune.epochs=1",
        *(f"stages.{name}.validate=[]" for name in ("kernel", "depth1", "depth2", "expand1", "expand2"))]
    output, subnet, first = tmp_path / "run", tmp_path / "subnet.h5", photographs / "first"
    said = run("runners/train.py", "--data", first, "--search-space", "K7_E1_D3", "--output", output,
               *(word for text in settings for word in ("--set", text)))
    assert "27 training images (train/), 9 test images (val/), 3 classes" in said
    run("runners/finetune.py", "--weights", output / "K7_E1_D3/weights.h5", "--data", photographs / "second",
        "--new-head", "--subnet", "XP1 7x7 3", "--output", tmp_path / "fine", "--save", subnet)
    record, = [one for one in records.read(tmp_path / "fine/records") if one["kind"] == "finetune"]
    assert ofa.load(subnet).info["classes"] == ["even", "odd"] and record["results"][-1]["images"] == 9
    images = sorted((photographs / "second/val").rglob("*.JPEG"))
    said = run("runners/predict.py", "--weights", subnet, *images)
    lines = [line.split("\t") for line in said.splitlines()]
    assert [line[0] for line in lines] == [str(image) for image in images for _ in range(2)]
    assert {line[2] for line in lines} == {"even", "odd"}
    said = run("runners/export.py", "--weights", subnet, "--data", photographs / "second",
               "--output", tmp_path / "subnet.nnp", "--format", "nnp")
    assert "top-1 equal" in said and (tmp_path / "subnet.nnp").stat().st_size > 10000
