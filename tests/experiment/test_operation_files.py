"""Operations as ONNX files: they are all of a network, deploy/measure.py fills the table, which predicts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.cost import Operations, latency
from nnabla_ofa.cost.latency import LatencyTable, key, timed
from nnabla_ofa.evaluation.statistics import agreement
from nnabla_ofa.experiment import operation_files as files
from nnabla_ofa.formats import onnx_file

onnxruntime = pytest.importorskip("onnxruntime", reason=onnx_file.INSTALL)
pytest.importorskip("nnabla.utils.converter.onnx", reason=onnx_file.INSTALL)
ROOT = Path(__file__).resolve().parents[2]


def network():
    config = ofa.Xception(classes=4, width_mult=0.02, middle_blocks=2, stem_stride=1)
    net = ofa.Network.create(config, "K35_E1_D12")
    net.kernels = "nnabla"
    return net


@pytest.fixture(scope="module", params=files.PRECISIONS)
def folder(request, tmp_path_factory):
    """A folder of a small network's pieces in one precision, with few whole networks; not measured."""
    made = tmp_path_factory.mktemp("pieces") / request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "REFERENCES", 3)
        patch.setattr(files, "CHECKED", 3)
        files.write(network(), made, files.Pieces((12,), request.param, 2, check=True), {"command": "a test"})
    return made


def content(folder):
    return json.loads((folder / "table.json").read_text())


def test_an_operation_is_a_block_and_every_network_names_its_own(folder):
    net, own = network(), content(folder)["image_sizes"]["12"]
    names = [key(*part) for layer in Operations(net, 12).all() for part in timed(*layer, "block")]
    assert [row["name"] for row in own["operations"]] == list(dict.fromkeys(names))
    assert any(name.startswith("Residual") for name in names)
    for row in own["networks"] + own["checked"]:
        arch = net.arch(row["name"]).canonical()
        layers = net.config.layers(ofa.Space.of(arch), arch)
        assert [own["operations"][i]["name"].split(" on ")[0] for i in row["operations"]] == [
            latency.signature(layer) for layer in layers]
    assert len(own["networks"]) == len(own["checked"]) == 3 and len(own["reference"]) == 1


def test_a_file_computes_its_layer(folder):
    """In float32 what NNabla computes; in int8 the same but for the rounding of 8 bits."""
    import nnabla as nn
    own, precision = content(folder), folder.name
    net = network()
    layer, side = next((layer, side) for layer, side in Operations(net, 12).all()
                       if type(layer).__name__ == "Residual")
    row = next(row for row in own["image_sizes"]["12"]["operations"] if row["name"] == key(layer, side))
    single = ofa.Network(files.Alone(layer, net.config.bn_eps), ofa.Space((), "operation"))
    single.initialise(0)
    single.kernels = "nnabla"
    x = np.random.default_rng(0).standard_normal((2, layer.units[0].w_in, side, side)).astype(np.float32)
    images = nn.Variable.from_numpy_array(x)
    y, = single.forward(images, [single.space.largest()], single.mode(batch_stat=False))
    y.forward()
    found = onnxruntime.InferenceSession(str(folder / row["file"])).run(None, {"x": x})[0]
    allowed = 1e-5 if precision == "float32" else 0.1
    assert np.abs(found - y.d).max() < allowed * np.abs(y.d).max()
    kinds = {node.op_type for node in onnx_file.packages().onnx.load(str(folder / row["file"])).graph.node}
    assert ("QuantizeLinear" in kinds) == (precision == "int8") and "BatchNormalization" not in kinds


