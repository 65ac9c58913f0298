"""Files for other programs compute what the network does, describe themselves, and are whole or absent."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import elastic_nets
import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.data import Augment, normalise
from nnabla_ofa.data.decode import read_image
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.formats import export, nnabla_nas, onnx_file
from nnabla_ofa.formats.torch_file import read_state_dict
from nnabla_ofa.system.comm import Single

ROOT = Path(__file__).resolve().parents[2]
TINY = str(ROOT / "tests" / "tiny.yaml")
CLASSES = tuple("0123456789")
SUBNETS = {"xception": (load_recipe(TINY).net, "K357_E0.6+0.8+1_D123", "XP0.6 5x5 3, XP1 3x3 1"),
           "resnet20": (ofa.ResNet20(), "C4-16_C4-32_C4-64",
                        "8-8-8-8-8-8-16-8-32-8-32-8-32-32-64-32-64-32-64-64"),
           "mobilenetv3": (elastic_nets.FAMILIES["mobilenetv3"][0], "K357_E346_D234",
                           "54 36 - - 73 33 34 - 36 74 56 33 34 56 - - 76 33 54 -"),
           "proxylessnas": (elastic_nets.FAMILIES["proxylessnas"][0], "K357_E346_D234",
                            "54 36 - - 73 33 34 - 36 74 56 33 34 56 - - 76 33 54 - 74"),
           "ofa_resnet50": (elastic_nets.FAMILIES["ofa_resnet50"][0], "D012_E0.2+0.25+0.35_W0.65+0.8+1",
                            "0.8+ 1 0.65 .2 .35 - - 1 .25 .2 .35 - 0.8 .2 .35 .25 .2 .35 - 1 .2 .2 - -")}


def why_no_onnx():
    """Empty where the packages of ONNX are installed."""
    try:
        onnx_file.packages()
    except ofa.OfaError as error:
        return str(error)
    return ""


NEEDS_ONNX = pytest.mark.skipif(bool(why_no_onnx()), reason=why_no_onnx())
ONNX = pytest.param("onnx", marks=NEEDS_ONNX)


def supernet(family="xception"):
    """New weights, BN with statistics and factors of every sign and size, channels sorted."""
    config, space, subnet = SUBNETS[family]
    net = ofa.Network.create(config.__class__(**{**config.__dict__, "classes": 10}), space, seed=1)
    rng, arrays = np.random.default_rng(2), net.arrays()
    for name, array in arrays.items():
        if "/bn/" in name:
            low = 0.5 if name.endswith("var") else -1
            arrays[name] = rng.uniform(low, 2, array.shape).astype(np.float32)
    net.set_arrays(arrays)
    net.sort_channels()
    return net, subnet


def subnet(family="xception"):
    net, name = supernet(family)
    return net.extract(name)


def images(count=7, size=16):
    return np.random.default_rng(3).standard_normal((count, 3, size, size)).astype(np.float32)


def describe(net, fold=False, batch_size=None, **more):
    return export.describe(net, CLASSES, Augment(), 16, fold, batch_size, **more)


def exported(net, path, form, fold=False, batch_size=None):
    """The file's description and its logits on `images()`."""
    about = describe(net, fold, batch_size)
    export.export(net, path, form, about, images())
    return about, export.in_batches(export.FORMATS[form].load(path, about), images(), batch_size)


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("family", SUBNETS)
@pytest.mark.parametrize("form", ["nnp", ONNX])
@pytest.mark.parametrize("fold, batch_size", [(False, None), (True, None), (False, 3), (True, 4)])
def test_file_gives_the_logits_of_the_network(tmp_path, family, form, fold, batch_size):
    net = subnet(family)
    _, found = exported(net, tmp_path / f"a{export.FORMATS[form].suffix}", form, fold, batch_size)
    assert relative(found, net.logits(images())) < 1e-5


@NEEDS_ONNX
@pytest.mark.parametrize("family", SUBNETS)
@pytest.mark.parametrize("opset, batch_size, pixels", [(17, None, False), (17, 3, True), (13, None, True)])
def test_forms_of_onnx(tmp_path, family, opset, batch_size, pixels):
    """Opsets, a fixed number of images, and pixels that the graph normalises."""
    import onnx
    net, path = subnet(family), tmp_path / "a.onnx"
    about = describe(net, True, batch_size, opset=opset, pixels=pixels)
    whole = np.random.default_rng(5).integers(0, 256, (7, 3, 16, 16)).astype(np.uint8)
    x = normalise(whole.transpose(0, 2, 3, 1), Augment().mean, Augment().std)
    export.export(net, path, "onnx", about, x)
    model = onnx.load(str(path))
    assert [entry.version for entry in model.opset_import] == [opset]
    if pixels:
        session = onnx_file.packages().onnxruntime.InferenceSession(str(path))
        found = export.in_batches(lambda batch: session.run(None, {"x": batch})[0], whole, batch_size)
        assert relative(found, net.logits(x)) < 1e-5


