"""Families of once-for-all: names, dicts, spaces, and the counts of the original."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.model import network_cost
from nnabla_ofa.nets import Arch, Space

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "ofa"
CONFIGS = {"mbv3": ofa.MobileNetV3, "proxyless": ofa.ProxylessNAS, "resnet50": ofa.OfaResNet50}
WHOLE = {"mbv3": "K357_E346_D234", "proxyless": "K357_E346_D234",
         "resnet50": "D012_E0.2+0.25+0.35_W0.65+0.8+1"}
SPACES = {"mbv3": ["K7_E6_D4", "K357_E6_D34", "K35_E46_D234", "K3_E3_D2", "K37_E36_D3"],
          "resnet50": ["D2_E0.35_W1", "D12_E0.25+0.35_W0.8+1", "D0_E0.2_W0.65", "D1_E0.35_W0.65+1"]}
SPACES["proxyless"] = SPACES["mbv3"]
KEYS = {"mbv3": {"ks": 20, "e": 20, "d": 5}, "proxyless": {"ks": 21, "e": 21, "d": 6},
        "resnet50": {"d": 5, "e": 18, "w": 6}}


@pytest.fixture(params=CONFIGS)
def name(request):
    return request.param


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# -- counts ----------------------------------------------------------------------------------------

def check_counts(rows, kind):
    for row in rows:
        settings = ({"stage_widths": json.loads(row["stage_widths"])} if "stage_widths" in row else
                    {"width_mult": float(row["width_mult"])})
        config = kind(classes=int(row["classes"]), **settings)
        arch = config.arch(row["arch"])
        cost = network_cost(config.layers(Space.of(arch), arch.canonical()), int(row["image_size"]))
        assert cost == (int(row["parameters"]), int(row["bn_statistics"]), int(row["macs"]),
                        int(row["activations"]) + int(row["activations_linear"])), row["id"]


def test_counts_are_those_of_the_original(name):
    rows = rows_of(FIXTURES / f"golden_ofa_{name}.csv")
    assert len(rows) == 12
    check_counts(rows, CONFIGS[name])


def test_all_counts_are_those_of_the_original(name, shared):
    rows = rows_of(shared / f"golden/ofa/golden_ofa_{name}.csv")
    assert len(rows) > 80
    check_counts(rows, CONFIGS[name])
    every = {row["id"]: row for row in rows}
    assert all(value == every[row["id"]][key] for row in rows_of(FIXTURES / f"golden_ofa_{name}.csv")
               for key, value in row.items())


def test_counts_of_the_published_networks(shared):
    """Parameters and MACs of the networks that once-for-all distributes; its blocks may leave the space."""
    rows = [row for row in rows_of(shared / "golden/ofa/published_ofa_subnets.csv")
            if row["in_supernet_space"] == "yes" and row["arch"] and row["macs"]]
    assert len(rows) > 40
    for row in rows:
        kind = ofa.MobileNetV3 if row["family"] == "mbv3" else ofa.ProxylessNAS
        net = ofa.Network(kind(width_mult=float(row["width_mult"])), Space.of(kind().arch(row["arch"])))
        cost = net.cost(None, int(row["image_size"]))
        assert (cost.parameters, cost.macs) == (int(row["parameters"]), int(row["macs"])), row["id"]


# -- names -----------------------------------------------------------------------------------------

def archs(name, count=20):
    config, rng = CONFIGS[name](), np.random.default_rng(1)
    space = config.space(WHOLE[name])
    return config, [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(count))]


def test_texts_and_dicts_name_the_same_subnet(name):
    config, every = archs(name)
    for arch in every:
        assert config.arch(str(arch)) == arch
        mine = config.once_for_all(arch)
        assert {key: len(values) for key, values in mine.items()} == KEYS[name]
        for given in (mine, json.dumps(mine), {**mine, "r": [224], "image_size": 160, "wid": None},
                      {key: np.array(values) for key, values in mine.items()}):
            assert config.arch(given) == arch.canonical(), arch
        assert config.once_for_all(config.arch(mine)) == mine


def test_absent_blocks_have_one_name(name):
    """What stands for a block that depth leaves out, or behind an absent one, changes nothing."""
    config, every = archs(name)
    rng = np.random.default_rng(2)
    for arch in every:
        lists = {key: np.array(values) for key, values in config.once_for_all(arch).items()}
        stages = np.cumsum([0, 4, 4, 6, 4] if name == "resnet50" else [0, 4, 4, 4, 4, 4])
        least, depths = ([2, 2, 4, 2], lists["d"][1:]) if name == "resnet50" else ([0] * 5, lists["d"][:5])
        for start, stop, low, depth in zip(stages, stages[1:], least, depths):
            for key in lists.keys() & {"ks", "e"}:
                options = {"ks": [3, 5, 7], "e": [0.2, 0.25, 0.35] if name == "resnet50" else [3, 4, 6]}[key]
                gone = slice(start + low + depth, stop)
                lists[key][gone] = rng.choice(options, lists[key][gone].size)
        assert config.arch(lists) == arch.canonical()
    with_gap = every[0].blocks[:2] + every[1].blocks[2:3] + every[0].blocks[3:]
    if name != "resnet50":
        assert str(Arch(with_gap).canonical()).startswith("76 76 - - 76")


def test_a_depth_beyond_a_single_block_means_one():
    config = ofa.ProxylessNAS()
    lists = config.once_for_all(config.arch("K7_E6_D4"))
    assert lists["d"] == [4, 4, 4, 4, 4, 1]
    assert config.arch({**lists, "d": 4}) == config.arch({"ks": 7, "e": 6, "d": 4}) == config.arch("K7_E6_D4")


def test_both_0_and_1_leave_the_stem_s_residual_out():
    config = ofa.OfaResNet50()
    dicts = [{"d": [first, 1, 1, 1, 1], "e": 0.25, "w": 1} for first in (0, 1, 2)]
    without, same, other = map(config.arch, dicts)
    assert without == same != other and str(other).startswith("0.8+ 0.8 0.8 .25 .25 .25 - 0.8")
    assert config.arch(str(other).replace("0.8", ".8").replace(" .25", " 0.25")) == other


def test_spaces_have_names(name):
    config, rng = CONFIGS[name](), np.random.default_rng(0)
    whole = config.space(WHOLE[name])
    for text in [WHOLE[name], *SPACES[name]]:
        space = config.space(text)
        assert str(space) == text and config.space(f" {text} ") == space
        assert all(block in choices for _ in range(5)
                   for block, choices in zip(space.sample(rng).blocks, space.blocks))
        if "K37" not in text:
            assert space.largest() in whole and space.smallest() in whole
    arch = whole.sample(rng).canonical()
    assert config.space(str(arch)) == Space.of(arch) and Space.of(arch).single()
    single = next(text for text in SPACES[name] if config.space(text).single())
    assert config.arch(single) == config.space(single).largest()
    assert Space.of(config.arch(single)) == config.space(single)


def every_network(space):
    """The different networks of a small space, by brute force."""
    return {Arch(blocks).canonical() for blocks in itertools.product(*map(tuple, space.blocks))}


@pytest.mark.parametrize("kernels, expands, depths", [("3", "34", "234"), ("35", "6", "34"), ("3", "3", "2")])
def test_distinct_networks_are_counted(kernels, expands, depths):
    """Of one stage by brute force over the original's lists, of five by their product."""
    config = ofa.MobileNetV3()
    space = config.space(f"K{kernels}_E{expands}_D{depths}")
    stage = Space(space.blocks[:4])
    by_hand = sum((len(kernels) * len(expands)) ** int(depth) for depth in depths)
    assert len(every_network(stage)) == stage.distinct_count() == by_hand
    assert space.distinct_count() == by_hand ** 5
    assert config.space("K357_E346_D234").distinct_count() == (9 ** 2 + 9 ** 3 + 9 ** 4) ** 5
    last = ofa.ProxylessNAS().space(f"K{kernels}_E{expands}_D{depths}")
    assert last.distinct_count() == by_hand ** 5 * len(kernels) * len(expands)


