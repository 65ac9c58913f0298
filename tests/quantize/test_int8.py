"""Quantised files give almost the network's logits in a fraction of its bytes; bad input gets one error."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.data import Augment
from nnabla_ofa.formats import export, onnx_file
from nnabla_ofa.quantize import int8

onnx = pytest.importorskip("onnx", reason=onnx_file.INSTALL)
onnxruntime = pytest.importorskip("onnxruntime", reason=onnx_file.INSTALL)
pytest.importorskip("onnxruntime.quantization", reason=onnx_file.INSTALL)


def images(count=32, size=16, seed=3):
    return np.random.default_rng(seed).standard_normal((count, 3, size, size)).astype(np.float32)


def write(net, path, batch_size=None):
    about = export.describe(net, "0123456789", Augment(), 16, True, batch_size)
    export.export(net, path, "onnx", about, images(7))
    return path


@pytest.fixture(scope="module")
def resnet20(tmp_path_factory):
    """A file of a ResNet20."""
    net = ofa.Network.create(ofa.ResNet20(), "C4-16_C4-32_C4-64", seed=1)
    return write(net.extract(net.space.largest()), tmp_path_factory.mktemp("resnet20") / "float.onnx")


def logits(path, x):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("calibrate", ["minmax", "entropy", "percentile"])
def test_logits_and_bytes(tmp_path, resnet20, calibrate):
    target, x = tmp_path / "int8.onnx", images(32, seed=4)
    int8(resnet20, target, images(), calibrate)
    expected, found = logits(resnet20, x), logits(target, x)
    assert 0 < np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
    assert target.stat().st_size < 0.4 * resnet20.stat().st_size
    kinds = [array.data_type for array in onnx.load(str(target)).graph.initializer if len(array.dims) == 4]
    assert set(kinds) == {onnx.TensorProto.INT8}


def test_metadata_stay(tmp_path, resnet20):
    int8(resnet20, tmp_path / "int8.onnx", images())
    before, after = (onnx.load(str(path)).metadata_props for path in (resnet20, tmp_path / "int8.onnx"))
    assert {entry.key: entry.value for entry in before}.items() <= {e.key: e.value for e in after}.items()


def test_layers_that_are_named_stay_float(tmp_path, resnet20):
    names = [node.name for node in onnx.load(str(resnet20)).graph.node if node.op_type in ("Conv", "Gemm")]
    int8(resnet20, tmp_path / "int8.onnx", images(), keep_float=names[:2])
    initializers = onnx.load(str(tmp_path / "int8.onnx")).graph.initializer
    arrays = {array.name: array.data_type for array in initializers}
    assert [arrays.get(f"{name}/W") for name in names[:3]] == [onnx.TensorProto.FLOAT] * 2 + [None]


@pytest.mark.parametrize("change, complaint", [
    (dict(images=images(15)), "15 calibration images are too few: give 16"),
    (dict(images=images(size=8)), r"images are \(3, 8, 8\), those of .* \(3, 16, 16\)"),
    (dict(images=np.full((16, 3, 16, 16), np.nan, np.float32)), "not finite"),
    (dict(calibrate="mean"), "mean is none of minmax, entropy, percentile"),
    (dict(keep_float=["conv9"]), "no layer conv9")])
def test_bad_arguments(tmp_path, resnet20, change, complaint):
    with pytest.raises(ofa.OfaError, match=complaint):
        int8(**{"source": resnet20, "target": tmp_path / "a.onnx", "images": images(), **change})
    assert not list(tmp_path.iterdir())


def test_a_truncated_file_and_a_missing_one(tmp_path, resnet20):
    source = tmp_path / "short.onnx"
    source.write_bytes(resnet20.read_bytes()[:-100])
    with pytest.raises(ofa.OfaError, match="short.onnx is no whole ONNX file .*: export it again"):
        int8(source, tmp_path / "a.onnx", images())
    with pytest.raises(ofa.OfaError, match="b.onnx does not exist"):
        int8(tmp_path / "b.onnx", tmp_path / "a.onnx", images())


def test_a_quantised_file_is_not_quantised_again(tmp_path, resnet20):
    int8(resnet20, tmp_path / "a.onnx", images())
    with pytest.raises(ofa.OfaError, match="quantised already"):
        int8(tmp_path / "a.onnx", tmp_path / "b.onnx", images())


def test_without_its_packages_the_command_is_named(tmp_path, resnet20, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    monkeypatch.delattr(onnxruntime, "quantization")
    with pytest.raises(ofa.OfaError, match="pip install --no-deps -r requirements-onnx.txt"):
        int8(resnet20, tmp_path / "a.onnx", images())


def write_convolution(path, weights):
    """A file of one convolution, of the weights' type."""
    helper, kind = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype(weights.dtype)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "W"], ["y"], name="conv")], "one",
        [value("x", kind, ["N", 3, 16, 16])], [value("y", kind, ["N", 8, 14, 14])],
        [onnx.numpy_helper.from_array(weights, "W")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), str(path))


def test_an_operation_that_cannot_be_quantised_is_named(tmp_path):
    write_convolution(tmp_path / "a.onnx", np.ones((8, 3, 3, 3), np.int32).astype(np.float64))
    with pytest.raises(ofa.OfaError, match="a.onnx cannot be quantised: .*conv"):
        int8(tmp_path / "a.onnx", tmp_path / "b.onnx", images().astype(np.float64))
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_sums_of_large_products_do_not_saturate(tmp_path):
    """Weights and pixels at the top of their ranges: of 8 bits each, AVX2 without VNNI loses half."""
    weights = np.random.default_rng(0).uniform(0.9, 1, (8, 3, 3, 3)).astype(np.float32)
    write_convolution(tmp_path / "a.onnx", weights)
    x = np.random.default_rng(1).uniform(0.9, 1, (16, 3, 16, 16)).astype(np.float32)
    int8(tmp_path / "a.onnx", tmp_path / "b.onnx", x)
    expected, found = logits(tmp_path / "a.onnx", x), logits(tmp_path / "b.onnx", x)
    assert np.abs(found - expected).max() < 0.03 * expected.max()
