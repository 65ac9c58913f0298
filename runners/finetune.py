"""Extract one subnet of a supernet and train it on, alone; evaluated before and after.

    python runners/finetune.py --weights runs/demo/K357_E0.6+0.8+1_D123/weights.h5 \\
        --subnet "XP0.8 5x5 2"
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nnabla_ofa import cli  # noqa: E402


def main(args) -> None:
    net, run = cli.open_network(args)
    alone = str(net.space.largest()) if net.space.single() else None
    run.finetune(net, args.subnet or alone or run.recipe.finetune.subnet, args.save, args.scratch, args.name)


if __name__ == "__main__":
    parser = cli.parser(__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="weights.h5 of a supernet or a subnet")
    parser.add_argument("--subnet", metavar='"XP1 7x7 3, ..."',
                        help="one name a block, or one for all (default: the recipe's; a subnet's own)")
    parser.add_argument("--save", type=Path, help="where the subnet goes (default: in the run's folder)")
    parser.add_argument("--scratch", action="store_true",
                        help="train it from new weights instead, to see what the supernet's are worth")
    parser.add_argument("--name", help="name of the record, where there are several")
    parser.add_argument("--accept-changes", action="store_true",
                        help="resume although recipe or data changed since the checkpoint")
    cli.run(main, parser.parse_args())
