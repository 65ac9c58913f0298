"""Many subnets calibrated and evaluated together against one by one; the figures must be equal.

    python benchmarks/population.py                    # both settings, random and mutated archs
    python benchmarks/population.py --only big:random  # a piece of it, the others stay recorded
    python runners/tables.py                           # the page, from the record
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]

import jobs
import numpy as np
import ours
import store
from worker import timed

from nnabla_ofa.evaluation import evaluate_archs
from nnabla_ofa.system.comm import connect

BATCHES = {"calibration": 1, "test": 2}
RECIPE = "benchmark_population"


class InMemory:
    """Batches of random images, dealt out as `evaluate.Images` deals decoded ones."""

    def __init__(self, job: jobs.Job, count: int):
        images, labels = ours.data(asdict(job))
        self._batches = [(number, images, labels) for number in range(count)]

    def count(self) -> int:
        return len(self._batches)

    def batches(self, size, comm=None):
        return iter(self._batches)


def draw(space, how: str, count: int) -> list:
    """Distinct archs: "random", or "mutated" ones of one parent, as a search makes them."""
    rng, found = np.random.default_rng(0), {}
    parent = space.sample(rng)
    while len(found) < count:
        arch = space.sample(rng) if how == "random" else space.mutate(parent, rng, 0.25)
        found[arch.canonical()] = None
    return list(found)


def measure(setting: str, how: str, count: int, rounds: int) -> dict:
    """The row of one setting: seconds one by one and together, in turns."""
    job = jobs.SETTINGS[setting]
    net = ours.network(asdict(job))
    archs = draw(net.space, how, count)
    data = [InMemory(job, number) for number in BATCHES.values()]
    results = {}

    def alone():
        results["alone"] = [evaluate_archs(net, [arch], job.image_size, *data)[0] for arch in archs]

    def together():
        results["together"] = evaluate_archs(net, archs, job.image_size, *data)

    evaluate_archs(net, archs[:2], job.image_size, *data)  # warm
    seconds = [(timed(alone), timed(together)) for _ in range(rounds)]
    difference = max(abs(a.loss - b.loss) / b.loss for a, b in zip(results["alone"], results["together"]))
    if difference > 1e-5:
        sys.exit(f"error: {setting}: losses differ by {difference:g} of their value")
    paths = [net.layers(arch) for arch in archs]
    one, many = (median(values) for values in zip(*seconds))
    print(f"{setting}, {how}: {one:.2f} s one by one, {many:.2f} s together", flush=True)
    return {"setting": setting, "archs": how, "subnets": count, "batch": job.batch,
            "calibration": BATCHES["calibration"] * job.batch, "test": BATCHES["test"] * job.batch,
            "alone": one, "together": many, "rounds": rounds, "difference": difference,
            "layers": len({path[:i + 1] for path in paths for i in range(len(path))}),
            "layers_alone": sum(map(len, paths))}


def main(args) -> None:
    start, rows = time.time(), []
    connect("cpu")
    for setting in ["quick"] if args.quick else ["big", "cifar"]:
        for how in ("random", "mutated"):
            if not args.only or any(f"{setting}:{how}".startswith(part) for part in args.only):
                rows.append(measure(setting, how, args.subnets, args.rounds))
    path = store.save(args.records, RECIPE, "population", rows, ("setting", "archs"),
                      time.time() - start, {"batches": BATCHES})
    print(f"record: {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="SETTING[:ARCHS]",
                        help="big or cifar, random or mutated")
    parser.add_argument("--subnets", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2, help="turns of both ways")
    parser.add_argument("--quick", action="store_true", help="tiny networks: does it work at all?")
    parser.add_argument("--records", type=Path, default=store.FOLDER)
    main(parser.parse_args())
