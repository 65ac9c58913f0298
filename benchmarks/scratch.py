"""Random subnets trained from scratch, as a file that runners/rank.py compares with the supernet.

    python benchmarks/scratch.py --weights W --count 20 --epochs 8 --lr 0.1 --save scratch.json
    python runners/rank.py --weights W --subnets scratch.json

Each is trained alone from new weights, then judged on the test images. A run that was killed goes on
when its command is repeated.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402

from nnabla_ofa import cli, ranking  # noqa: E402


def main(args) -> None:
    args.overrides += [f"finetune.epochs={args.epochs}", f"finetune.lr={args.lr}"]
    net, run = cli.open_network(args)
    size = max(run.recipe.data.valid_sizes)
    subnets, top1 = {}, []
    for i, arch in enumerate(net.space.sample_distinct(args.count, np.random.default_rng(0))):
        run.say(f"--- {i + 1} of {args.count}")
        _, rows = run.finetune(net, str(arch), scratch=True, name=f"scratch-{i:03d}")
        top1 += [row["top1"] for row in rows if row["image_size"] == size]
        subnets[f"arch{i + 1}"] = ranking.Subnet(arch, str(arch), top1[-1])
        if run.lab.comm.rank == 0:
            ranking.write_subnets(args.save, subnets, top1)
    run.say(f"{len(subnets)} subnets: {args.save}")


if __name__ == "__main__":
    parser = cli.parser(__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="weights.h5 of a supernet")
    parser.add_argument("--count", type=int, default=20, help="distinct random subnets (default 20)")
    parser.add_argument("--epochs", type=int, default=8, help="of each (default 8)")
    parser.add_argument("--lr", type=float, default=0.1, help="at the start (default 0.1)")
    parser.add_argument("--save", type=Path, required=True, metavar="FILE", help="where the file goes")
    cli.run(main, parser.parse_args())
