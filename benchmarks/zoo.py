"""What the networks of the published tables cost here: parameters, MACs, activations, and their times.

    python benchmarks/zoo.py                           # every network of every table, one after the other
    python benchmarks/zoo.py --table zoo_cifar10       # a piece of it, the others stay recorded
    python benchmarks/zoo.py --only resnet50 xception
    python runners/tables.py                           # the pages, from the records

Large networks are measured on fewer images, and their time is that of 64 by proportion; `batch` says of how
many. An epoch's time is that of a training step by proportion, without reading images, at rate 0: new
weights of deep networks without a last BN would diverge.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Dict, List

ROOT = Path(__file__).resolve().parents[1]

import numpy as np
import store

import nnabla_ofa as ofa
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.model import Frozen
from nnabla_ofa.reports.published import BASELINES, read_baselines
from nnabla_ofa.system.comm import Single, connect
from nnabla_ofa.training.optimiser import Optimiser
from nnabla_ofa.training.settings import Train
from nnabla_ofa.training.step import Stepper

RECIPE, IMAGES = "benchmark_zoo", 64
MOST = 2e9  # MACs of one measurement
# Of each table the recipe that repeats it, and how many images an epoch of it has.
TABLES = {"zoo_cifar10": ("zoo_cifar10", 50_000), "zoo_cifar100": ("zoo_cifar100", 50_000),
          "imagenet_baselines": ("pycls_imagenet", 1_281_167)}


def measure(name: str, images: int, epochs: int, rounds: int) -> Dict[str, object]:
    """One row: costs, ms of 64 images, images/s of training, hours of the recipe's epochs."""
    entry = ofa.zoo.entry(name)
    side, cost = entry.image_size, ofa.zoo.cost(name)
    batch = int(min(IMAGES, max(2, MOST // cost.macs)))
    net = ofa.create(name)
    x = np.random.default_rng(0).standard_normal((batch, 3, side, side)).astype(np.float32)
    labels = np.arange(batch) % entry.classes
    settings = Train(batch_size=batch, global_batch=batch, distill=0.0)
    stepper = Stepper(net, settings, Optimiser(net, settings), Single())
    frozen = Frozen(net)
    evaluation = seconds(lambda: frozen(x), rounds)
    step = seconds(lambda: stepper.step(iter([(x, labels, None)]), [net.arch(None)], 0.0, 1), rounds)
    return {"network": name, "classes": entry.classes, "image_size": side, "parameters": cost.parameters,
            "macs": cost.macs, "activations": cost.activations, "batch": batch,
            "ms_64": round(1000 * evaluation * IMAGES / batch, 1),
            "images_per_second": round(batch / step, 2),
            "training_hours": round(epochs * images * step / batch / 3600, 1)}


def seconds(call, rounds: int) -> float:
    """The median of several calls, after one that is not counted."""
    call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)


def epochs_of(recipe: str) -> int:
    """How many epochs a recipe trains."""
    return sum(stage.epochs for stage in load_recipe(recipe).stages)


def main() -> None:
    """Measure and record, network by network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", choices=sorted(TABLES), action="append")
    parser.add_argument("--only", nargs="+", default=[], metavar="NETWORK")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=Path, default=store.FOLDER)
    options = parser.parse_args()
    connect("cpu")
    for table, published in read_baselines(BASELINES):
        if options.table and table not in options.table:
            continue
        recipe, images = TABLES[table]
        names: List[str] = [n for n in dict.fromkeys(row["network"] for row in published)
                            if not options.only or n in options.only]
        for name in names:
            start = time.time()
            row = measure(name, images, epochs_of(recipe), options.rounds)
            store.save(options.records, RECIPE, table, [row], ("network",), time.time() - start,
                       {"rounds": options.rounds})
            print(f"{table} {name}: {row['ms_64']} ms, {row['images_per_second']} images/s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
