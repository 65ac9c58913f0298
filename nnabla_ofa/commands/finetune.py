"""Extract one subnet of a supernet and train it on, alone; evaluated before and after.

    python runners/finetune.py --weights runs/demo/K357_E0.6+0.8+1_D123/weights.h5 \\
        --subnet "XP0.8 5x5 2"
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..experiment.command import Command
from ..experiment.few_images import for_training
from ..experiment.options import (
    WeightsOptions,
    add_accept_changes,
    add_new_head,
    add_run_options,
    add_subnet,
    add_weights,
    open_network,
)
from ..system.comm import Communicator


@dataclass(frozen=True)
class Options(WeightsOptions):
    """See `add_arguments`."""

    subnet: Optional[str] = None
    scratch: bool = False


def main(options: Options, comm: Communicator) -> None:
    """Train the subnet and write it with its record."""
    net, run = open_network(options, comm)
    alone = str(net.space.largest()) if net.space.single() else None
    for_training(run).finetune(net, options.subnet or alone or run.recipe.finetune.subnet, options.save,
                               options.scratch, options.name)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `Options`."""
    add_run_options(parser)
    add_weights(parser, "of a supernet or a subnet")
    add_subnet(parser, "one name a block, or one for all (default: the recipe's; a subnet's own)")
    parser.add_argument("--save", type=Path, help="where the subnet goes (default: in the run's folder)")
    parser.add_argument("--scratch", action="store_true",
                        help="train it from new weights instead, to see what the supernet's are worth")
    parser.add_argument("--name", help="name of the record, where there are several")
    add_accept_changes(parser)
    add_new_head(parser)


COMMAND = Command("finetune", __doc__, Options, add_arguments, main)
