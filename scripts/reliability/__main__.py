"""Everything behind results/reliability.md; each piece writes its record.

    python scripts/reliability                     # all but fuzz: 15 minutes on 2 quiet cores
    python scripts/reliability resume              # 20 kills of a run on one process: 5 minutes
    python scripts/reliability resume --ranks 2    # ... of a run on two
    python scripts/reliability damage              # files cut short, flipped, zeroed: 2 minutes
    python scripts/reliability disk                # a run on a disk that fills up (needs root)
    python scripts/reliability tests               # the tests of faults and numbers, counted
    python scripts/reliability fuzz                # 100,000 examples of each fuzz test: 4 hours
    python runners/tables.py                       # the page, from the records

An interrupted `resume` or `fuzz` goes on when the command is repeated; delete --work to begin anew.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

import damage
import disk
import nnabla as nn
import resume
import suite
from nnabla.ext_utils import get_extension_context

from nnabla_ofa.system import records
from nnabla_ofa.system.machine import describe_run

# Pieces and their numbers of processes, in the order of a call that names none.
ALL = (("damage", 1), ("disk", 1), ("resume", 1), ("resume", 2), ("tests", 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("piece", nargs="?", choices=("resume", "damage", "disk", "tests", "fuzz"))
    parser.add_argument("--ranks", type=int, default=1, help="processes of `resume`")
    parser.add_argument("--times", type=int, help="kills (default 20), or trials of each damage (100)")
    parser.add_argument("--examples", type=int, default=100_000, help="of each fuzz test")
    parser.add_argument("--minutes", type=float, default=600, help="after which no round of `fuzz` begins")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=ROOT / "runs/reliability")
    parser.add_argument("--records", type=Path, default=ROOT / "results/records")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that runs are stopped, too
    nn.set_default_context(get_extension_context("cpu"))
    pieces = ((args.piece, args.ranks),) if args.piece else ALL
    lost = 0
    for piece, args.ranks in pieces:
        lost += record_of(piece, args)
    sys.exit(f"{lost} lost" if lost else 0)


def record_of(piece: str, args: argparse.Namespace) -> int:
    """Do a piece and write its record; how much was lost."""
    start = time.time()
    name, found = globals()[f"piece_{piece}"](args)
    command = " ".join(["python scripts/reliability", *map(shlex.quote, sys.argv[1:])])
    record = {**describe_run(command, args.seed, args.ranks), "kind": "reliability",
              "recipe": "reliability", "stage": name, "space": "",
              "settings": {}, "seconds": round(time.time() - start, 1), **found}
    print(f"record: {records.write(args.records, record)}", flush=True)
    return sum(row["lost"] for row in found["results"])


def piece_resume(args):
    hit, wrong, compared = resume.resume(args.work, args.times or 20, args.ranks, args.seed)
    torn = sum(kill["half_written"] for kill in hit)
    what = (f"kill -9 of {'a run' if args.ranks == 1 else f'a run on {args.ranks} ranks'} in all six stages "
            "and fine-tuning, then the same command again")
    came_out = {"all bits as of a run left alone": sum(kill["equal"] for kill in hit),
                "different": sum(not kill["equal"] for kill in hit),
                "of these, a checkpoint half written": torn}
    row = {"what": what, "times": len(hit), "came_out": {k: n for k, n in came_out.items() if n},
           "lost": len(wrong)}
    return f"resume-{args.ranks}", {"results": [row], "kills": hit, "compared": compared}


def piece_damage(args):
    return "damage", {"results": damage.trials(args.work / "damage", args.times or 100, args.seed)}


def piece_disk(args):
    return "disk", {"results": disk.trials(args.work / "disk")}


def piece_tests(args):
    return "tests", {"results": suite.trials()}


def piece_fuzz(args):
    return "fuzz", {"results": suite.fuzz(args.work / "fuzz.json", args.examples, args.minutes)}


if __name__ == "__main__":
    main()
