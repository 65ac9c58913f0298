"""Search a supernet for the most accurate subnets within limits on their cost.

    python runners/search.py --weights runs/demo/K357_E0.6+0.8+1_D123/weights.h5 --max-macs 2M

Subnets are chosen on images held out of training; the front that is found is then evaluated on the
test images, once. Record, pictures and an HTML report go to the run's folder; a search that was
killed goes on when its command is repeated.

    python runners/search.py --weights W --int8 --latency-table int8.json --objective latency_ms

Then each subnet is judged as the int8 ONNX file that it becomes, and those that quantise badly lose.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from ..cost.latency import LatencyTable
from ..experiment import quantised
from ..experiment.command import Command
from ..experiment.int8 import CALIBRATION_IMAGES
from ..experiment.options import (
    WeightsOptions,
    add_new_head,
    add_run_options,
    add_weights,
    at_least,
    open_network,
)
from ..experiment.quantised import Quantisation
from ..experiment.run import Run
from ..formats import onnx_file
from ..model import Network
from ..model.network import require_elastic
from ..quantize.int8 import METHODS as METHODS_OF_CALIBRATION
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
    int8: bool = False
    calibrate: str = "minmax"
    calibration_images: int = CALIBRATION_IMAGES

    @property
    def quantisation(self) -> Quantisation:
        """How subnets are quantised before they are judged, with --int8."""
        return Quantisation(self.calibrate, self.calibration_images)

    def limits(self) -> Dict[str, float]:
        """The largest cost allowed, by its name. Raises OfaError for what is no number."""
        texts = {"macs": self.max_macs, "parameters": self.max_parameters, "latency_ms": self.max_latency_ms}
        return {name: parse_limit(text) for name, text in texts.items() if text is not None}


class Outcome(NamedTuple):
    """All subnets that a search tried, its front, and the recipe's hand-made ones beside them.

    float32_top1: of the front on the held-out images, where it was chosen by int8 networks.
    """

    found: List[Found]
    front: List[Found]
    by_hand: List[Found]
    float32_top1: List[float]


def main(options: Options, comm: Communicator) -> None:
    """Search, evaluate the front on the test images, write record, report and the best subnet."""
    limits = options.limits()
    any_net, run = open_network(options, comm, needs_known=True)
    net, start = require_elastic(any_net, "search"), time.time()
    size = max(run.recipe.data.valid_sizes)
    seed = run.lab.seed if options.search_seed is None else options.search_seed
    table = table_of(options, run, size)
    if options.int8:
        onnx_file.packages()  # now, not when the first subnet is judged
    outcome = searched(options, run, net, table, limits, size, seed)
    run.say(f"{len(outcome.found)} subnets, {len(outcome.front)} on the front "
            f"(held-out top-1, {UNITS[options.objective]}):")
    for one in outcome.front:
        run.say(f"  {one.top1:.4f}  {one.costs[options.objective]:12,.6g}  {one.arch}")
    tested = run.lab.rows(net, [one.arch for one in outcome.front], say=run.say, sizes=(size,))
    rows = [{**one.costs, **row, "valid_top1": top1}
            for row, one, top1 in zip(tested, outcome.front, outcome.float32_top1)]
    files: Dict[str, Path] = {"weights": options.save} if options.save else {}
    if options.int8:
        written = quantised_front(options, run, net, outcome, rows, size)
        files.update(zip(("float32 ONNX", "int8 ONNX"), written))
    if options.save:
        best = run.lab.calibrated(net, outcome.front[-1].arch, size)
        if comm.rank == 0:
            best.save(options.save)
    asked = {"weights": str(options.weights), "method": options.method, "evaluated": len(outcome.found),
             "limits": limits, "objective": options.objective, "image_size": size, "search_seed": seed,
             "predictor": str(options.predictor or ""), "latency_table": str(options.latency_table or ""),
             "held_out_images": len(run.lab.valid.indices), **judged_as(options, table)}
    record = run.record("search", "search", net.info.get("space", ""), [], rows, time.time() - start,
                        options.name, search=asked, files=described(files, report_of(options, run).parent))
    report(options, run, net, outcome, record)
    for path in files.values():
        run.say(f"saved: {path}")


def table_of(options: Options, run: Run, size: int) -> Optional[LatencyTable]:
    """The latency table that the options name, of the precision that subnets are judged in."""
    if not options.latency_table:
        return None
    table = LatencyTable.load(options.latency_table).require(precision="int8" if options.int8 else "float32")
    run.say(f"latency of {table.setting.runtime} {table.setting.precision} on {table.setting.processor}, "
            f"{table.setting.threads} thread{'s' * (table.setting.threads > 1)}")
    warning = table.warning(size)
    if warning and run.lab.comm.rank == 0:
        print(warning, file=sys.stderr, flush=True)
    return table


def judged_as(options: Options, table: Optional[LatencyTable]) -> Dict[str, Any]:
    """What a record says of quantisation, and of whose latency it was."""
    return {**({"int8": asdict(options.quantisation)} if options.int8 else {}),
            **({"latency_setting": asdict(table.setting)} if table else {})}


def described(files: Dict[str, Path], folder: Path) -> Dict[str, Any]:
    """Of the chosen network's files: where they are, as seen from `folder`, and how large."""
    return {what: {"path": os.path.relpath(path, folder), "bytes": path.stat().st_size}
            for what, path in files.items() if path.exists()}


