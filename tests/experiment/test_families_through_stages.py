"""The digits recipes of once-for-all's families: every stage, one after the other, by one call."""

from __future__ import annotations

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.experiment.run import Run
from nnabla_ofa.system import records
from nnabla_ofa.system.comm import Single

SHORT = ["data.train_images=48", "data.calibration_images=16", "data.workers=0", "train.batch_size=16",
         "train.global_batch=16"]


@pytest.mark.parametrize("name, overrides", [
    ("mobilenetv3_digits", ["net.width_mult=0.1"]),
    ("resnet50_digits", ["net.stage_widths=[16, 24, 32, 48]"])])
def test_every_stage_starts_from_the_one_before(name, overrides, tmp_path):
    recipe = load_recipe(name, [*SHORT, *overrides])
    epochs = [f"stages.{stage.name}.epochs=1" for stage in recipe.stages]
    recipe = load_recipe(name, [*SHORT, *overrides, *epochs])
    lab = Lab.open(recipe, 0, Single())
    space = recipe.stages[-1].space
    Run(lab, tmp_path, "test").up_to(space)
    found = {record["stage"]: record for record in records.read(tmp_path / "records")}
    assert list(found) and set(found) == {stage.name for stage in recipe.stages}
    assert all(len(record["results"]) == len(stage.validate)
               for stage in recipe.stages for record in [found[stage.name]])
    net = ofa.load(tmp_path / space / "weights.h5")
    assert str(net.space) == space and net.space == recipe.net.space(space)
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8))
    for arch in (net.space.largest(), net.space.smallest()):
        assert np.allclose(net.extract(arch).logits(x), net.logits(x, arch), rtol=1e-4, atol=1e-5)
