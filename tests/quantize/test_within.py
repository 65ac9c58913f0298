"""A file that loses too much is refused with its costliest layers named, which may stay in float32."""

from __future__ import annotations

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.data import Augment
from nnabla_ofa.formats import export, onnx_file
from nnabla_ofa.quantize import top1, within
from nnabla_ofa.quantize.layers import costs

onnx = pytest.importorskip("onnx", reason=onnx_file.INSTALL)
onnxruntime = pytest.importorskip("onnxruntime", reason=onnx_file.INSTALL)
pytest.importorskip("onnxruntime.quantization", reason=onnx_file.INSTALL)
SPOILT = {"stem/1/conv", "hidden/0/affine"}


def images(seed=3, count=32):
    return np.random.default_rng(seed).standard_normal((count, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """A file with values that 8 bits cannot hold: one channel between two layers is 5000. Nobody reads it.

    Its logits are centred, so that images are of several classes.
    """
    net = ofa.create("lenet_cifar")
    arrays = net.arrays()
    arrays["stem/1/conv/b"][0] = 5000
    arrays["hidden/0/affine/W"][:25] = 0  # of 5 x 5 pixels
    net.set_arrays(arrays)
    arrays["classifier/affine/b"] -= net.logits(images()).mean(axis=0)
    net.set_arrays(arrays)
    path = tmp_path_factory.mktemp("spoilt") / "float.onnx"
    export.export(net, path, "onnx", export.describe(net, "0123456789", Augment(), 32, True), images())
    return path


@pytest.fixture(scope="module")
def judge(spoilt):
    """The share of images that a file names as the float32 file does."""
    x = images(5, 256)
    session = onnxruntime.InferenceSession(str(spoilt), providers=["CPUExecutionProvider"])
    labels = session.run(None, {"x": x})[0].argmax(axis=1)
    return lambda path: top1(path, [(x[i:i + 50], labels[i:i + 50]) for i in range(0, 256, 50)])


def test_costs_name_the_layers_at_fault(spoilt):
    found = costs(spoilt, images())
    assert {cost.layer for cost in found[:2]} == SPOILT
    assert found[1].error > 3 * found[2].error
    names = [node.name for node in onnx.load(str(spoilt)).graph.node]
    assert {cost.layer for cost in found} >= {name for name in names if "conv" in name or "affine" in name}


def test_too_much_lost_is_refused_with_the_layers(tmp_path, spoilt, judge):
    with pytest.raises(ofa.OfaError) as error:
        within(spoilt, tmp_path / "int8.onnx", images(), judge, 30, say=lambda line: None)
    message = str(error.value)
    assert "int8.onnx is not written: int8 loses" in message and "--max-drop is 30." in message
    assert all(layer in message.split("--keep-float")[1] for layer in SPOILT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep, automatic", [(sorted(SPOILT), False), ((), True)])
def test_in_float32_they_cost_nothing(tmp_path, spoilt, judge, keep, automatic):
    lines = []
    outcome = within(spoilt, tmp_path / "int8.onnx", images(), judge, 30, keep_float=keep,
                     automatic=automatic, say=lines.append)
    assert outcome.float32 == 1 and outcome.int8 >= 0.7 and SPOILT <= set(outcome.kept)
    assert outcome.int8 == judge(tmp_path / "int8.onnx")
    assert len(lines) == (3 if automatic else 0)  # why, with 1 layer, with 2
