"""NSGA-II against random search at equal budget, and against the recipe's hand-made subnets.

    python benchmarks/search.py --weights runs/demo/K357_E0.6+0.8+1_D123/weights.h5 --output runs/demo

The record goes to the run's folder; copied to results/records/ it becomes results/search.md by
`python runners/tables.py`. One that was killed goes on when its command is repeated.
"""

import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nnabla_ofa import cli  # noqa: E402
from nnabla_ofa.evaluations import evaluations  # noqa: E402
from nnabla_ofa.problem import Problem, cost_function, judge, pareto  # noqa: E402
from nnabla_ofa.search import METHODS, search, validated  # noqa: E402


def main(args) -> None:
    net, run = cli.open_network(args)
    start, size = time.time(), max(run.recipe.data.valid_sizes)
    problem = Problem(net.space, cost_function(net, size))
    fronts = {}
    with evaluations(run, net) as top1_of:
        measured, kept = partial(top1_of, image_size=size), top1_of.count(size)
        for seed in range(args.seeds):
            for method in METHODS:
                run.say(f"{method}, seed {seed}: {args.count} subnets")
                fronts[method, seed] = pareto(search(problem, measured, args.count, method, seed))
        fronts["validated", None] = judge(problem, measured, validated(run.recipe, net))
    archs = list(dict.fromkeys(one.arch for front in fronts.values() for one in front))
    tested = dict(zip(archs, run.lab.rows(net, archs, say=run.say, sizes=(size,))))
    rows = [{"method": method, "search_seed": seed, **tested[one.arch], "valid_top1": one.top1}
            for (method, seed), front in fronts.items() for one in front]
    ends = [net.cost(arch, size).macs for arch in (net.space.smallest(), net.space.largest())]
    run.record("benchmark", "search", net.info.get("space", ""), [], rows, time.time() - start, "search",
               search={"weights": str(args.weights), "count": args.count, "objective": problem.objective,
                       "image_size": size, "cost_range": ends, "evaluated": top1_of.count(size),
                       "evaluated_before": kept, "held_out_images": len(run.lab.valid.indices)})


if __name__ == "__main__":
    parser = cli.parser(__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="weights.h5 of a supernet")
    parser.add_argument("--count", type=int, default=100, help="distinct subnets a search (default 100)")
    parser.add_argument("--seeds", type=int, default=3, help="searches a method (default 3)")
    cli.run(main, parser.parse_args())
