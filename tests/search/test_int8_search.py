"""A search for int8: subnets are judged as the files that they become, and those files are what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nnabla_ofa as ofa
from nnabla_ofa.cost.latency import LatencyTable, Times
from nnabla_ofa.cost.timing import Setting
from nnabla_ofa.experiment import lab, parse, quantised
from nnabla_ofa.formats import onnx_file
from nnabla_ofa.system import records
from nnabla_ofa.system.comm import Single

ROOT = Path(__file__).resolve().parents[2]


def search(weights, output, *more, **environment):
    return subprocess.run([sys.executable, "runners/search.py", "--weights", str(weights), "--output",
                           str(output), "--count", "3", "--int8", "--calibration-images", "32",
                           *map(str, more)], cwd=str(ROOT), stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment})


def needs_onnx():
    pytest.importorskip("onnxruntime.quantization", reason=onnx_file.INSTALL)
    pytest.importorskip("nnabla.utils.converter.onnx", reason=onnx_file.INSTALL)


@pytest.fixture(scope="module")
def finished(weights, tmp_path_factory):
    needs_onnx()
    output = tmp_path_factory.mktemp("finished")
    done = search(weights, output)
    assert done.returncode == 0, done.stderr
    return output


def test_the_front_is_of_int8_networks_with_float32_beside_them(finished):
    record, = records.read(finished / "records")
    rows = record["results"]
    assert record["search"]["int8"] == {"calibrate": "minmax", "images": 32}
    assert [row["int8_valid_top1"] for row in rows] == sorted({row["int8_valid_top1"] for row in rows})
    assert all(row["int8_bytes"] > 0 and row["float32_bytes"] > 0 for row in rows)
    kept = {}
    for path in (finished / "search").glob("evaluated-*.jsonl"):
        identity, *lines = map(json.loads, path.read_text().splitlines())
        kept["int8" in identity] = {line["subnet"]: line["top1"] for line in lines}
    assert len(kept[True]) >= 3  # with the recipe's own
    for row in rows:
        assert kept[True][row["canonical"]] == row["int8_valid_top1"]
        assert kept[False][row["canonical"]] == row["valid_top1"]
    assert kept[False].keys() == {row["canonical"] for row in rows}  # float32 is measured of the front alone


def test_the_file_that_the_page_links_to_has_the_accuracy_that_it_says(finished):
    import onnxruntime
    record, = records.read(finished / "records")
    page = (finished / "search/search.html").read_text()
    assert record["files"]["int8 ONNX"]["path"] == "search-int8.onnx"
    assert '<a href="search-int8.onnx">' in page and '<a href="search-float32.onnx">' in page
    best, path = record["results"][-1], finished / "search/search-int8.onnx"
    assert path.stat().st_size == best["int8_bytes"] == record["files"]["int8 ONNX"]["bytes"]
    assert f"{best['top1']:.2%} / {best['int8_top1']:.2%}" in page and "Top-1, test, float32 / int8" in page
    opened = lab.Lab.open(parse.from_settings(record["settings"], (), ""), 0, Single())
    session, hits = onnxruntime.InferenceSession(str(path)), 0
    for _, images, labels in opened.test.batches(best["image_size"]):
        hits += int((session.run(None, {"x": images})[0].argmax(axis=1) == labels).sum())
    assert hits / best["images"] == pytest.approx(best["int8_top1"])


def test_nothing_is_judged_twice(weights, finished):
    done = search(weights, finished, "--name", "again")
    assert done.returncode == 0, done.stderr
    assert "evaluating" not in done.stdout
    first, second = records.read(finished / "records")
    assert first["results"] == second["results"]


def test_other_calibration_is_another_identity():
    needs_onnx()
    assert (quantised.Quantisation("minmax", 32).identity() != quantised.Quantisation("minmax", 64).identity()
            != quantised.Quantisation("entropy", 64).identity())


def test_a_table_of_another_precision_is_refused(weights, tmp_path):
    needs_onnx()
    net, path = ofa.load(weights), tmp_path / "float32.json"
    table = LatencyTable.new(net, Setting("cpu", "a processor", 1, 1, "1.0", "onnxruntime"), "", str(path))
    table.sizes[16] = Times({"an operation": [1.5]}, {"a subnet": [1.5]}, 1.0)
    table.save(path)
    done = search(weights, tmp_path, "--latency-table", path)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and last.startswith("error: "), done.stderr
    assert "for precision=float32, not precision=int8" in last


@pytest.mark.parametrize("count, complaint", [(15, "15 calibration images are too few"),
                                              (5000, "training images")])
def test_a_number_of_calibration_images_that_cannot_be_is_an_error(weights, tmp_path, count, complaint):
    needs_onnx()
    done = search(weights, tmp_path, "--calibration-images", count)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and last.startswith("error: ") and complaint in last


def test_without_onnxruntime_the_command_that_installs_it_is_named(weights, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('there is none')")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = search(weights, tmp_path / "run", PYTHONPATH=path)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and last.startswith("error: ") and "requirements-onnx.txt" in last
    assert done.stderr.count("error: ") == 1
