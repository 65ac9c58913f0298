"""Evaluate subnets of a supernet, or a stand-alone subnet, on every test image once.

    python runners/evaluate.py --weights runs/demo/K357_E0.6+0.8+1_D123/weights.h5 \\
        --subnet "XP1 7x7 3" --subnet "XP0.6 3x3 1" --image-size 160 224
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nnabla_ofa import cli  # noqa: E402
from nnabla_ofa.errors import OfaError  # noqa: E402


def subnets_named(args, recipe, net) -> list:
    """The archs that the arguments name; the largest if they name none."""
    names = list(args.subnet)
    if args.subnets:
        try:
            lines = args.subnets.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise OfaError(f"cannot read --subnets {args.subnets}: {error}") from error
        names += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if args.stage_list:
        names += recipe.stage(args.stage_list).validate
    return list(dict.fromkeys(net.arch(name) for name in names)) or [net.space.largest()]


def main(args) -> None:
    net, run = cli.open_network(args)
    start = time.time()
    rows = run.lab.rows(net, subnets_named(args, run.recipe, net), args.split, say=run.say)
    run.record("evaluate", net.info.get("stage", "network"), net.info.get("space", ""), [], rows,
               time.time() - start, args.name)


if __name__ == "__main__":
    parser = cli.parser(__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="weights.h5 of a stage or subnet")
    parser.add_argument("--subnet", action="append", default=[], metavar='"XP1 7x7 3, ..."',
                        help="one name a block, or one for all; repeatable")
    parser.add_argument("--subnets", type=Path, metavar="FILE", help="file with a subnet a line")
    parser.add_argument("--stage-list", metavar="SPACE", help="the recipe's validation list of a stage")
    parser.add_argument("--image-size", type=int, nargs="+", help="pixels (default: the recipe's)")
    parser.add_argument("--split", choices=("test", "valid"), default="test",
                        help="reported images, or those held out of training for choosing")
    parser.add_argument("--name", help="name of the record (default: the stage)")
    cli.run(main, parser.parse_args())
