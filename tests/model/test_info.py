"""A file of somebody else may say anything of its network: it is refused by name, or serves."""

import math

import pytest

from nnabla_ofa.errors import OfaError
from nnabla_ofa.model import create, load_network
from nnabla_ofa.nets import ResNet20

CONFIG = ResNet20(classes=3)
GOOD = {"classes": ["a", "b", "c"], "mean": [0.5, 0.5, 0.5], "std": [1, 1, 1], "image_sizes": [32], "seed": 3,
        "recipe": {"data": {"valid_sizes": [32]}}, "calibrated": {"subnet": "", "image_size": None},
        "identity": {}, "stage": "whole", "space": "W", "note": None}


def saved(tmp_path, info):
    net = create(CONFIG, "C4-16_C4-32_C4-64")
    net.info = info
    net.save(tmp_path / "net.h5")
    return tmp_path / "net.h5"


@pytest.mark.parametrize("info", [{}, GOOD])
def test_what_a_file_says_is_kept(tmp_path, info):
    assert load_network(saved(tmp_path, info)).info == info


@pytest.mark.parametrize("name, value", [
    ("classes", "abc"), ("classes", ["a", "b"]), ("classes", [1, 2, 3]), ("mean", [0.5, 0.5]), ("mean", 0.5),
    ("std", [1, 1, 0]), ("image_sizes", 32), ("image_sizes", []), ("image_sizes", [0]), ("recipe", "none"),
    ("recipe", {"data": []}), ("calibrated", {}), ("calibrated", {"subnet": "", "image_size": "32"}),
    ("identity", []), ("seed", "0"), ("stage", 1), ("space", None), ("mean", [math.nan] * 3), ("seed", -1),
    ("mean", [10**400, 0, 0]), ("std", [1, math.inf, 1]), ("std", [1e-320, 1, 1]), ("seed", 10**400),
    ("image_sizes", [10**9]), ("calibrated", {"subnet": "", "image_size": 10**9}),
    ("calibrated", {"subnet": "", "image_size": 0})])
def test_what_has_another_form_is_named(tmp_path, name, value):
    with pytest.raises(OfaError, match=f"net.h5 does not describe its network .*info, {name}"):
        load_network(saved(tmp_path, {**GOOD, name: value}))