OTHERS = onnx_file.others()


@NEEDS_ONNX
@pytest.mark.skipif(not OTHERS, reason="pip install --no-deps -r requirements-openvino.txt")
@pytest.mark.parametrize("opset, batch_size", [(13, None), (13, 3), (17, None), (17, 3)])
@pytest.mark.parametrize("family", SUBNETS)
def test_openvino_computes_the_same(tmp_path, family, opset, batch_size):
    net, path = subnet(family), tmp_path / "a.onnx"
    about = describe(net, True, batch_size, opset=opset)
    export.export(net, path, "onnx", about, images())
    found = export.in_batches(OTHERS["OpenVINO"](path, about), images(), batch_size)
    assert relative(found, net.logits(images())) < 1e-5


@NEEDS_ONNX
def test_what_another_reader_computes_wrongly_is_not_written(tmp_path, monkeypatch):
    net, path = subnet(), tmp_path / "a.onnx"
    zeros = {"OpenVINO": lambda path, about: lambda x: np.zeros((7, 10))}
    wrong = export.FORMATS["onnx"]._replace(others=lambda: zeros)
    monkeypatch.setitem(export.FORMATS, "onnx", wrong)
    with pytest.raises(ofa.OfaError, match=r"a.onnx \(by OpenVINO\) is not written"):
        exported(net, path, "onnx")
    assert not list(tmp_path.iterdir())


@NEEDS_ONNX
def test_operations_are_those_with_int8_kernels(tmp_path):
    """ReLU6, the hard sigmoid, means over the image and padding are one operation each."""
    import onnx
    kinds = set()
    for family in SUBNETS:
        exported(subnet(family), tmp_path / "a.onnx", "onnx", fold=True)
        graph = onnx.load(str(tmp_path / "a.onnx")).graph
        names = [node.name for node in graph.node]
        assert len(set(names)) == len(names) and all(names)
        kinds |= {node.op_type for node in graph.node}
    assert kinds == {"Conv", "Relu", "Clip", "HardSigmoid", "Mul", "Add", "MaxPool", "AveragePool",
                     "GlobalAveragePool", "Squeeze", "Gemm"}


@pytest.mark.parametrize("form", ["nnp", ONNX])
def test_windows_that_reach_over_the_border_are_kept(tmp_path, form):
    """Of 19 pixels the stages of ResNet50-D see 10, 5 and 3; the mean over 2x2 has one row left over."""
    net, x = subnet("ofa_resnet50"), images(size=19)
    about = export.describe(net, CLASSES, Augment(), 19)
    assert export.export(net, tmp_path / f"a.{form}", form, about, x) < 1e-5


@pytest.mark.parametrize("family", SUBNETS)
def test_folding_leaves_no_bn(tmp_path, family):
    net = subnet(family)
    for fold in (False, True):
        exported(net, tmp_path / "a.nnp", "nnp", fold)
        graph = zipfile.ZipFile(tmp_path / "a.nnp").read("network.nntxt").decode()
        assert ("BatchNormalization" in graph) == (not fold)
        assert "python" not in graph.lower()
    folded = net.fold_bn().arrays()
    assert not [name for name in folded if "/bn/" in name]
    assert len(folded) < len(net.arrays())


def test_nnp_describes_itself(tmp_path):
    about, _ = exported(subnet(), tmp_path / "a.nnp", "nnp", fold=True, batch_size=3)
    assert json.loads(zipfile.ZipFile(tmp_path / "a.nnp").read("about.json")) == json.loads(json.dumps(about))
    assert about["arch"] == SUBNETS["xception"][2] and about["classes"] == list(CLASSES)
    assert about["image_size"] == 16 and about["mean"] == list(Augment().mean) and about["bn_folded"]


