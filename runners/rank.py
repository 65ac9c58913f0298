"""Predict the accuracies of a file's subnets with a supernet, and compare with the file's own.

    python runners/rank.py --weights runs/resnet20_cifar10/C4-16_C4-32_C4-64/weights.h5 \\
        --subnets cvpr2021_nas_track1.json --predictions predicted.json

The file is that of the CVPR 2021 lightweight NAS challenge, track 1: {"arch1": {"arch": "16-4-...",
"acc": 0.539}}, "acc" where it is known; predictions are written in the same form. A run that was
killed goes on when its command is repeated, and processes of mpirun share the work.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nnabla_ofa import cli, ranking  # noqa: E402
from nnabla_ofa.evaluations import evaluations  # noqa: E402


def main(args) -> None:
    args.name = args.name or args.subnets.stem
    net, run = cli.open_network(args)
    start, size = time.time(), max(run.recipe.data.valid_sizes)
    subnets = ranking.read_subnets(args.subnets, net.config)
    for subnet in subnets.values():
        net.space.check(subnet.arch)
    with evaluations(run, net) as top1_of:
        predicted = top1_of([subnet.arch for subnet in subnets.values()], size)
    if args.predictions and run.lab.comm.rank == 0:
        ranking.write_subnets(args.predictions, subnets, predicted)
    run.say(f"{len(subnets)} subnets, their top-1 on {len(run.lab.valid.indices)} held-out images at {size} "
            f"pixels{f': {args.predictions}' if args.predictions else ''}")
    rows = ranking.rows(net, subnets, predicted, size)
    for line in ranking.summary(rows):
        run.say(f"{line['Order by']}: Pearson {line['Pearson']}, Kendall {line['Kendall']}")
    run.record("rank", net.info.get("stage", "network"), net.info.get("space", ""), [], rows,
               time.time() - start, args.name, held_out_images=len(run.lab.valid.indices))


if __name__ == "__main__":
    parser = cli.parser(__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="weights.h5 of a supernet")
    parser.add_argument("--subnets", type=Path, required=True, metavar="FILE", help="JSON of subnets")
    parser.add_argument("--predictions", type=Path, metavar="FILE", help="where the predictions go")
    parser.add_argument("--image-size", type=int, nargs=1, help="pixels (default: the recipe's largest)")
    parser.add_argument("--name", help="name of the record (default: that of the file)")
    cli.run(main, parser.parse_args())
