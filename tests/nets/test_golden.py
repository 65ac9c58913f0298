"""Numbers and logits that any right implementation gives: costs of Xception41, logits of nnabla-nas."""

import csv
import json

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.model import network_cost

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


def test_costs_equal_the_golden_table(shared):
    with open(shared / "golden" / "golden_ofa_xception.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 40
    for row in rows:
        cost = golden_cost(row)
        assert cost.parameters == int(row["trainable_params"]), row
        assert cost.parameters + cost.statistics == int(row["all_params_incl_bn_stats"]), row
        assert cost.macs == int(row["macs"]), row
        assert cost.activations == int(row["conv_fc_acts"]), row


@pytest.fixture()
def nas(shared):
    """The golden nnabla-nas supernet, its input, its subnets and their logits."""
    golden = shared / "golden"
    about = json.loads((golden / "nnabla_nas_xception_small.json").read_text())
    net = ofa.load(golden / "nnabla_nas_xception_small.h5", widths=about["widths"],
                   classes=about["num_classes"])
    data = np.load(golden / "nnabla_nas_xception_small_logits.npz")
    return net, data["input"], [str(g) for g in data["genotypes"]], data["logits"]


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


def test_foreign_checkpoint_needs_its_widths(shared):
    path = shared / "golden" / "nnabla_nas_xception_small.h5"
    with pytest.raises(ofa.OfaError, match="widths"):
        ofa.load(path)
    with pytest.raises(ofa.OfaError, match="wrong shape"):
        ofa.load(path, widths=[8, 16, 24, 32, 64, 80, 96, 136], classes=10)
