"""Search a supernet for the most accurate subnets within a cost.

    python runners/search.py --weights runs/demo/K357_E0.6+0.8+1_D123/weights.h5 --max-macs 2M

Subnets are chosen on images held out of training; the front is then evaluated on the test images.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402

from nnabla_ofa import cli  # noqa: E402
from nnabla_ofa.search import pareto, parse_limit, search  # noqa: E402


def main(args) -> None:
    if args.image_size is not None:
        args.overrides.append(f"data.valid_sizes=[{args.image_size}]")
    net, run = cli.open_network(args)
    start = time.time()
    size = max(run.recipe.data.valid_sizes)
    limits = {name: parse_limit(text) for name, text in
              (("macs", args.max_macs), ("parameters", args.max_parameters)) if text}

    def accuracy(archs):
        run.say(f"evaluating {len(archs)} subnets on the held-out images at {size} pixels")
        return [result.top1 for result in run.lab.judge(net, archs, size, on="valid")]

    found = search(net.space, lambda arch: net.cost(arch, size), accuracy, args.count, limits,
                   np.random.default_rng(args.seed))
    front = pareto(found)
    run.say(f"{len(found)} subnets, {len(front)} on the front (held-out top-1, MACs):")
    for one in front:
        run.say(f"  {one.top1:.4f}  {one.cost.macs / 1e6:8.2f} M  {one.arch}")
    rows = run.lab.rows(net, [one.arch for one in front], say=run.say, sizes=(size,))
    run.record("search", "search", net.info.get("space", ""), [], rows, time.time() - start, args.name)


if __name__ == "__main__":
    parser = cli.parser(__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="weights.h5 of a supernet")
    parser.add_argument("--max-macs", metavar="N", help="for example 30M")
    parser.add_argument("--max-parameters", metavar="N", help="for example 1.5M")
    parser.add_argument("--count", type=int, default=40, help="subnets to evaluate (default 40)")
    parser.add_argument("--image-size", type=int, help="pixels (default: the recipe's largest)")
    parser.add_argument("--name", help="name of the record (default: search)")
    cli.run(main, parser.parse_args())
