"""NSGA-II against random search at equal budget, and against the recipe's hand-made subnets.

    python benchmarks/search.py --weights runs/demo/K357_E0.6+0.8+1_D123/weights.h5 --output runs/demo

The record goes to the run's folder; copied to results/records/ it becomes results/search.md by
`python runners/tables.py`. One that was killed goes on when its command is repeated.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nnabla_ofa.experiment.command import Command
from nnabla_ofa.experiment.options import WeightsOptions, add_run_options, open_network
from nnabla_ofa.model.network import require_elastic
from nnabla_ofa.search import METHODS, Problem, cost_function, pareto, search
from nnabla_ofa.search.problem import judge
from nnabla_ofa.system.comm import Communicator


@dataclass(frozen=True)
class Options(WeightsOptions):
    """See `add_arguments`."""

    count: int = 100
    seeds: int = 3


def main(options: Options, comm: Communicator) -> None:
    """Search by every method and seed, evaluate all fronts on the test images, write the record."""
    found, run = open_network(options, comm)
    net = require_elastic(found, "search")
    start, size = time.time(), max(run.recipe.data.valid_sizes)
    problem = Problem(net.space, cost_function(net, size))
    fronts = {}
    with run.evaluations(net) as top1_of:
        measured, kept = partial(top1_of, image_size=size), top1_of.count(size)
        for seed in range(options.seeds):
            for method in METHODS:
                run.say(f"{method}, seed {seed}: {options.count} subnets")
                fronts[method, seed] = pareto(search(problem, measured, options.count, method, seed))
        fronts["validated", None] = judge(problem, measured, run.recipe.validated(net.space))
    archs = list(dict.fromkeys(one.arch for front in fronts.values() for one in front))
    tested = dict(zip(archs, run.lab.rows(net, archs, say=run.say, sizes=(size,))))
    rows = [{"method": method, "search_seed": seed, **tested[one.arch], "valid_top1": one.top1}
            for (method, seed), front in fronts.items() for one in front]
    ends = [net.cost(arch, size).macs for arch in (net.space.smallest(), net.space.largest())]
    run.record("benchmark", "search", net.info.get("space", ""), [], rows, time.time() - start, "search",
               search={"weights": str(options.weights), "count": options.count,
                       "objective": problem.objective, "image_size": size, "cost_range": ends,
                       "evaluated": top1_of.count(size), "evaluated_before": kept,
                       "held_out_images": len(run.lab.valid.indices)})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `Options`."""
    add_run_options(parser)
    parser.add_argument("--weights", type=Path, required=True, help="weights.h5 of a supernet")
    parser.add_argument("--count", type=int, default=100, help="distinct subnets a search (default 100)")
    parser.add_argument("--seeds", type=int, default=3, help="searches a method (default 3)")


COMMAND = Command("search", __doc__, Options, add_arguments, main)

if __name__ == "__main__":
    COMMAND.run()
