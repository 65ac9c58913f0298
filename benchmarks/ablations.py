"""Does each decision pay? One small training, again with one thing changed at a time.

    python benchmarks/ablations.py --data cifar10                  # how a supernet shrinks, seed 0
    python benchmarks/ablations.py --data cifar10 --study tricks   # what buys accuracy for operations
    python runners/tables.py                                       # the page, from the records

Repeat a study with --seed 1, --seed 2. All variants of a comparison train equally many subnets on equally
many images (epochs times images times subnets a step), or take equally many operations, unless their name
says otherwise. The stages that a variant has in common with the base are trained once. A run that was killed
goes on when its command is repeated; the record holds the variants that are done. Records go to the run's
folder; those copied to results/records/ become results/ablations.md.
"""

from __future__ import annotations

import argparse
import re
import shutil
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, Tuple

import numpy as np

from nnabla_ofa.experiment.command import Command
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.options import RunOptions, add_run_options, open_run
from nnabla_ofa.experiment.parse import from_settings
from nnabla_ofa.experiment.recipe import Recipe
from nnabla_ofa.experiment.run import Run
from nnabla_ofa.experiment.shrinking import widened
from nnabla_ofa.model import Network, load_network
from nnabla_ofa.nets import Arch
from nnabla_ofa.system import records
from nnabla_ofa.system.comm import Communicator

RECIPE, TRICKS_RECIPE = "xception_cifar10_small", "wide_resnet20_cifar10_small"
RANDOM_SUBNETS = 8
BEFORE_EXPAND = 4  # stages before the first whose channels are sorted
NARROWEST = "XP0.6 7x7 3"  # of all channels that sorting may move, the fewest
CALIBRATION_IMAGES = (128, 512, 2048, 4096)


def trained_with(recipe: Recipe, passes: float = 1, **changes) -> Recipe:
    """The recipe with other values of `train`, and epochs after the first stage for as many passes.

    passes: how many times as many.
    """
    changed = replace(recipe, train=replace(recipe.train, **changes))
    factor = passes * recipe.train.subnets_per_step / changed.train.subnets_per_step
    first, *others = recipe.stages
    epochs = [int(stage.epochs * factor) for stage in others]
    epochs[-1] += round(sum(stage.epochs for stage in others) * factor) - sum(epochs)
    return replace(changed, stages=(first, *(replace(stage, epochs=count)
                                             for stage, count in zip(others, epochs))))


def direct(recipe: Recipe) -> Recipe:
    """From the full network to the whole space in one stage, as long as all of them."""
    first, *others = recipe.stages
    return replace(recipe, stages=(first, replace(
        others[-1], start=first.space, epochs=sum(stage.epochs for stage in others))))


@dataclass(frozen=True)
class Variant:
    """A training beside the base: a recipe made of the base's, and how many stages they have in common."""

    comparison: str
    name: str
    change: Callable[[Recipe], Recipe] = lambda recipe: recipe
    shared: int = 1


BASE = {"sorting": "exact", "subnets a step": "2", "schedule": "stages, uniform draws",
        "distillation": "from the full network"}  # what the base is called in each comparison
SORTINGS = {"bare permutation": "bare", "none": "none"}  # variant -> train.sorting
VARIANTS = (
    *(Variant("sorting", name, partial(trained_with, sorting=sorting), BEFORE_EXPAND)
      for name, sorting in SORTINGS.items()),
    Variant("subnets a step", "1", lambda recipe: trained_with(recipe, subnets_per_step=1)),
    Variant("subnets a step", "1, two thirds of the passes",
            lambda recipe: trained_with(recipe, passes=2 / 3, subnets_per_step=1)),
    Variant("subnets a step", "4", lambda recipe: trained_with(recipe, subnets_per_step=4)),
    Variant("schedule", "stages, sandwich rule",
            lambda recipe: trained_with(recipe, subnets_per_step=3, sandwich=True)),
    Variant("schedule", "one stage, uniform draws", direct),
    Variant("schedule", "one stage, sandwich rule",
            lambda recipe: direct(trained_with(recipe, subnets_per_step=3, sandwich=True))),
    Variant("distillation", "none", lambda recipe: trained_with(recipe, distill=0.0)))