@NEEDS_ONNX
def test_onnx_describes_itself_and_its_shapes(tmp_path):
    import onnx
    for batch_size, first in ((None, "N"), (3, 3)):
        about, _ = exported(subnet(), tmp_path / "a.onnx", "onnx", batch_size=batch_size)
        model = onnx.load(str(tmp_path / "a.onnx"))
        found = {entry.key: entry.value for entry in model.metadata_props}
        assert found.pop("arch") == about["arch"] and found.keys() == about.keys() - {"arch"}
        assert json.loads(found["classes"]) == about["classes"] and json.loads(found["std"]) == about["std"]
        shape, = [value.type.tensor_type.shape.dim for value in model.graph.input]
        assert [dim.dim_param or dim.dim_value for dim in shape] == [first, 3, 16, 16]


@pytest.mark.parametrize("name", ["XP0.6 5x5 3, XP1 3x3 1", "XP1 7x7 3, XP1 7x7 3",
                                  "XP0.8 3x3 2, XP0.6 7x7 3"])
def test_nnabla_nas_subnet_round_trip(tmp_path, name):
    net, _ = supernet()
    net = net.extract(name)
    path = tmp_path / "a.h5"
    _, found = exported(net, path, "nnabla-nas")
    again = ofa.load(path, net.config.widths, 10, width_mult=0.02, stem_stride=1).arrays()
    assert np.array_equal(found, net.logits(images()))
    assert all(np.array_equal(array, again[key]) for key, array in net.arrays().items())
    with open(path, "rb") as file:
        assert json.loads(file.readline())["arch"] == name


@pytest.mark.parametrize("family", ["mobilenetv3", "proxylessnas", "ofa_resnet50"])
def test_once_for_all_subnet_round_trip(tmp_path, family):
    net, path = subnet(family), tmp_path / "a.pth"
    about, found = exported(net, path, "once-for-all")
    settings = {key: value for key, value in about["net"].items() if key not in ("family", "classes")}
    again = ofa.load(path, space=about["arch"], **settings)
    assert np.array_equal(found, net.logits(images())) and again.space == net.space
    arrays = again.arrays()
    assert all(np.array_equal(array, arrays[key]) for key, array in net.arrays().items())
    with zipfile.ZipFile(path) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {"a"}  # torch.load wants one folder
        assert json.loads(archive.read("a/about.json")) == json.loads(json.dumps(about))


def test_a_network_of_the_zoo_goes_back_to_its_original_s_names(tmp_path):
    net, path = ofa.create("resnet18_cifar"), tmp_path / "a.pth"
    exported(net, path, "torch")
    state, wanted = read_state_dict(path), ofa.zoo.to_torch(net)
    assert state.keys() == wanted.keys() and all(np.array_equal(state[key], wanted[key]) for key in wanted)
    arrays = ofa.load(path, net="resnet18_cifar").arrays()
    assert all(np.array_equal(array, arrays[key]) for key, array in net.arrays().items())


@pytest.mark.parametrize("make, form, complaint", [
    (lambda: subnet("xception"), "once-for-all", "once-for-all has no xception"),
    (lambda: ofa.create("resnet18_cifar"), "once-for-all", "once-for-all has no resnet18_cifar"),
    (lambda: subnet("mobilenetv3"), "torch", "holds networks of the zoo, not mobilenetv3"),
    (lambda: ofa.FixedNetwork.create(ofa.Fixed("resnet18_cifar", bn_eps=1e-3)), "torch", "net.bn_eps=0.001")])
def test_pytorch_files_of_others_are_refused(tmp_path, make, form, complaint):
    with pytest.raises(ofa.OfaError, match=complaint):
        exported(make(), tmp_path / "a.pth", form)
    assert not list(tmp_path.iterdir())


def test_nnabla_nas_refuses_what_it_cannot_hold(tmp_path):
    with pytest.raises(ofa.OfaError, match="family xception, not resnet20"):
        exported(subnet("resnet20"), tmp_path / "a.h5", "nnabla-nas")
    with pytest.raises(ofa.OfaError, match="channels were sorted"):
        nnabla_nas.save_nnabla_nas(supernet()[0], tmp_path / "a.h5")
    assert not list(tmp_path.iterdir())


def test_a_file_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    net, path = subnet(), tmp_path / "a.nnp"
    path.write_bytes(b"older")
    other = supernet()[0].extract("XP1 7x7 3")
    good = export.FORMATS["nnp"]
    wrong = good._replace(save=lambda net, *rest: good.save(other, *rest))
    monkeypatch.setitem(export.FORMATS, "nnp", wrong)
    with pytest.raises(ofa.OfaError, match="is not written: it would give another top-1 on [1-7] of 7"):
        exported(net, path, "nnp")
    assert path.read_bytes() == b"older" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("change, complaint", [(dict(opset=17), "--opset are of"),
                                               (dict(pixels=True), "--normalise and")])
