"""Search a supernet for the most accurate subnets within limits on their cost.

    python runners/search.py --weights runs/demo/K357_E0.6+0.8+1_D123/weights.h5 --max-macs 2M

Subnets are chosen on images held out of training; the front that is found is then evaluated on the
test images, once. Record, pictures and an HTML report go to the run's folder; a search that was
killed goes on when its command is repeated.
"""

import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nnabla_ofa import cli, report  # noqa: E402
from nnabla_ofa.checkpoint import write_atomically  # noqa: E402
from nnabla_ofa.evaluations import evaluations  # noqa: E402
from nnabla_ofa.latency import LatencyTable  # noqa: E402
from nnabla_ofa.predictor import Predictor  # noqa: E402
from nnabla_ofa.problem import UNITS, Problem, cost_function, judge, pareto, parse_limit  # noqa: E402
from nnabla_ofa.search import METHODS, search, validated  # noqa: E402


def main(args) -> None:
    limits = {name: parse_limit(text) for name, text in
              (("macs", args.max_macs), ("parameters", args.max_parameters),
               ("latency_ms", args.max_latency_ms)) if text is not None}
    net, run = cli.open_network(args)
    start, name = time.time(), args.name or "search"
    size = max(run.recipe.data.valid_sizes)
    seed = run.lab.seed if args.search_seed is None else args.search_seed
    table = LatencyTable.load(args.latency_table) if args.latency_table else None
    problem = Problem(net.space, cost_function(net, size, table), limits, args.objective)
    predictor = Predictor.load(args.predictor, net, args.accept_poor) if args.predictor else None
    with evaluations(run, net) as top1_of:
        measured = partial(top1_of, image_size=size)
        accuracy = partial(predictor, image_size=size) if predictor else measured
        found = search(problem, accuracy, args.count, args.method, seed)
        front = pareto(found, args.objective)
        if predictor:
            front = pareto(judge(problem, measured, [one.arch for one in front]), args.objective)
        by_hand = judge(problem, measured, validated(run.recipe, net))
    run.say(f"{len(found)} subnets, {len(front)} on the front (held-out top-1, {UNITS[args.objective]}):")
    for one in front:
        run.say(f"  {one.top1:.4f}  {one.costs[args.objective]:12,.6g}  {one.arch}")
    tested = run.lab.rows(net, [one.arch for one in front], say=run.say, sizes=(size,))
    rows = [{**one.costs, **row, "valid_top1": one.top1} for row, one in zip(tested, front)]
    asked = {"weights": str(args.weights), "method": args.method, "evaluated": len(found), "limits": limits,
             "objective": args.objective, "image_size": size, "search_seed": seed,
             "predictor": str(args.predictor or ""), "latency_table": str(args.latency_table or ""),
             "held_out_images": len(run.lab.valid.indices)}
    record = run.record("search", "search", net.info.get("space", ""), [], rows, time.time() - start,
                        args.name, search=asked)
    if record:  # on the first of several processes
        page = report.page(record, report.pictures(asked, net.space, found, front, by_hand))
        write_atomically(run.output / "search" / f"{name}.html", page.encode())
    run.say(f"report: {run.output / 'search' / name}.html")
    if args.save:
        best = run.lab.calibrated(net, front[-1].arch, size)
        if run.lab.comm.rank == 0:
            best.save(args.save)
        run.say(f"saved: {args.save}")


if __name__ == "__main__":
    parser = cli.parser(__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="weights.h5 of a supernet")
    parser.add_argument("--max-macs", metavar="N", help="for example 30M")
    parser.add_argument("--max-parameters", metavar="N", help="for example 1.5M")
    parser.add_argument("--max-latency-ms", metavar="MS", help="milliseconds by --latency-table")
    parser.add_argument("--latency-table", type=Path, metavar="FILE", help="as runners/profile.py builds it")
    parser.add_argument("--objective", choices=("macs", "parameters", "latency_ms"), default="macs",
                        help="the cost to minimise beside the most top-1 (default macs)")
    parser.add_argument("--method", choices=tuple(METHODS), default="nsga2", help="random is the baseline")
    parser.add_argument("--count", type=int, default=100, help="distinct subnets to try (default 100)")
    parser.add_argument("--search-seed", type=cli.at_least(0),
                        help="of what the search draws (default: --seed)")
    parser.add_argument("--predictor", type=Path, metavar="FILE",
                        help="samples of runners/predictor.py, to predict top-1; only the front is evaluated")
    parser.add_argument("--accept-poor", action="store_true", help="use the predictor although it is poor")
    parser.add_argument("--image-size", type=int, nargs=1, help="pixels (default: the recipe's largest)")
    parser.add_argument("--save", type=Path, metavar="FILE",
                        help="where the most accurate subnet goes, extracted and calibrated")
    parser.add_argument("--name", help="name of the record and the report (default: search)")
    cli.run(main, parser.parse_args())
