"""Train an elastic network through the stages of progressive shrinking, up to a search space.

    python runners/train.py --search-space K357_E0.6+0.8+1_D123
    mpirun -n 4 python runners/train.py --search-space K357_E0.6+0.8+1_D123 --data /data/imagenet

Stages whose result is there are skipped; an interrupted one goes on when the command is repeated.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nnabla_ofa import cli  # noqa: E402


def main(args) -> None:
    run = cli.open_run(args)
    run.up_to(args.search_space, args.only)


if __name__ == "__main__":
    parser = cli.parser("Train an elastic network up to a search space.")
    parser.add_argument("--search-space", required=True, metavar="NAME",
                        help="for example K357_E0.6+0.8+1_D123")
    parser.add_argument("--only", action="store_true", help="just that stage, from its start's weights")
    parser.add_argument("--accept-changes", action="store_true",
                        help="resume although recipe or data changed since the checkpoint")
    cli.run(main, parser.parse_args())