def test_the_table_is_filled_and_predicts(folder, tmp_path):
    here = tmp_path / "device"
    shutil.copytree(str(folder), str(here))
    with pytest.raises(ofa.OfaError, match="not measured yet: run deploy/measure.py"):
        LatencyTable.load(here / "table.json")
    files.measure(here, 1, rounds=2)
    table, own = LatencyTable.load(here / "table.json"), content(here)["image_sizes"]["12"]
    assert (table.setting.runtime, table.setting.precision) == ("onnxruntime", folder.name)
    assert (table.setting.threads, table.setting.batch_size, table.unit) == (1, 2, "block")
    net, medians = network(), [row["median_ms"] for row in own["operations"]]
    row = own["checked"][0]
    expected = own["overhead_ms"] + sum(medians[i] for i in row["operations"])
    assert table.predict(net, [row["name"]], 12)[0] == pytest.approx(expected, abs=1e-3)
    found = table.checked(12)
    assert found["subnets"] == [row["name"] for row in own["checked"]] and found["count"] == 3
    assert found["rmse"] == agreement(found["predicted_ms"], found["measured_ms"]).rmse
    with pytest.raises(ofa.OfaError, match="for precision=.*, not precision=int4"):
        table.require(precision="int4")


def test_a_folder_is_taken_up_and_never_mixed(folder):
    before = (folder / "table.json").read_bytes()
    wanted = files.Pieces((12,), folder.name, 2, check=True)
    files.write(network(), folder, wanted, {"command": "the same again"})
    assert (folder / "table.json").read_bytes() == before
    for other in (files.Pieces((16,), folder.name, 2, True), files.Pieces((12,), folder.name, 1, True)):
        with pytest.raises(ofa.OfaError, match="another network, image size, precision or batch size"):
            files.write(network(), folder, other, {})


def test_many_different_blocks_are_timed_by_their_parts(monkeypatch):
    net = network()
    assert files.unit_of(net, files.Pieces((12,))) == "block"
    monkeypatch.setattr(files, "MOST_BLOCKS", 5)
    assert files.unit_of(net, files.Pieces((12,))) == "part"


def test_what_the_script_says_is_the_error(folder, tmp_path):
    here = tmp_path / "device"
    shutil.copytree(str(folder), str(here))
    damaged = here / content(here)["image_sizes"]["12"]["operations"][0]["file"]
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(ofa.OfaError, match=f"measuring .*{damaged.name} is no whole ONNX file"):
        files.measure(here, 1, rounds=1)


def profile(*arguments):
    return subprocess.run([sys.executable, "runners/profile.py", "--recipe", "tests/tiny.yaml", "--classes",
                           "4", "--image-size", "12", *map(str, arguments)], cwd=str(ROOT), text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_the_command_measures_networks_of_onnxruntime(tmp_path):
    costs = tmp_path / "costs.json"
    done = profile("--search-space", "K3_E1_D1", "--latency", "--runtime", "onnxruntime", "--int8",
                   "--rounds", 2, "--save", costs)
    assert done.returncode == 0, done.stderr
    row, = json.loads(costs.read_text())
    assert row["latency_ms"] > 0 and row["bytes"] > row["parameters"]


def test_the_command_builds_a_table_and_says_what_it_is_for(tmp_path):
    path = tmp_path / "float32.json"
    done = profile("--search-space", "K3_E1_D12", "--build-table", path, "--runtime", "onnxruntime",
                   "--rounds", 2, "--check-table")
    assert done.returncode == 0, done.stderr
    assert "4 subnets: Kendall tau" in done.stdout and LatencyTable.load(path).unit == "block"
    assert json.loads(path.read_text()) == content(path.with_suffix(""))
    other = profile("--search-space", "K3_E1_D12", "--table", path, "--check-table")
    assert other.returncode == 2
    assert "runtime=onnxruntime, not runtime=nnabla" in other.stderr.splitlines()[-1]


@pytest.mark.parametrize("arguments, complaint", [
    (["--int8", "--latency"], "give --runtime onnxruntime"),
    (["--write-operations", "README.md"], "README.md")])
def test_bad_arguments_get_one_clear_error(arguments, complaint):
    done = profile("--search-space", "K3_E1_D1", *arguments)
    assert done.returncode == 2 and complaint in done.stderr.splitlines()[-1], done.stderr
