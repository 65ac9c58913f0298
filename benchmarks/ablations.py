"""Does each decision pay? One small training, again with one thing changed at a time.

    python benchmarks/ablations.py --data cifar10            # seed 0; then --seed 1, --seed 2
    python runners/tables.py                                 # the page, from the records

All variants of a comparison train equally many subnets on equally many images (epochs times images
times subnets a step) but for one, which trains about as long as the base. The stages that a variant
has in common with the base, the full network always, are trained once. A run that was killed goes on
when its command is repeated. The records go to the run's folder; those copied to results/records/
become results/ablations.md.
"""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Callable, Iterable, List, Tuple

import numpy as np

from nnabla_ofa.experiment.command import Command
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.options import RunOptions, add_run_options, open_run
from nnabla_ofa.experiment.recipe import Recipe
from nnabla_ofa.experiment.run import Run
from nnabla_ofa.experiment.shrinking import widened
from nnabla_ofa.model import Network, load_network
from nnabla_ofa.nets import Arch
from nnabla_ofa.system import records
from nnabla_ofa.system.comm import Communicator

RECIPE = "xception_cifar10_small"
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


def main(options: RunOptions, comm: Communicator) -> None:
    """Train and judge the base and every variant; one record of all."""
    run, start = open_run(replace(options, recipe=options.recipe or RECIPE), comm), time.time()
    folder = run.output / f"seed{run.lab.seed}"
    before = already_trained(folder)
    base = Run(run.lab, folder / "base", run.command, run.kernels)
    rows = labelled(BASE.items(), measured(base))
    for name, sorting in {BASE["sorting"]: "exact", **SORTINGS}.items():
        net = widened(network(base, BEFORE_EXPAND - 1), base.recipe.stages[-1], sorting)
        rows += labelled([("sorting alone", name)], judged(
            base.lab, net, largest=net.space.largest(), narrowest=net.arch(NARROWEST)))
    for variant in VARIANTS:
        rows += labelled([(variant.comparison, variant.name)], measured(derived(base, variant)))
    net = network(base)
    for count in CALIBRATION_IMAGES:
        rows += labelled([("calibration", str(count))], judged(base.lab.with_calibration(count), net))
    run.record("benchmark", "ablations", base.recipe.stages[-1].space, [], rows,
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
    """Train what is missing; rows of its network, with the seconds that its elastic stages trained."""
    run.say(f"--- {run.output.name}")
    run.up_to(run.recipe.stages[-1].space)
    seconds = sum(epoch["seconds"] for record in records.read(run.output / "records")
                  for epoch in record["history"] if record["stage"] != run.recipe.stages[0].name)
    return [{**row, "train_seconds": round(seconds, 1)} for row in judged(run.lab, network(run))]


def network(run: Run, stage: int = -1) -> Network:
    """The supernet of a stage, by its index: the last one's."""
    net = load_network(run.weights(run.recipe.stages[stage]))
    net.kernels = run.kernels
    return net


def judged(lab: Lab, net: Network, **named: Arch) -> List[dict]:
    """Test rows of the largest, the smallest (or the named) and the same few random subnets."""
    archs = list((named or {"largest": net.space.largest(), "smallest": net.space.smallest()}).items())
    draw = np.random.default_rng(0)
    archs += [("random", net.space.sample(draw)) for _ in range(RANDOM_SUBNETS)]
    size = max(lab.recipe.data.valid_sizes)
    rows = lab.rows(net, [arch for _, arch in archs], say=lambda text: None, sizes=(size,))
    return [{"which": which, **row} for (which, _), row in zip(archs, rows)]


COMMAND = Command("ablations", __doc__, RunOptions, add_run_options, main)

if __name__ == "__main__":
    COMMAND.run()
