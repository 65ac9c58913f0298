"""Throughput of one training stage, by one process or several: images a second of the record it leaves.

    python benchmarks/stage.py --data cifar10                               # on the CPU
    python benchmarks/stage.py --data cifar10 --device cudnn:half --batch 256
    python benchmarks/stage.py --data cifar10 --device cudnn --processes 2  # a GPU each, through NCCL

The stage is the first of the recipe, the full network, of a few epochs; the last one's throughput counts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

import launch
import limit
import store
import yaml

from nnabla_ofa.experiment.parse import ARGS
from nnabla_ofa.system import records

RECIPE, KEY = "benchmark_step", ("recipe", "space", "device", "processes")


def main(args) -> None:
    """Train, then record the last epoch's throughput."""
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        recipe, space = shortened(args, Path(folder))
        data = ["--data", args.data] if args.data else []
        done = subprocess.run(launch.command(
            args.processes, ROOT / "runners/train.py", "--recipe", recipe, "--search-space", space,
            "--device", args.device, "--output", f"{folder}/run", *data))
        if done.returncode:
            sys.exit(done.returncode)
        [record] = records.read(f"{folder}/run/records")
    last = record["history"][-1]
    row = {"recipe": args.recipe, "space": space, "device": args.device, "processes": args.processes,
           "batch": args.batch, "images_per_second": last["images_per_second"], "epochs": args.epochs,
           "loss": last["loss"], "top1": last["top1"]}
    where = limit.where(args.device)
    path = store.save(args.records, RECIPE, "stage", [row], KEY, time.time() - start, {"recipe": args.recipe},
                      ranks=args.processes, where=where)
    print(f"{last['images_per_second']:.0f} images/s by {args.processes} on {where}, {args.device}")
    print(f"record: {path}")


def shortened(args, folder: Path):
    """(path, search space): the recipe with its first stage alone, of as many epochs as asked for."""
    values = yaml.safe_load((ARGS / f"{args.recipe}.yaml").read_text(encoding="utf-8"))
    stage = {**values["stages"][0], "epochs": args.epochs}
    passes = max(2, args.processes)  # the same update by one process or two
    values["train"].update(batch_size=args.batch, global_batch=passes * args.batch)
    values["data"]["workers"] = args.workers
    path = folder / f"{args.recipe}.yaml"
    path.write_text(yaml.safe_dump({**values, "stages": [stage]}), encoding="utf-8")
    return path, stage["space"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="xception_cifar10", help="under args/ (default: %(default)s)")
    parser.add_argument("--data", help="as runners/train.py takes it (default: what the recipe says)")
    parser.add_argument("--device", default="cpu", help="cpu, cudnn or cudnn:half (default: cpu)")
    parser.add_argument("--processes", type=int, default=1, help="of mpirun (default: 1)")
    parser.add_argument("--batch", type=int, default=64, help="images a pass (default: 64)")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="threads that read images (default: 1)")
    parser.add_argument("--records", type=Path, default=store.FOLDER)
    main(parser.parse_args())