def test_distinct_networks_of_resnet50_are_counted():
    space = ofa.OfaResNet50().space("D012_E0.2+0.35_W0.8+1")
    blocks = [sum(2 ** (least + more) for more in (0, 1, 2)) * 2 for least in (2, 2, 4, 2)]
    assert space.distinct_count() == 2 * 2 * 2 * np.prod(blocks)  # the stem's, the stages'
    stage = Space(space.blocks[2:7])
    assert len(every_network(stage)) == stage.distinct_count() == blocks[0]


@pytest.mark.parametrize("own", ["mbv3", "resnet50"])
def test_each_depth_is_drawn_as_often(own):
    config, rng = CONFIGS[own](), np.random.default_rng(3)
    space = config.space(WHOLE[own])
    depths = np.array([config.once_for_all(space.sample(rng))["d"] for _ in range(900)])
    for column in depths[:, 1:].T:
        share = np.unique(column, return_counts=True)[1] / 900
        assert len(share) == 3 and np.abs(share - 1 / 3).max() < 0.06


# -- what is refused -------------------------------------------------------------------------------

GOOD = {"mbv3": {"ks": [7] * 20, "e": [6] * 20, "d": [4] * 5},
        "proxyless": {"ks": [7] * 21, "e": [6] * 21, "d": [4] * 5 + [1]},
        "resnet50": {"d": [2] * 5, "e": [0.35] * 18, "w": [2] * 6}}
