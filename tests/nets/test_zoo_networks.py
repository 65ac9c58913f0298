"""Every network of the zoo: the counts and logits of its originals, gradients, an update, files."""

from __future__ import annotations

from collections import OrderedDict

import nnabla as nn
import numpy as np
import pytest
import zoo_reference as reference

import nnabla_ofa as ofa
from nnabla_ofa.data import Augment
from nnabla_ofa.formats import export, onnx_file
from nnabla_ofa.layers import Mode
from nnabla_ofa.nets.registry import ELASTIC
from nnabla_ofa.nets.zoo import ZOO

COUNTS, LOGITS = reference.rows("counts"), reference.rows("logits")


def of_sources(rows):
    """(network, row) for the rows whose original is in the zoo; the large ones marked."""
    found = []
    for row in rows:
        for name in reference.networks(row.source):
            large = int(PARAMETERS[row.source, row.classes]) > reference.LARGE
            label = f"{row.source}-{row.classes}-{row.image_size}-{row.values['gain']}"
            found.append(pytest.param(name, row, marks=[pytest.mark.large] if large else [], id=label))
    return found


PARAMETERS = {(row.source, row.classes): row.values["parameters"] for row in COUNTS}


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.source}-{row.classes}-{row.image_size}")
                                 for row in COUNTS if reference.networks(row.source)])
def test_counts_are_those_of_the_original(row):
    name, = reference.networks(row.source)
    cost = ofa.zoo.cost(name, row.classes, row.image_size)
    functions = layer_functions(name, row.classes, row.image_size)
    counted = {"parameters": cost.parameters, "macs": cost.macs,
               "activations": outputs(f for f in functions if f.info.type_name == "Convolution")}
    if row.source.startswith("pycls/") and row.values["activations"]:  # by pycls's own counter
        counted["macs"] += outputs(f for f in functions if len(f.inputs) == 3)  # adding a bias counts as well
        counted["activations"] = cost.activations
    assert counted == {key: int(value) if value else counted[key] for key, value in row.values.items()}


def layer_functions(name, classes, side):
    """The convolutions and affine functions of a network's graph on one image."""
    found = []
    with nn.parameter_scope("", OrderedDict()):
        y = ofa.Fixed(name, classes).forward(nn.Variable((1, 3, side, side)), Mode(batch_stat=True, trace=[]))
    y.visit(lambda f: found.append(f) if f.info.type_name in ("Convolution", "Affine") else None)
    return found


def outputs(functions):
    """How many numbers these functions give."""
    return sum(int(np.prod(f.outputs[0].shape)) for f in functions)


@pytest.mark.parametrize("name, row", of_sources(LOGITS))
def test_logits_are_those_of_the_original(name, row):
    net = ofa.FixedNetwork.blank(ofa.Fixed(name, row.classes))  # new values would only be written over
    net.set_arrays(reference.formula(net, row.source, float(row.values["gain"])))
    got = net.logits(reference.images(row.image_size))
    expected = [[float(row.values[f"image{i}_{j}"]) for j in range(4)] for i in range(2)]
    largest = float(row.values["largest"])
    assert np.abs(got[:, :4] - expected).max() < float(row.values["bound"]) * largest
    assert abs(np.abs(got).max() - largest) < float(row.values["bound"]) * largest


@pytest.mark.parametrize("name", list(ZOO))
def test_every_array_has_a_name_in_every_original(name):
    """State dicts go there and back: the arrays are the same, and an unknown or missing one is named."""
    entry = ofa.zoo.entry(name)
    if not entry.sources:
        pytest.skip("no other implementation of it is known")
    net = ofa.create(name) if ofa.zoo.cost(name).parameters < reference.LARGE else None
    for source in entry.sources:
        declared = ofa.zoo.declared(name)
        keys = ofa.zoo.torch_keys(tuple(declared), entry.sources[source])
        assert len(set(keys.values())) == len(declared)
        if net is not None:
            state = ofa.zoo.to_torch(net, source)
            one, other = net.arrays(), ofa.zoo.from_torch(name, state).arrays()
            assert all(np.array_equal(array, other[key]) for key, array in one.items())
            with pytest.raises(ofa.OfaError, match="has unknown surplus"):
                ofa.zoo.from_torch(name, {**state, "surplus": np.zeros(1)})


