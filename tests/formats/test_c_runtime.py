"""C source computes what the network does; NNB files hold its weights; what the runtime lacks is named."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import test_export

import nnabla_ofa as ofa
from nnabla_ofa.formats import c_runtime, export

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "tests" / "fixtures" / "nnablart"
NEEDS_GCC = pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")


def images(count=64):
    return test_export.images(count)


def written(net, path, form):
    """What is said of the file, a line each."""
    about, lines = export.describe(net, "0123456789", ofa.data.Augment(), 16, True, 1), []
    export.export(net, path, form, about, images(7), lines.append)
    return lines


@NEEDS_GCC
@pytest.mark.parametrize("family", ["xception", "mobilenetv3", "ofa_resnet50"])
def test_c_source_gives_the_logits_of_the_network(tmp_path, family):
    """Compiled with functions of the tests' own: what is generated is tested, not nnabla-c-runtime."""
    net = test_export.subnet(family)
    written(net, tmp_path / "a.zip", "c")
    zipfile.ZipFile(tmp_path / "a.zip").extractall(tmp_path)
    (tmp_path / "include").mkdir()
    shutil.copytree(RUNTIME, tmp_path / "include" / "nnablart")
    sources = [tmp_path / f"subnet_{part}.c" for part in ("inference", "parameters", "example")]
    subprocess.run(["gcc", "-std=gnu99", "-O1", "-Wall", "-Werror", "-I", tmp_path / "include", *sources,
                    RUNTIME / "functions.c", "-lm", "-o", tmp_path / "net"], check=True)
    found = []
    for image in images():
        image.tofile(str(tmp_path / "x.bin"))
        subprocess.run([tmp_path / "net", tmp_path / "x.bin", tmp_path / "y"], check=True)
        found.append(np.fromfile(str(tmp_path / "y_0.bin"), np.float32))
    expected = net.logits(images())
    assert np.abs(np.array(found) - expected).max() < 1e-5 * np.abs(expected).max()
    assert (np.array(found).argmax(axis=1) == expected.argmax(axis=1)).all()


def test_weights_are_constant_and_memory_is_counted(tmp_path):
    net = test_export.subnet("resnet20")
    lines = written(net, tmp_path / "a.zip", "c")
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        source, about = file.read("subnet_parameters.c").decode(), json.loads(file.read("about.json"))
    flash = sum(array.nbytes for array in net.fold_bn().arrays().values())
    assert f"flash: {flash} bytes of parameters" in lines[0]
    # A block needs its input, the output of its first layer and its sum; those of the first are largest.
    assert f"memory: {3 * 4 * 16 * 16 * 16} bytes" in lines[0]
    assert source.count("\nconst float ") == len(net.fold_bn().arrays()) and "\nfloat " not in source
    assert about["classes"] == list("0123456789")


def test_nnb_holds_the_weights(tmp_path):
    net = test_export.subnet("resnet20")
    written(net, tmp_path / "a.nnb", "nnb")
    content = (tmp_path / "a.nnb").read_bytes()
    assert struct.unpack("I", content[:4])[0] == 2  # the version of the format
    for name, array in net.fold_bn().arrays().items():
        stored = array.T if name.startswith("classifier") and array.ndim == 2 else array
        assert np.ascontiguousarray(stored).tobytes() in content, name


def test_a_function_that_the_runtime_lacks_is_named(tmp_path):
    network = SimpleNamespace(variable=[], function=[SimpleNamespace(type="Tile", input=[], output=["y"])])
    with pytest.raises(ofa.OfaError, match="nnabla-c-runtime has no Tile, which this network needs"):
        c_runtime.simplify(network)
