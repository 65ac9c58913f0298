"""`export --int8`: what it prints, refuses and leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import nnabla_ofa as ofa
from nnabla_ofa.experiment.licence import DIGITS, data_licence
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.formats import onnx_file

ROOT = Path(__file__).resolve().parents[2]
TINY = str(ROOT / "tests" / "tiny.yaml")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "weights.h5"
    config = load_recipe(TINY).net
    net = ofa.Network.create(config.__class__(**{**config.__dict__, "classes": 10}),
                             "K357_E0.6+0.8+1_D123", seed=1)
    net.save(path)
    return path


def export(weights, target, *more):
    return subprocess.run(
        [sys.executable, "runners/export.py", "--recipe", TINY, "--weights", str(weights), "--subnet",
         "XP0.6 3x3 1", "--format", "onnx", "--output", str(target), *more], cwd=str(ROOT),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)


def test_both_accuracies_are_printed_and_predict_runs(tmp_path, weights):
    pytest.importorskip("onnxruntime.quantization", reason=onnx_file.INSTALL)
    onnx = pytest.importorskip("onnx", reason=onnx_file.INSTALL)
    done = export(weights, tmp_path / "int8.onnx", "--int8", "--max-drop", "100", "--calibration-images",
                  "32", "--normalise", "--opset", "17", "--keep-float", "classifier/affine")
    assert done.returncode == 0, done.stderr
    line, = [line for line in done.stdout.splitlines() if line.startswith("top-1 on")]
    assert line.startswith("top-1 on 719 held-out images: float32 0.") and ", int8 0." in line
    assert "in float32: classifier/affine" in done.stdout
    model = onnx.load(str(tmp_path / "int8.onnx"))
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["data_licence"] == DIGITS and json.loads(about["bn_folded"]) and json.loads(about["pixels"])
    assert {node.op_type for node in model.graph.node} >= {"QuantizeLinear", "DequantizeLinear", "Cast"}
    assert (tmp_path / "predict.py").exists()
    few = export(weights, tmp_path / "few.onnx", "--int8", "--calibration-images", "8")
    assert few.returncode and "8 calibration images are too few: give 16 or more" in few.stderr
    assert not (tmp_path / "few.onnx").exists() and few.stderr.count("\n") <= 2


@pytest.mark.parametrize("more, complaint", [
    (["--calibrate", "entropy"], "are of --int8: add it"),
    (["--keep-float", "auto"], "are of --int8: add it"),
    (["--int8", "--max-drop", "-1"], "--max-drop -1 is not 0 or more"),
    (["--int8", "--format", "nnp", "--output", "a.nnp"], "--int8 is of --format onnx, not of nnp")])
def test_options_that_do_not_fit(tmp_path, weights, more, complaint):
    done = export(weights, tmp_path / "a.onnx", *more)
    if "are not here" in done.stderr:
        pytest.skip(onnx_file.INSTALL)
    assert done.returncode and complaint in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_licence_is_the_first_line_of_its_file(tmp_path):
    assert data_licence("digits") == DIGITS and data_licence(None) == data_licence(str(tmp_path)) == ""
    (tmp_path / "LICENSE.txt").write_text("\n  CC0 1.0\nmore\n")
    assert data_licence(str(tmp_path)) == "CC0 1.0"