WRONG = {"mbv3": [({"ks": [7] * 19}, "'ks' has 19 entries, not 20"), ({"e": [6, 5] * 10}, "1 of 'e' is 5"),
                  ({"d": [4, 4, 1, 4, 4]}, "entry 2 of 'd' is 1"), ({"w": [2] * 6}, "'w' is not one of"),
                  ({"ks": 9}, "entry 0 of 'ks' is 9"), ({"ks": [[7] * 20] * 20}, "entry 0 of 'ks'"),
                  ({"ks": ["7"] * 20}, "entry 0 of 'ks' is '7'"), ({"d": True}, "entry 0 of 'd' is True"),
                  ({"d": None}, "entry 0 of 'd' is None"), ({"e": 0.35}, "entry 0 of 'e' is 0.35")],
         "resnet50": [({"ks": [7] * 20}, "'ks' is not one of d, e, w"), ({"d": [2] * 4}, "4 entries, not 5"),
                      ({"e": 6}, "entry 0 of 'e' is 6"), ({"w": [0.65] * 6}, "entry 0 of 'w' is 0.65"),
                      ({"d": [3] * 5}, "entry 0 of 'd' is 3")]}
WRONG["proxyless"] = [({"ks": [7] * 20}, "20 entries, not 21"), ({"d": [4] * 5 + [5]}, "entry 5 of 'd' is 5")]


@pytest.mark.parametrize("own, wrong, complaint", [(own, *case) for own in WRONG for case in WRONG[own]])
def test_dicts_of_others_are_one_clear_error(own, wrong, complaint):
    config = CONFIGS[own]()
    for given in ({**GOOD[own], **wrong}, json.dumps({**GOOD[own], **wrong})):
        with pytest.raises(ofa.OfaError, match=complaint) as caught:
            config.arch(given)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


@pytest.mark.parametrize("lost", ["ks", "e", "d"])
def test_a_missing_key_is_named(lost):
    with pytest.raises(ofa.OfaError, match=f"lacks '{lost}'"):
        ofa.MobileNetV3().arch({key: values for key, values in GOOD["mbv3"].items() if key != lost})


@pytest.mark.parametrize("text", ["", "76", "76 76 - -", " ".join(["76"] * 19 + ["86"]), "{", "{}", "[]",
                                  " ".join(["-"] + ["76"] * 19), "K7_E6_D34", '{"ks": 7}',
                                  "{" * 100000, '{"ks":' + "[" * 100000, "XP1 7x7 3", "76, 76"])
def test_malformed_subnets_are_refused(text):
    for kind in CONFIGS.values():
        with pytest.raises(ofa.OfaError):
            kind().arch(text)


@pytest.mark.parametrize("text", ["", "K357", "K357_E346", "K357_E346_D24", "K753_E346_D234", "K9_E6_D4",
                                  "K7_E5_D4", "K7_E6_D1", "K77_E6_D4", "K357_E0.6+0.8+1_D123"])
def test_malformed_spaces_are_refused(text):
    for kind in (ofa.MobileNetV3, ofa.ProxylessNAS):
        with pytest.raises(ofa.OfaError):
            kind().space(text)


@pytest.mark.parametrize("text", ["", "D012", "D02_E0.2_W1", "D3_E0.2_W1", "D012_E0.3_W1",
                                  "D012_E0.35+0.2_W1", "D012_E0.2_W0.5", "D012_E0.2+_W1", "D012_E._W1",
                                  "K357_E346_D234"])
def test_malformed_spaces_of_resnet50_are_refused(text):
    with pytest.raises(ofa.OfaError):
        ofa.OfaResNet50().space(text)


@pytest.mark.parametrize("kind, wrong", [
    (ofa.MobileNetV3, {"strides": (2, 2, 2)}), (ofa.MobileNetV3, {"width_mult": 0}),
    (ofa.ProxylessNAS, {"strides": (2, 2, 2, 1, 3, 1)}), (ofa.ProxylessNAS, {"dropout": 1.0}),
    (ofa.OfaResNet50, {"stage_widths": (8, 8, 8)}), (ofa.OfaResNet50, {"stem_stride": 3}),
    (ofa.MobileNetV3, {"family": "proxylessnas"})])
def test_wrong_settings_are_named(kind, wrong):
    with pytest.raises(ofa.OfaError, match=f"net.{next(iter(wrong))}="):
        kind(**wrong)


def test_a_subnet_outside_the_space_is_named():
    net = ofa.Network.create(ofa.MobileNetV3(classes=3, width_mult=0.1), "K35_E6_D4")
    with pytest.raises(ofa.OfaError, match='block 0 is "76", outside this search space .*kernel .3, 5.'):
        net.logits(np.zeros((1, 3, 32, 32), np.float32), GOOD["mbv3"])