def test_what_is_of_onnx_is_refused_elsewhere(change, complaint):
    with pytest.raises(ofa.OfaError, match=complaint):
        export.check("nnp", Path("a.nnp"), **change)


@NEEDS_ONNX
@pytest.mark.parametrize("batch_size, pixels", [(None, False), (3, True)])
def test_predict_py_names_what_is_on_a_photograph(tmp_path, batch_size, pixels):
    net, path = subnet(), tmp_path / "a.onnx"
    about = {**describe(net, True, batch_size, pixels=pixels), "valid_resize": 1.0}
    whole = np.random.default_rng(4).integers(0, 256, (16, 16, 3), np.uint8)
    export.export(net, path, "onnx", about, normalise(whole[None], Augment().mean, Augment().std))
    script = export.put_predict(tmp_path)
    cv2.imwrite(str(tmp_path / "photograph.png"), whole[:, :, ::-1])
    out = run(script, path, tmp_path / "photograph.png", "--top", "1").strip().split("\t")
    logits = net.logits(normalise(whole[None], Augment().mean, Augment().std))[0].astype(np.float64)
    share = np.exp(logits.max()) / np.exp(logits).sum()
    assert out[0].endswith("photograph.png") and out[2] == CLASSES[logits.argmax()]
    assert abs(float(out[1]) - share) < 1e-3


@NEEDS_ONNX
def test_predict_py_says_what_it_cannot_read(tmp_path):
    net, path = subnet(), tmp_path / "a.onnx"
    exported(net, path, "onnx")
    script = export.put_predict(tmp_path)
    (tmp_path / "short.onnx").write_bytes(path.read_bytes()[:500])
    (tmp_path / "text.png").write_text("no image")
    for arguments, complaint in (((tmp_path / "short.onnx", "a.png"), "short.onnx cannot be opened"),
                                 ((path, tmp_path / "text.png"), "text.png cannot be read"),
                                 ((path, tmp_path / "none.png"), "none.png cannot be read")):
        done = subprocess.run([sys.executable, str(script), *map(str, arguments)], stderr=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode and not done.stdout
        assert complaint in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_program_of_ones_own_is_not_replaced(tmp_path):
    (tmp_path / "predict.py").write_text("print(1)\n")
    assert export.put_predict(tmp_path) is None
    assert (tmp_path / "predict.py").read_text() == "print(1)\n"
    (tmp_path / "predict.py").unlink()
    assert export.put_predict(tmp_path) == export.put_predict(tmp_path) == tmp_path / "predict.py"


@pytest.mark.parametrize("error, passes", [(0, True), (5e-5, True), (2e-4, False), (np.nan, False)])
def test_the_tolerance_is_of_the_largest_logit(error, passes):
    expected = np.array([[-10.0, 1.0, 2.0]])
    found = expected + np.array([[0.0, 10 * error, 0.0]])
    if passes:
        assert export.compare(expected, found, "a.onnx") == pytest.approx(error, abs=1e-12)
    else:
        with pytest.raises(ofa.OfaError, match="not written"):
            export.compare(expected, found, "a.onnx")


@pytest.mark.parametrize("form, name, fold, batch_size, complaint", [
    ("nnp", "a.onnx", False, None, "ends in .nnp"), ("nnp", "folder.nnp", False, None, "is a folder"),
    ("nnp", "a.nnp", False, 0, "--batch-size 0"), ("nnabla-nas", "a.h5", True, None, "leave out --fold"),
    ("nnabla-nas", "a.h5", False, 1, "leave out --fold"), ("torch", "a.pth", True, None, "leave out --fold"),
    ("once-for-all", "a.pth", False, 1, "leave out --fold"), ("torch", "a.h5", False, None, "ends in .pth")])
def test_bad_arguments_get_one_clear_error(tmp_path, form, name, fold, batch_size, complaint):
    (tmp_path / "folder.nnp").mkdir()
    with pytest.raises(ofa.OfaError, match=complaint):
        export.check(form, tmp_path / name, fold, batch_size)


def test_without_its_packages_onnx_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ofa.OfaError, match="pip install --no-deps -r requirements-onnx.txt"):
        export.check("onnx", Path("a.onnx"))
    assert onnx_file.INSTALL in (ROOT / "requirements-onnx.txt").read_text()
    assert onnx_file.INSTALL in (ROOT / "docs/export.md").read_text()


