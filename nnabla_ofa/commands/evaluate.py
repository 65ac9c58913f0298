"""Evaluate subnets of a supernet, or a stand-alone subnet, on every test image once.

    python runners/evaluate.py --weights runs/demo/K357_E0.6+0.8+1_D123/weights.h5 \\
        --subnet "XP1 7x7 3" --subnet "XP0.6 3x3 1" --image-size 160 224
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple

from ..errors import OfaError
from ..experiment.command import Command
from ..experiment.options import WeightsOptions, add_run_options, add_subnet, add_weights, open_network
from ..experiment.recipe import Recipe
from ..model import AnyNetwork
from ..nets import Arch
from ..system.comm import Communicator


@dataclass(frozen=True)
class Options(WeightsOptions):
    """See `add_arguments`."""

    subnet: Tuple[str, ...] = ()
    subnets: Optional[Path] = None
    stage_list: Optional[str] = None
    split: str = "test"


def subnets_named(options: Options, recipe: Recipe, net: AnyNetwork) -> List[Arch]:
    """The archs that the options name; the largest if they name none."""
    names = list(options.subnet)
    if options.subnets:
        try:
            lines = options.subnets.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise OfaError(f"cannot read --subnets {options.subnets}: {error}") from error
        names += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if options.stage_list:
        names += recipe.stage(options.stage_list).validate
    return list(dict.fromkeys(net.arch(name) for name in names)) or [net.space.largest()]


def main(options: Options, comm: Communicator) -> None:
    """Evaluate the subnets and write a record."""
    net, run = open_network(options, comm, test_alone=True)
    start = time.time()
    rows = run.lab.rows(net, subnets_named(options, run.recipe, net), options.split, say=run.say)
    run.record("evaluate", net.info.get("stage", "network"), net.info.get("space", ""), [], rows,
               time.time() - start, options.name)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `Options`."""
    add_run_options(parser)
    add_weights(parser, "of a stage or subnet")
    add_subnet(parser, "one name a block, or one for all; repeatable", repeatable=True)
    parser.add_argument("--subnets", type=Path, metavar="FILE", help="file with a subnet a line")
    parser.add_argument("--stage-list", metavar="SPACE", help="the recipe's validation list of a stage")
    parser.add_argument("--image-size", type=int, nargs="+", help="pixels (default: the recipe's)")
    parser.add_argument("--split", choices=("test", "valid"), default="test",
                        help="reported images, or those held out of training for choosing")
    parser.add_argument("--name", help="name of the record (default: the stage)")


COMMAND = Command("evaluate", __doc__, Options, add_arguments, main)
