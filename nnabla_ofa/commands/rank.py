"""Predict the accuracies of a file's subnets with a supernet, and compare with the file's own.

    python runners/rank.py --weights runs/resnet20_cifar10/C4-16_C4-32_C4-64/weights.h5 \\
        --subnets cvpr2021_nas_track1.json --predictions predicted.json

The file is that of the CVPR 2021 lightweight NAS challenge, track 1: {"arch1": {"arch": "16-4-...",
"acc": 0.539}}, "acc" where it is known; predictions are written in the same form. A run that was
killed goes on when its command is repeated, and processes of mpirun share the work.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from ..experiment.command import Command
from ..experiment.options import WeightsOptions, add_run_options, add_weights, open_network
from ..formats.subnets import read_subnets, write_subnets
from ..model.network import require_elastic
from ..reports.pages.ranking import summary
from ..search import ranking
from ..system.comm import Communicator

FEW = 5  # subnets; an order of 4 comes out right by chance once in 24 times, of 5 once in 120


@dataclass(frozen=True)
class Options(WeightsOptions):
    """See `add_arguments`."""

    subnets: Path = Path()
    predictions: Optional[Path] = None


def main(options: Options, comm: Communicator) -> None:
    """Evaluate the subnets, write the predictions, and say how well they order the accuracies."""
    options = replace(options, name=options.name or options.subnets.stem)
    found, run = open_network(options, comm)
    net = require_elastic(found, "order")
    start, size = time.time(), max(run.recipe.data.valid_sizes)
    subnets = read_subnets(options.subnets, net.config)
    for subnet in subnets.values():
        net.space.check(subnet.arch)
    with run.evaluations(net) as top1_of:
        predicted = top1_of([subnet.arch for subnet in subnets.values()], size)
    if options.predictions and comm.rank == 0:
        write_subnets(options.predictions, subnets, predicted)
    run.say(f"{len(subnets)} subnets, their top-1 on {len(run.lab.valid.indices)} held-out images at {size} "
            f"pixels{f': {options.predictions}' if options.predictions else ''}")
    rows = ranking.rows(net, subnets, predicted, size)
    known = sum(row["actual"] is not None for row in rows)
    for line in summary(rows) if known else ():
        run.say(f"{line['Order by']}: Pearson {line['Pearson']}, Kendall {line['Kendall']}")
    if known < FEW:
        run.say(f"the file knows the accuracy of {known} subnets: an order of fewer than {FEW} says nothing")
    run.record("rank", net.info.get("stage", "network"), net.info.get("space", ""), [], rows,
               time.time() - start, options.name, held_out_images=len(run.lab.valid.indices))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `Options`."""
    add_run_options(parser)
    add_weights(parser, "of a supernet")
    parser.add_argument("--subnets", type=Path, required=True, metavar="FILE", help="JSON of subnets")
    parser.add_argument("--predictions", type=Path, metavar="FILE", help="where the predictions go")
    parser.add_argument("--image-size", type=int, nargs=1, help="pixels (default: the recipe's largest)")
    parser.add_argument("--name", help="name of the record (default: that of the file)")


COMMAND = Command("rank", __doc__, Options, add_arguments, main)
