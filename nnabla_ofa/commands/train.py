"""Train an elastic network through the stages of progressive shrinking, or a fixed network alone.

    python runners/train.py --search-space K357_E0.6+0.8+1_D123
    mpirun -n 4 python runners/train.py --search-space K357_E0.6+0.8+1_D123 --data /data/imagenet
    python runners/train.py --recipe zoo_cifar10 --net densenet_cifar --data cifar10

Stages whose result is there are skipped; an interrupted one goes on when the command is repeated.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..errors import OfaError
from ..experiment.command import Command
from ..experiment.few_images import for_training
from ..experiment.options import (
    RunOptions,
    add_accept_changes,
    add_net,
    add_new_head,
    add_run_options,
    open_run,
)
from ..experiment.run import Run
from ..system.comm import Communicator


@dataclass(frozen=True)
class Options(RunOptions):
    """See `add_arguments`."""

    search_space: Optional[str] = None
    only: bool = False


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of `Options`."""
    add_run_options(p)
    add_net(p)
    p.add_argument("--search-space", metavar="NAME",
                   help="for example K357_E0.6+0.8+1_D123; not needed for a recipe of one stage")
    p.add_argument("--only", action="store_true", help="just that stage, from its start's weights")
    p.add_argument("--start", type=Path, metavar="FILE",
                   help="weights that the stage starts from, in place of the recipe's; with --only")
    add_accept_changes(p)
    add_new_head(p)


def main(options: Options, comm: Communicator) -> None:
    """Train every stage up to the search space whose result is not there yet."""
    if options.start and not options.only:
        raise OfaError(f"--start {options.start} is for one stage: add --only")
    run = for_training(open_run(options, comm))
    run.up_to(options.search_space or only_space(run), options.only)


def only_space(run: Run) -> str:
    """The space of a recipe of one stage. Raises OfaError if there are several."""
    spaces = [stage.space for stage in run.recipe.stages]
    if len(spaces) > 1:
        raise OfaError(f"recipe {run.recipe.name} has several stages: choose one by --search-space, "
                       f"{' or '.join(spaces)}")
    return spaces[0]


COMMAND = Command("train", __doc__, Options, add_arguments, main)
