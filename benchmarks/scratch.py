"""Subnets trained from scratch, as a file that runners/rank.py compares with the supernet.

    python benchmarks/scratch.py --weights W --count 20 --epochs 8 --lr 0.1 --save scratch.json
    python runners/rank.py --weights W --subnets scratch.json
    python benchmarks/scratch.py --weights W --hand-made --epochs 16 --lr 0.2 --tune 5 --save alone.json

Each is trained alone from new weights, then judged on the test images: random ones, or with --hand-made
those that the recipe validates but for the largest, which its first stage trained. With --tune each is also
fine-tuned from the supernet's weights. What sharing weights costs and saves is in results/cifar10.md, from
the records. A run that was killed goes on when its command is repeated.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nnabla_ofa.experiment.command import Command
from nnabla_ofa.experiment.options import WeightsOptions, add_run_options, open_network
from nnabla_ofa.experiment.parse import from_settings
from nnabla_ofa.formats import subnets as files
from nnabla_ofa.model.network import require_elastic
from nnabla_ofa.system.comm import Communicator


@dataclass(frozen=True)
class Options(WeightsOptions):
    """See `add_arguments`."""

    count: int = 20
    epochs: int = 8
    lr: float = 0.1
    hand_made: bool = False
    tune: int = 0
    save: Path = Path()


def main(options: Options, comm: Communicator) -> None:
    """Train and judge each, rewriting the file after each."""
    overrides = (*options.overrides, f"finetune.epochs={options.epochs}", f"finetune.lr={options.lr}")
    found, run = open_network(replace(options, overrides=overrides), comm)
    net, trained = require_elastic(found, "train from scratch"), from_settings(found.info["recipe"])
    size = max(run.recipe.data.valid_sizes)
    subnets, top1 = {}, []
    archs = ([arch for arch in run.recipe.validated(net.space) if arch != net.space.largest().canonical()]
             if options.hand_made else net.space.sample_distinct(options.count, np.random.default_rng(0)))
    for i, arch in enumerate(archs):
        run.say(f"--- {i + 1} of {len(archs)}")
        if options.tune:
            tuned = replace(run, lab=replace(run.lab, recipe=replace(run.recipe, finetune=replace(
                trained.finetune, epochs=options.tune))))
            tuned.finetune(net, str(arch), name=f"tuned-{i:03d}")
        _, rows = run.finetune(net, str(arch), scratch=True, name=f"scratch-{i:03d}")
        top1 += [row["top1"] for row in rows if row["image_size"] == size]
        subnets[f"arch{i + 1}"] = files.Subnet(arch, str(arch), top1[-1])
        if comm.rank == 0:
            files.write_subnets(options.save, subnets, top1)
    run.say(f"{len(subnets)} subnets: {options.save}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `Options`."""
    add_run_options(parser)
    parser.add_argument("--weights", type=Path, required=True, help="weights.h5 of a supernet")
    parser.add_argument("--count", type=int, default=20, help="distinct random subnets (default 20)")
    parser.add_argument("--epochs", type=int, default=8, help="of each (default 8)")
    parser.add_argument("--lr", type=float, default=0.1, help="at the start (default 0.1)")
    parser.add_argument("--hand-made", action="store_true", help="the subnets that the recipe validates")
    parser.add_argument("--tune", type=int, default=0, metavar="EPOCHS",
                        help="of fine-tuning each at the recipe's rate, too (default 0: not)")
    parser.add_argument("--save", type=Path, required=True, metavar="FILE", help="where the file goes")


COMMAND = Command("scratch", __doc__, Options, add_arguments, main)

if __name__ == "__main__":
    COMMAND.run()