def run(*command, folder=ROOT):
    done = subprocess.run([sys.executable, *map(str, command)], cwd=str(folder), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("form", ["nnp", ONNX, "nnabla-nas", "once-for-all"])
def test_a_subnet_of_a_supernet_is_calibrated_and_the_printed_lines_run(tmp_path, form):
    net, name = supernet("mobilenetv3" if form == "once-for-all" else "xception")
    net.save(tmp_path / "weights.h5")
    path, named = tmp_path / "new" / f"subnet{export.FORMATS[form].suffix}", name
    if form == "once-for-all":
        named = tmp_path / "subnet.json"
        named.write_text(json.dumps({**net.config.once_for_all(net.arch(name)), "r": [224]}))
    out = run("runners/export.py", "--recipe", TINY, "--weights", tmp_path / "weights.h5", "--subnet", named,
              "--format", form, "--output", path)
    assert "checked on 64 held-out images: top-1 equal" in out
    lab = Lab.open(load_recipe(TINY), 0, Single())
    alone = lab.calibrated(net, net.arch(name), 16)
    about = export.describe(alone, lab.classes, lab.recipe.data.augment, 16)
    held_out = export.sample(lab.valid, 16)
    assert relative(export.FORMATS[form].load(path, about)(held_out), alone.logits(held_out)) < 1e-5

    pixels = np.random.default_rng(4).integers(0, 256, (16, 16, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "IMAGE.png"), pixels[:, :, ::-1])
    script = out[out.index("to run it:\n") + len("to run it:\n"):].replace("IMAGE.jpg", "IMAGE.png")
    alone.info = {"mean": lab.recipe.data.augment.mean, "std": lab.recipe.data.augment.std}
    expected = alone.logits(pixels.transpose(2, 0, 1)[None]).argmax()
    assert run("-c", script, folder=tmp_path).strip() == lab.classes[expected]


@pytest.mark.parametrize("bits, shape", [(16, (16, 16)), (16, (16, 16, 3)), (8, (16, 16)), (8, (16, 16, 4))])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_the_printed_lines_read_an_image_as_training_does(tmp_path, monkeypatch, bits, shape, suffix):
    """Of 16 bits the upper 8, grey as RGB, no transparency; Pillow alone makes 16-bit grey white."""
    pixels = np.random.default_rng(0).integers(0, 2 ** bits, shape).astype(np.dtype(f"uint{bits}"))
    cv2.imwrite(str(tmp_path / f"IMAGE.{suffix}"), pixels)
    monkeypatch.chdir(tmp_path)
    first, _, *reading, _ = export.usage(Path("a.nnp"), "nnp", {**describe(subnet()), "valid_resize": 1.0})
    found = {}
    exec("\n".join([first, *reading]).replace("IMAGE.jpg", f"IMAGE.{suffix}"), found)
    expected = normalise(read_image(f"IMAGE.{suffix}")[None], Augment().mean, Augment().std)
    assert found["x"].shape == expected.shape
    assert np.abs(found["x"] - expected).max() < 1.01 / 255 / min(Augment().std)  # libtiff rounds 16 bits


def test_the_page_shows_the_printed_lines():
    about = {**describe(subnet()), "image_size": 28, "mean": [0.5] * 3, "std": [0.5] * 3}
    lines = export.usage("runs/demo/subnet.onnx", "onnx", {**about, "valid_resize": 1.0})
    page = (ROOT / "docs/export.md").read_text(encoding="utf-8").replace("\nclasses = ", "; classes = ")
    assert "\n".join(lines).replace("IMAGE.jpg", "image.png") in page


def test_a_stand_alone_subnet_keeps_its_statistics(tmp_path):
    net, path = subnet("resnet20"), tmp_path / "a.nnp"
    net.save(tmp_path / "subnet.h5")
    run("runners/export.py", "--recipe", ROOT / "tests" / "tiny_resnet20.yaml", "--weights",
        tmp_path / "subnet.h5", "--format", "nnp", "--output", path, "--fold", "--image-size", "12")
    found = export.FORMATS["nnp"].load(path, {})(images(size=12))
    assert relative(found, net.logits(images(size=12))) < 1e-5
    assert json.loads(zipfile.ZipFile(path).read("about.json"))["image_size"] == 12