# Tricks --------------------------------------------------------------------------------------------

def with_values(recipe: Recipe, *values: str, stages: int = 2) -> Recipe:
    """The recipe with overrides, and of its stages the first ones."""
    changed = from_settings(recipe.settings(), values)
    return replace(changed, stages=changed.stages[:stages])


def in_two_stages(recipe: Recipe) -> Recipe:
    """Two epochs over the upper part of the widths, then three over all: as many operations as six."""
    first, last = recipe.stages
    upper = replace(last, name="upper", space="C16-24_C32-48_C64-96", epochs=2)
    return replace(recipe, stages=(first, upper, replace(last, start=upper.space, epochs=3)))


def trick(name: str, *values: str) -> Variant:
    """The full network trained with other values."""
    return Variant("full network", name, lambda recipe: with_values(recipe, *values, stages=1), 0)


def elastic(name: str, *values: str) -> Variant:
    """The elastic stage trained with other values."""
    return Variant("elastic stage", name, lambda recipe: with_values(recipe, *values))


FULL, ELASTIC = "the recipe", "sandwich, the largest teaches, 2 between"
TRICKS = (
    trick("without Nesterov", "train.nesterov=false"),
    trick("cosine rate", "train.schedule=cosine"),
    trick("last weights", "train.lookahead=null"),
    trick("average of weights", "train.lookahead=null", "train.ema=0.995"),
    trick("no smoothing", "train.label_smoothing=0"),
    trick("smoothing .1", "train.label_smoothing=0.1"),
    trick("random flips", "data.augment.alternating_flip=false"),
    trick("no shifts", "data.augment.crop=none"),
    trick("shifts of 4", "data.augment.pad=4"),
    trick("no cutout", "data.augment.cutout=0"),
    trick("trained first layer", "train.whitening=null"),
    trick("random convolutions", "train.identity_convolutions=false"),
    trick("last BN at 0", "train.zero_last_bn=true"),
    trick("decay of BN, too", "train.decay_all=true"),
    trick("full size always, 7 of 9 epochs", "train.growing_sizes=0", "stages.fullnet.epochs=7"),
    elastic("1 between", "train.subnets_per_step=3", "stages.channels.epochs=8"),
    elastic("4 between", "train.subnets_per_step=6", "stages.channels.epochs=4"),
    elastic("the full network teaches", "train.inplace_distill=false", "train.distill=1",
            "stages.channels.epochs=5"),
    elastic("labels teach", "train.inplace_distill=false"),
    elastic("fair draws of 3", "train.sandwich=false", "train.inplace_distill=false", "train.distill=1",
            "train.sampling=fair", "train.subnets_per_step=3", "stages.channels.epochs=7"),
    Variant("elastic stage", "in two stages", in_two_stages))


# Studies -------------------------------------------------------------------------------------------

def shrinking(base: Run) -> Iterator[List[dict]]:
    """Rows of the base and of every variant of how a supernet shrinks."""
    yield labelled(BASE.items(), measured(base))
    for name, sorting in {BASE["sorting"]: "exact", **SORTINGS}.items():
        net = widened(network(base, BEFORE_EXPAND - 1), base.recipe.stages[-1], sorting)
        yield labelled([("sorting alone", name)], judged(
            base.lab, net, largest=net.space.largest(), narrowest=net.arch(NARROWEST)))
    yield from of_variants(base, VARIANTS)
    net = network(base)
    for count in CALIBRATION_IMAGES:
        yield labelled([("calibration", str(count))], judged(base.lab.with_calibration(count), net))


def tricks(base: Run) -> Iterator[List[dict]]:
    """Rows of the base and of every trick: of the full network alone, then of the elastic stage."""
    full = replace(base, lab=replace(base.lab, recipe=with_values(base.recipe, stages=1)))
    yield labelled([("full network", FULL)], measured(full))
    yield from of_variants(base, [variant for variant in TRICKS if variant.shared == 0])
    yield labelled([("elastic stage", ELASTIC)], measured(base))
    yield from of_variants(base, [variant for variant in TRICKS if variant.shared])


def of_variants(base: Run, variants: Iterable[Variant]) -> Iterator[List[dict]]:
    """Rows of each variant."""
    for variant in variants:
        yield labelled([(variant.comparison, variant.name)], measured(derived(base, variant)))