def quantised_front(options: Options, run: Run, net: Network, outcome: Outcome, rows: List[Dict[str, Any]],
                    size: int) -> quantised.Files:
    """Add to each row of the front what its int8 network is: top-1, bytes. Keep the chosen one's files.

    Args:
        options: How subnets are quantised, and the search's name.
        run: Its folder is where the files go.
        net: Whose subnets they are.
        outcome: Its front is what `rows` are of.
        rows: Of the record.
        size: Pixels a side.

    Returns:
        The files of the most accurate one.
    """
    lab, how, name = run.lab, options.quantisation, options.name or "search"
    images = quantised.calibration_images(lab, size, how)
    with tempfile.TemporaryDirectory() as folder:
        made = [quantised.write(lab.calibrated(net, one.arch, size), Path(folder), str(i), lab, size, how,
                                images) for i, one in enumerate(outcome.front)]
        results = quantised.judged([files.int8 for files in made], lab, size)
        for row, one, files, result in zip(rows, outcome.front, made, results):
            row.update(int8_valid_top1=one.top1, int8_top1=result.top1,
                       float32_bytes=files.float32.stat().st_size, int8_bytes=files.int8.stat().st_size)
            run.say(f"{row['short']}: float32 {row['top1']:.4f}, {row['float32_bytes']:,} bytes; int8 "
                    f"{row['int8_top1']:.4f}, {row['int8_bytes']:,} bytes")
        kept = quantised.Files(*(run.output / "search" / f"{name}-{precision}.onnx"
                                 for precision in ("float32", "int8")))
        if lab.comm.rank == 0:
            for target, file in zip(kept, made[-1]):
                write_atomically(target, file.read_bytes())
    return kept


def searched(options: Options, run: Run, net: Network, table: Optional[LatencyTable],
             limits: Dict[str, float], size: int, seed: int) -> Outcome:
    """The search itself, on the held-out images or by a predictor."""
    problem = Problem(net.space, cost_function(net, size, table), limits, options.objective)
    predictor = (Predictor.load(options.predictor, net, options.accept_poor) if options.predictor
                 else None)
    with run.evaluations(net, options.quantisation if options.int8 else None) as top1_of:
        measured = partial(top1_of, image_size=size)
        accuracy: Callable[..., Any] = partial(predictor, image_size=size) if predictor else measured
        found = search(problem, accuracy, options.count, options.method, seed)
        front = pareto(found, options.objective)
        if predictor:
            front = pareto(judge(problem, measured, [one.arch for one in front]), options.objective)
        by_hand = judge(problem, measured, run.recipe.validated(net.space))
    if not options.int8:
        return Outcome(found, front, by_hand, [one.top1 for one in front])
    with run.evaluations(net) as top1_of:
        return Outcome(found, front, by_hand, top1_of([one.arch for one in front], size))


def report_of(options: Options, run: Run) -> Path:
    """The file of the HTML page."""
    return run.output / "search" / f"{options.name or 'search'}.html"


def report(options: Options, run: Run, net: Network, outcome: Outcome, record: Optional[Dict[str, Any]]
           ) -> None:
    """Write the HTML page of a search, on the first of several processes, which has the record."""
    path = report_of(options, run)
    if record:
        pictures = search_report.pictures(record["search"], net.space, *outcome[:3])
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
    p.add_argument("--int8", action="store_true",
                   help="judge subnets as int8 ONNX files, by onnxruntime; the front in float32, too")
    p.add_argument("--calibrate", choices=tuple(METHODS_OF_CALIBRATION), default="minmax",
                   help="of --int8: how ranges of activations follow from images (default minmax)")
    p.add_argument("--calibration-images", type=at_least(1), default=CALIBRATION_IMAGES,
                   metavar="N",
                   help=f"of --int8 (default {CALIBRATION_IMAGES})")
    p.add_argument("--name", help="name of the record and the report (default: search)")
    add_new_head(p)


COMMAND = Command("search", __doc__, Options, add_arguments, main)