def test_a_state_dict_whose_classifier_is_one_number_is_refused():
    state = ofa.zoo.to_torch(ofa.create("lenet_cifar"))
    with pytest.raises(ofa.OfaError, match="one number for fc3.weight"):
        ofa.zoo.from_torch("lenet_cifar", {**state, "fc3.weight": np.float32(1)})


def test_no_fixed_network_has_the_name_of_an_elastic_family():
    assert not set(ZOO) & set(ELASTIC)


SMALL = [name for name in ZOO if ofa.zoo.cost(name).parameters < reference.TRAINED]
BY_SIZE = [pytest.param(name, marks=[] if name in SMALL else [pytest.mark.large]) for name in ZOO]


@pytest.mark.parametrize("name", BY_SIZE)
def test_training_reaches_every_parameter_and_lowers_the_loss(name):
    """Two steps down the gradient on one batch, noise as in training switched off."""
    from nnabla_ofa.training.losses import loss_gradients
    from nnabla_ofa.training.settings import Train
    entry = ofa.zoo.entry(name)
    side = 64 if entry.image_size > 64 and not entry.exact else entry.image_size  # 32 may leave one pixel
    side = max(side, entry.least)
    net = ofa.create(name, classes=4)
    rng = np.random.default_rng(3)
    x, labels = rng.standard_normal((4, 3, side, side)).astype(np.float32), np.arange(4)
    trained = {n: v for n, v in net.variables().items() if net.declared()[n].trained}
    losses = []
    for _ in range(3):
        y, = net.forward(nn.Variable.from_numpy_array(x), [net.arch(None)], net.mode(batch_stat=True))
        for variable in trained.values():
            variable.grad.zero()
        y.forward(clear_no_need_grad=True)
        losses.append(loss_gradients([y], labels, Train(label_smoothing=0.0, distill=0.0), 1.0, None))
        y.backward(None, clear_buffer=True)
        gradients = {n: v.g.copy() for n, v in trained.items()}
        norm = np.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients.values()))
        length = min(0.05, 0.1 * losses[-1] / norm)  # at most a tenth of the loss, were it linear
        for n, v in trained.items():
            v.d = v.d - length * gradients[n] / norm
    assert not [n for n, g in gradients.items() if not np.abs(g).max() > 0]
    assert losses[0] > losses[1] > losses[2] or losses[2] < 1e-3


# Of each kind of layer one network is exported by default, the others by `make test-all`.
EXPORTED = ("resnet20_cifar", "densenet_cifar", "mobilenetv2_cifar100", "shufflenetv2_cifar",
            "efficientnetb0_cifar", "pnasnetb_cifar", "lenet_cifar", "vit_tiny_cifar")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in EXPORTED else [pytest.mark.large])
                                  for name in ZOO])
def test_files_and_exported_graphs_compute_the_same(name, tmp_path):
    """Our own file, BN folded, NNP, and ONNX where its packages are there; logits on two images."""
    entry = ofa.zoo.entry(name)
    side = entry.image_size if entry.exact else max(32, entry.least)
    net, x = ofa.create(name, classes=7), reference.images(side)
    expected = net.logits(x)
    net.save(tmp_path / "net.h5")
    assert np.array_equal(ofa.load(tmp_path / "net.h5").logits(x), expected)
    folded = net.fold_bn().logits(x)
    assert np.abs(folded - expected).max() < 1e-4 * np.abs(expected).max()
    for form in export_forms():
        about = export.describe(net, "abcdefg", Augment(), side, fold=True)
        assert export.export(net, tmp_path / f"net.{form}", form, about, x) < 1e-4


def export_forms():
    """The formats of graphs whose packages are there."""
    try:
        onnx_file.packages()
    except ofa.OfaError:
        return ["nnp"]
    return ["nnp", "onnx"]
