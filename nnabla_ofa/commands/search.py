"""Search a supernet for the most accurate subnets within limits on their cost.

    python runners/search.py --weights runs/demo/K357_E0.6+0.8+1_D123/weights.h5 --max-macs 2M

Subnets are chosen on images held out of training; the front that is found is then evaluated on the
test images, once. Record, pictures and an HTML report go to the run's folder; a search that was
killed goes on when its command is repeated.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from ..cost.latency import LatencyTable
from ..experiment.command import Command
from ..experiment.options import (
    WeightsOptions,
    add_new_head,
    add_run_options,
    add_weights,
    at_least,
    open_network,
)
from ..experiment.run import Run
from ..model import Network
from ..model.network import require_elastic
from ..reports import search_report
from ..search import METHODS, Predictor, Problem, cost_function, pareto, search
from ..search.problem import Found, judge, parse_limit
from ..system.comm import Communicator
from ..system.files import write_atomically
from ..system.record_rules import UNITS


@dataclass(frozen=True)
class Options(WeightsOptions):
    """See `add_arguments`."""

    max_macs: Optional[str] = None
    max_parameters: Optional[str] = None
    max_latency_ms: Optional[str] = None
    latency_table: Optional[Path] = None
    objective: str = "macs"
    method: str = "nsga2"
    count: int = 100
    search_seed: Optional[int] = None
    predictor: Optional[Path] = None
    accept_poor: bool = False

    def limits(self) -> Dict[str, float]:
        """The largest cost allowed, by its name. Raises OfaError for what is no number."""
        texts = {"macs": self.max_macs, "parameters": self.max_parameters, "latency_ms": self.max_latency_ms}
        return {name: parse_limit(text) for name, text in texts.items() if text is not None}


class Outcome(NamedTuple):
    """All subnets that a search tried, its front, and the recipe's hand-made ones beside them."""

    found: List[Found]
    front: List[Found]
    by_hand: List[Found]


def main(options: Options, comm: Communicator) -> None:
    """Search, evaluate the front on the test images, write record, report and the best subnet."""
    limits = options.limits()
    any_net, run = open_network(options, comm, needs_known=True)
    net, start = require_elastic(any_net, "search"), time.time()
    size = max(run.recipe.data.valid_sizes)
    seed = run.lab.seed if options.search_seed is None else options.search_seed
    outcome = searched(options, run, net, limits, size, seed)
    run.say(f"{len(outcome.found)} subnets, {len(outcome.front)} on the front "
            f"(held-out top-1, {UNITS[options.objective]}):")
    for one in outcome.front:
        run.say(f"  {one.top1:.4f}  {one.costs[options.objective]:12,.6g}  {one.arch}")
    tested = run.lab.rows(net, [one.arch for one in outcome.front], say=run.say, sizes=(size,))
    rows = [{**one.costs, **row, "valid_top1": one.top1} for row, one in zip(tested, outcome.front)]
    asked = {"weights": str(options.weights), "method": options.method, "evaluated": len(outcome.found),
             "limits": limits, "objective": options.objective, "image_size": size, "search_seed": seed,
             "predictor": str(options.predictor or ""), "latency_table": str(options.latency_table or ""),
             "held_out_images": len(run.lab.valid.indices)}
    record = run.record("search", "search", net.info.get("space", ""), [], rows, time.time() - start,
                        options.name, search=asked)
    report(options, run, net, outcome, record)
    if options.save:
        best = run.lab.calibrated(net, outcome.front[-1].arch, size)
        if comm.rank == 0:
            best.save(options.save)
        run.say(f"saved: {options.save}")


def searched(options: Options, run: Run, net: Network, limits: Dict[str, float], size: int, seed: int
             ) -> Outcome:
    """The search itself, on the held-out images or by a predictor."""
    table = LatencyTable.load(options.latency_table) if options.latency_table else None
    warning = table.warning(size) if table else None
    if warning and run.lab.comm.rank == 0:
        print(warning, file=sys.stderr, flush=True)
    problem = Problem(net.space, cost_function(net, size, table), limits, options.objective)
    predictor = (Predictor.load(options.predictor, net, options.accept_poor) if options.predictor
                 else None)
    with run.evaluations(net) as top1_of:
        measured = partial(top1_of, image_size=size)
        accuracy: Callable[..., Any] = partial(predictor, image_size=size) if predictor else measured
        found = search(problem, accuracy, options.count, options.method, seed)
        front = pareto(found, options.objective)
        if predictor:
            front = pareto(judge(problem, measured, [one.arch for one in front]), options.objective)
        return Outcome(found, front, judge(problem, measured, run.recipe.validated(net.space)))


def report(options: Options, run: Run, net: Network, outcome: Outcome, record: Optional[Dict[str, Any]]
           ) -> None:
    """Write the HTML page of a search, on the first of several processes, which has the record."""
    path = run.output / "search" / f"{options.name or 'search'}.html"
    if record:
        pictures = search_report.pictures(record["search"], net.space, *outcome)
        write_atomically(path, search_report.page(record, pictures).encode("utf-8", "backslashreplace"))
    run.say(f"report: {path}")


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of `Options`."""
    add_run_options(p)
    add_weights(p, "of a supernet")
    p.add_argument("--max-macs", metavar="N", help="for example 30M")
    p.add_argument("--max-parameters", metavar="N", help="for example 1.5M")
    p.add_argument("--max-latency-ms", metavar="MS", help="milliseconds by --latency-table")
    p.add_argument("--latency-table", type=Path, metavar="FILE", help="as runners/profile.py builds it")
    p.add_argument("--objective", choices=tuple(UNITS), default="macs",
                   help="the cost to minimise beside the most top-1 (default macs)")
    p.add_argument("--method", choices=tuple(METHODS), default="nsga2", help="random is the baseline")
    p.add_argument("--count", type=int, default=100, help="distinct subnets to try (default 100)")
    p.add_argument("--search-seed", type=at_least(0), help="of what the search draws (default: --seed)")
    p.add_argument("--predictor", type=Path, metavar="FILE",
                   help="samples of runners/predictor.py, to predict top-1; only the front is evaluated")
    p.add_argument("--accept-poor", action="store_true", help="use the predictor although it is poor")
    p.add_argument("--image-size", type=int, nargs=1, help="pixels (default: the recipe's largest)")
    p.add_argument("--save", type=Path, metavar="FILE",
                   help="where the most accurate subnet goes, extracted and calibrated")
    p.add_argument("--name", help="name of the record and the report (default: search)")
    add_new_head(p)


COMMAND = Command("search", __doc__, Options, add_arguments, main)
