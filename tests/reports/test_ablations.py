"""The ablations: variants that differ in what they say and in nothing else, and their page."""

from dataclasses import replace

import ablations
import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.reports.pages import ablations as pages
from nnabla_ofa.reports.pages.markdown import table
from nnabla_ofa.training.sampling import grown

RECIPE = load_recipe(ablations.RECIPE)


def passes(recipe):
    """Subnets times epochs after the full network's stage."""
    return recipe.train.subnets_per_step * sum(stage.epochs for stage in recipe.stages[1:])


@pytest.mark.parametrize("variant", ablations.VARIANTS, ids=lambda variant: variant.name)
def test_variants_train_equally_many_subnets(variant):
    changed = variant.change(RECIPE)
    share = 2 / 3 if "two thirds" in variant.name else 1
    assert passes(changed) == share * passes(RECIPE) and changed.stages[0] == RECIPE.stages[0]
    assert changed.chain(RECIPE.stages[-1].space) == changed.stages


TRICKS_RECIPE = load_recipe(ablations.TRICKS_RECIPE)


@pytest.mark.parametrize("variant", ablations.TRICKS, ids=lambda variant: variant.name)
def test_tricks_change_something_and_take_about_as_many_operations(variant):
    """Of the full network, or of the elastic stage behind the same full network."""
    changed = variant.change(TRICKS_RECIPE)
    base = TRICKS_RECIPE.stages[:len(changed.stages)]
    assert changed != ablations.with_values(TRICKS_RECIPE, stages=len(changed.stages))
    assert len(changed.stages) == 1 if variant.shared == 0 else changed.stages[0] == base[0]
    assert changed.chain(changed.stages[-1].space) == changed.stages
    own, usual = (operations(recipe, recipe.stages[variant.shared:]) for recipe in (
        changed, replace(TRICKS_RECIPE, stages=base[:1] if variant.shared == 0 else TRICKS_RECIPE.stages)))
    assert 0.85 < own / usual < 1.15, variant.name


def operations(recipe, stages):
    """Multiply-adds of the subnets of an image, times epochs; a teacher's pass is a third of a training's."""
    total = 0.0
    for stage in stages:
        train, net = stage.settings(recipe.train), ofa.Network(recipe.net, recipe.net.space(stage.space))
        rng = np.random.default_rng(0)
        for step in range(2):  # before and after half of the time
            size = grown(recipe.data.image_sizes, train.growing_sizes, step / 2)
            ends = [net.space.largest(), net.space.smallest()] if train.sandwich else []
            archs = [net.space.largest()] if net.space.single() else ends
            count = 0 if net.space.single() else train.subnets_per_step - len(ends)
            between = np.mean([net.cost(net.space.sample(rng), size).macs for _ in range(20)])
            teacher = net.cost(None, size).macs / 3 if train.distill and stage.start else 0
            total += stage.epochs / 2 * (sum(net.cost(arch, size).macs for arch in archs) + count * between
                                         + teacher)
    return total


def sorting_changes(sorting):
    """Largest change of the logits of the largest and of a shallow subnet by a setting of `train.sorting`."""
    config = ofa.Xception(classes=10, width_mult=0.0625, middle_blocks=2)
    net = ofa.Network.create(config, "K3_E1_D123", seed=1)
    images = np.random.default_rng(0).normal(size=(4, 3, 16, 16)).astype(np.float32)
    before = [net.logits(images, f"XP1 3x3 {depth}") for depth in (3, 1)]
    if sorting != "none":
        net.sort_channels(keep_order=sorting == "exact")
    after = [net.logits(images, f"XP1 3x3 {depth}") for depth in (3, 1)]
    return [float(np.abs(a - b).max()) for a, b in zip(after, before)]


def test_only_a_bare_permutation_changes_shallow_subnets():
    exact, none, bare = map(sorting_changes, ("exact", "none", "bare"))
    assert max(exact) < 1e-5 and none == [0, 0] and bare[1] > 1e-3


def record(seed):
    rows = [{"comparison": "sorting", "variant": variant, "which": which, "top1": top1 + seed / 100,
             "train_seconds": 90.0}
            for variant, top1 in (("exact", .8), ("none", .75)) for which in ("largest", "smallest")]
    rows += [{"comparison": "sorting", "variant": variant, "which": "random",
              "top1": top1 + seed / 100, "train_seconds": 90.0}
             for variant in ("exact", "none") for top1 in (.7, .6)]
    return {"kind": "benchmark", "name": "ablations", "recipe": "r", "stage": "ablations", "space": "",
            "seed": seed, "ranks": 1, "seconds": 1, "date": "d", "commit": "c", "command": "c",
            "versions": {},
            "machine": {"cpu": "a CPU", "cores": 2, "gpu": None}, "history": [], "results": rows}


def test_the_page_compares_seed_by_seed():
    top1, same = "{} ± 0.0141 (n=2)".format, {"Time": "90 s", "Top-1, random ones": "0.6600 ± 0.0141 (n=2)"}
    exact = {**same, "Variant": "exact", "Top-1, largest": top1("0.8100"), "Top-1, smallest": top1("0.8100"),
             "Change, largest": "-", "Change, smallest": "-", "Change, random ones": "-"}
    none = {**same, "Variant": "none", "Top-1, largest": top1("0.7600"), "Top-1, smallest": top1("0.7600"),
            "Change, largest": "-5.0 ± 0.0", "Change, smallest": "-5.0 ± 0.0",
            "Change, random ones": "0.0 ± 0.0"}
    lines = pages.lines([record(0), record(2)], "sorting")
    assert lines == [exact, none]
    assert table(lines) in pages.pages([record(0), record(2)])["ablations.md"]
    assert list(pages.figures([record(0), record(2)])) == ["ablations-r.png"] and pages.pages([]) == {}


def test_a_study_that_is_not_done_shows_what_there_is():
    """A variant that a seed lacks is compared in the others."""
    part = record(2)
    part["results"] = [row for row in part["results"] if row["variant"] == "exact"]
    part["results"].append({**part["results"][0], "comparison": "full network", "variant": "the recipe"})
    exact, none = pages.lines([record(0), part], "sorting")
    assert exact["Top-1, smallest"].endswith("(n=2)") and none["Top-1, smallest"] == "0.7500"
    assert none["Change, smallest"] == "-5.0"
    assert len(pages.lines([record(0), part], "full network")) == 1
    assert list(pages.figures([record(0), part])) == ["ablations-r.png"]