STUDIES: Dict[str, Tuple[str, Callable[[Run], Iterator[List[dict]]]]] = {
    "shrinking": (RECIPE, shrinking), "tricks": (TRICKS_RECIPE, tricks)}


@dataclass(frozen=True)
class Options(RunOptions):
    """See `add_arguments`."""

    study: str = "shrinking"


def main(options: Options, comm: Communicator) -> None:
    """Train and judge the base and every variant; one record, which grows."""
    recipe, study = STUDIES[options.study]
    run, start = open_run(replace(options, recipe=options.recipe or recipe), comm), time.time()
    folder = run.output / f"seed{run.lab.seed}"
    before, rows = already_trained(folder), []
    for found in study(Run(run.lab, folder / "base", run.command, run.kernels)):
        rows += found
        run.record("benchmark", "ablations", run.recipe.stages[-1].space, [], rows,
                   before + time.time() - start, "ablations")


def already_trained(folder: Path) -> float:
    """Seconds of the stages in `folder`, each once, whichever variants share it."""
    found = (record for path in folder.glob("*/records") for record in records.read(path))
    return sum({str(record): record["seconds"] for record in found}.values())


def labelled(places: Iterable[Tuple[str, str]], found: List[dict]) -> List[dict]:
    """The rows found, once for each (comparison, variant) that they belong to."""
    return [{"comparison": comparison, "variant": variant, **row}
            for comparison, variant in places for row in found]


def derived(base: Run, variant: Variant) -> Run:
    """The run of a variant; what it shares with the base, which is done, is copied into its folder."""
    shared = base.recipe.stages[:variant.shared]
    lab = replace(base.lab, recipe=variant.change(base.recipe))
    folder = re.sub("[ ,]+", "_", f"{variant.comparison}-{variant.name}")
    run = Run(lab, base.output.parent / folder, base.command, base.kernels)
    for stage in shared:
        if not run.weights(stage).exists():
            run.folder(stage).mkdir(parents=True, exist_ok=True)
            shutil.copy(base.weights(stage), run.weights(stage))
    for record in records.read(base.output / "records"):
        if record["stage"] in [stage.name for stage in shared]:
            records.write(run.output / "records", record)
    return run


def measured(run: Run) -> List[dict]:
    """Train what is missing; rows of its network, with the seconds of its elastic stages, or of its only one.
    """
    run.say(f"--- {run.output.name}")
    run.up_to(run.recipe.stages[-1].space)
    names = [stage.name for stage in run.recipe.stages[1:] or run.recipe.stages]
    seconds = sum(epoch["seconds"] for record in records.read(run.output / "records")
                  for epoch in record["history"] if record["stage"] in names)
    return [{**row, "train_seconds": round(seconds, 1)} for row in judged(run.lab, network(run))]


def network(run: Run, stage: int = -1) -> Network:
    """The supernet of a stage, by its index: the last one's."""
    net = load_network(run.weights(run.recipe.stages[stage]))
    net.kernels = run.kernels
    return net


def judged(lab: Lab, net: Network, **named: Arch) -> List[dict]:
    """Test rows of the largest, the smallest (or the named) and the same few random subnets."""
    if net.space.single():
        rows = lab.rows(net, [None], say=lambda text: None, sizes=(max(lab.recipe.data.valid_sizes),))
        return [{"which": "largest", **row} for row in rows]
    archs = list((named or {"largest": net.space.largest(), "smallest": net.space.smallest()}).items())
    draw = np.random.default_rng(0)
    archs += [("random", net.space.sample(draw)) for _ in range(RANDOM_SUBNETS)]
    size = max(lab.recipe.data.valid_sizes)
    rows = lab.rows(net, [arch for _, arch in archs], say=lambda text: None, sizes=(size,))
    return [{"which": which, **row} for (which, _), row in zip(archs, rows)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `Options`."""
    add_run_options(parser)
    parser.add_argument("--study", choices=list(STUDIES), default="shrinking",
                        help="what is compared (default shrinking)")


COMMAND = Command("ablations", __doc__, Options, add_arguments, main)

if __name__ == "__main__":
    COMMAND.run()
