"""Balanced calibration; a test set alone is evaluated where it serves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import nnabla_ofa as ofa
from nnabla_ofa.errors import OfaError
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.system.comm import Single

RECIPE = "tests/tiny.yaml"


def recipe(*overrides):
    return load_recipe(RECIPE, overrides)


def folder(root, parts=("train", "val"), count=4):
    for part in parts:
        for label, level in (("cat", 40), ("dog", 200)):
            for i in range(count):
                path = root / part / label / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((12, 12, 3), level + i, np.uint8)).save(path)
    return root


def test_calibration_sees_the_proportions_of_training(tmp_path):
    root = folder(tmp_path, count=2)
    for i in range(100):
        (root / "train" / "cat" / f"more{i}.png").write_bytes((root / "train" / "cat" / "0.png").read_bytes())
    shares = []
    for balance in (0, 1):
        one = recipe(f"data.balance={balance}", f"data.source={root}", "data.calibration_images=40",
                     "data.held_out=0.01")
        images = Lab.open(one, 0, Single()).calibration
        shares.append(images.dataset.labels[images.indices].mean())
    assert shares[0] < 0.1 and 0.3 < shares[1] < 0.7


def test_a_test_set_alone_serves_for_one_network(tmp_path):
    one = recipe(f"data.source={folder(tmp_path / 'whole')}", "data.held_out=0.2", "net.classes=2")
    alone = replace(one, data=replace(one.data, source=str(folder(tmp_path / "alone", ("val",)))))
    net = ofa.Network.create(one.net, "K357_E0.6+0.8+1_D123")
    whole, lab = Lab.open(one, 0, Single()), Lab.open(alone, 0, Single(), test_alone=True)
    with pytest.raises(OfaError, match="Others are calibrated on training images"):
        lab.judge(net, [None], 16)
    subnet = whole.calibrated(net, net.space.largest(), 16)
    assert lab.judge(subnet, [None], 16) == whole.judge(subnet, [None], 16)
    with pytest.raises(OfaError, match="needs class folders"):
        Lab.open(alone, 0, Single())
