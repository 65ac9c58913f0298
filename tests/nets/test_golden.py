"""Numbers and logits that any right implementation gives: costs of both families, logits of nnabla-nas.

fixtures/golden/ has what these tests read: copies of files of others, and a small checkpoint that
make_nnabla_nas.py makes with nnabla-nas itself. Where ../shared is there, the larger checkpoint of the whole
nnabla-nas is read, too.
"""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.model import network_cost

GOLDEN = Path(__file__).resolve().parents[1] / "fixtures/golden"
NAS = "nnabla_nas_xception_small"
SUBNET = ("XP1 7x7 2, XP1 3x3 3, XP1 7x7 3, XP0.8 3x3 3, XP0.6 3x3 3, XP1 5x5 2, XP0.6 7x7 3, "
          "XP0.6 7x7 2")
SPACES = {"SearchNet full K357 E.6.8.1 D123": "K357_E0.6+0.8+1_D123",
          "SearchNet XP1 7x7 3 (fullnet)": "K7_E1_D3", "SearchNet XP1 3x3 3": "K3_E1_D3",
          "SearchNet kernel phase": "K357_E1_D3", "SearchNet depth1": "K357_E1_D23",
          "SearchNet depth2": "K357_E1_D123", "SearchNet expand1": "K357_E0.8+1_D123"}


def golden_cost(row):
    """Our cost of the network that a row of the golden table names."""
    name, size = row["net"], int(row["image"])
    if name in SPACES:
        net = ofa.Network(ofa.Xception(), ofa.Xception().space(SPACES[name]))
        return network_cost(net.layers(), size)
    net = ofa.Network(ofa.Xception(), ofa.Xception().space("K357_E0.6+0.8+1_D123"))
    return net.cost(SUBNET if name.startswith("seed") else name.replace(" x8", ""), size)


def golden_rows(name):
    with open(GOLDEN / name, newline="") as file:
        return list(csv.DictReader(file))


def test_costs_equal_the_golden_table():
    rows = golden_rows("golden_ofa_xception.csv")
    assert len(rows) > 40
    for row in rows:
        cost = golden_cost(row)
        assert cost.parameters == int(row["trainable_params"]), row
        assert cost.parameters + cost.statistics == int(row["all_params_incl_bn_stats"]), row
        assert cost.macs == int(row["macs"]), row
        assert cost.activations == int(row["conv_fc_acts"]), row


def test_costs_of_resnet20_equal_the_golden_table():
    rows = golden_rows("golden_resnet20_channel.csv")
    assert len(rows) > 10
    for row in rows:
        config = ofa.ResNet20(classes=int(row["num_classes"]), shortcut=row["shortcut"])
        cost = ofa.Network(config, config.space("C4-16_C4-32_C4-64")).cost(row["encoding"], 32)
        assert (cost.parameters, cost.macs) == (int(row["trainable_params"]), int(row["macs_32x32"])), row


@pytest.mark.parametrize("name", ["golden_ofa_xception.csv", "golden_resnet20_channel.csv",
                                  "cvpr2021_nas_track1_500.json"])
def test_copies_are_as_they_came(shared, name):
    assert (GOLDEN / name).read_bytes() == (shared / "golden" / name).read_bytes()


@pytest.fixture(params=["fixtures", "shared"])
def golden(request):
    """The folder of a checkpoint of nnabla-nas."""
    return GOLDEN if request.param == "fixtures" else request.getfixturevalue("shared") / "golden"


@pytest.fixture()
def checkpoint(golden, tmp_path):
    """The checkpoint in it, and what it must be told to be read."""
    about, path = json.loads((golden / f"{NAS}.json").read_text()), golden / f"{NAS}.h5"
    if not path.exists():
        path = tmp_path / f"{NAS}.h5"
        path.write_bytes(gzip.decompress((golden / f"{NAS}.h5.gz").read_bytes()))
    return path, {"widths": about["widths"], "classes": about["num_classes"]}


@pytest.fixture()
def nas(golden, checkpoint):
    """The golden nnabla-nas supernet, its input, its subnets and their logits."""
    path, settings = checkpoint
    data = np.load(golden / f"{NAS}_logits.npz")
    return ofa.load(path, **settings), data["input"], [str(g) for g in data["genotypes"]], data["logits"]


def relative(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


@pytest.mark.parametrize("kernels", ["nnabla", "auto"])
def test_nnabla_nas_checkpoint_gives_its_logits(nas, kernels):
    net, images, subnets, logits = nas
    net.kernels = kernels
    for subnet, expected in zip(subnets, logits):
        assert relative(net.logits(images, subnet), expected) < 1e-4, subnet
        assert relative(net.extract(subnet).logits(images), expected) < 1e-4, subnet


def test_nnabla_nas_checkpoint_round_trip(nas, tmp_path):
    from nnabla_ofa.formats.nnabla_nas import save_nnabla_nas
    net, _, _, _ = nas
    save_nnabla_nas(net, tmp_path / "back.h5")
    again = ofa.load(tmp_path / "back.h5", widths=net.config.widths, classes=10).arrays()
    for name, array in net.arrays().items():
        assert np.array_equal(array, again[name]), name


def test_foreign_checkpoint_needs_its_widths(checkpoint):
    path, settings = checkpoint
    with pytest.raises(ofa.OfaError, match="widths"):
        ofa.load(path)
    *widths, last = settings["widths"]
    with pytest.raises(ofa.OfaError, match="wrong shape"):
        ofa.load(path, widths=[*widths, last + 8], classes=10)
