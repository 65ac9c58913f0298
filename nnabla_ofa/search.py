"""Search: the subnets of most accuracy at least cost, within limits, on images held out of training.

    problem = Problem(net.space, cost_function(net, 224), {"macs": 30e6})
    found = search(problem, accuracy, count=200, method="nsga2", seed=0)
    front = pareto(found, problem.objective)

`accuracy` is `Evaluations` on the held-out images, or a predictor; the test images are only for
reporting what was found. A search is a function of its arguments: repeated with accuracies that are
known already it goes the same way, which is how one that was killed goes on.
"""

from __future__ import annotations

import itertools
import json
import zlib
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

import numpy as np

from .arch import Arch, Space
from .checkpoint import write_atomically
from .comm import Single, require_agreement
from .errors import OfaError
from .nsga2 import nsga2
from .problem import Accuracy, Found, Problem, judge, sample
from .recipe import Recipe
from .stages import Run, checksum
from .supernet import Network


def search(problem: Problem, accuracy: Accuracy, count: int, method: str = "nsga2",
           seed: int = 0) -> List[Found]:
    """`count` distinct subnets within the limits, all evaluated; the whole space if it is no larger.

    method: one of METHODS. Fewer than `count` only where no more are found within the limits.
    """
    if method not in METHODS:
        raise OfaError(f"method={method} of a search is not one of {', '.join(METHODS)}")
    if count < 2:
        raise OfaError(f"count={count} subnets of a search is not 2 or more")
    if problem.space.distinct_count() <= count:
        every = all_archs(problem.space)
        return judge(problem, accuracy, list(itertools.compress(every, problem.within(every))))
    return METHODS[method](problem, accuracy, count, seed)


def random_search(problem: Problem, accuracy: Accuracy, count: int, seed: int) -> List[Found]:
    """The baseline: the ends of the space and uniform samples, brought within the limits."""
    return judge(problem, accuracy, sample(problem, count, np.random.default_rng(seed)))


METHODS = {"nsga2": nsga2, "random": random_search}


def all_archs(space: Space) -> List[Arch]:
    """Every distinct subnet of a small space."""
    return [Arch(blocks) for blocks in itertools.product(*(own.distinct() for own in space.blocks))]


class Evaluations:
    """Top-1 of subnets, each measured once and kept in a file: archs -> fractions.

    identity: what the figures belong to (weights, images, image size); every identity has a file of
    its own under `folder`, a line a subnet behind a line of the identity. measure: archs -> top-1,
    called with at most `chunk` new ones at a time. A run that is killed loses the chunk it is at.
    """

    def __init__(self, folder, identity: Dict[str, object], measure: Callable[[Sequence[Arch]], List[float]],
                 comm=Single(), chunk: int = 25):
        self._first = json.dumps(identity, sort_keys=True)
        self.path = Path(folder) / f"evaluated-{zlib.crc32(self._first.encode()):08x}.jsonl"
        self._measure, self._comm, self._chunk = measure, comm, chunk
        self.known = self._read()
        require_agreement(comm, "evaluated subnets", repr(self.known))  # before rank 0 writes more

    def __call__(self, archs: Sequence[Arch]) -> List[float]:
        names = [str(arch.canonical()) for arch in archs]
        new = {name: arch for name, arch in zip(names, archs) if name not in self.known}
        for start in range(0, len(new), self._chunk):
            part = list(new)[start:start + self._chunk]
            top1 = self._measure([new[name] for name in part])
            self.known.update(zip(part, map(float, top1)))
            self._write()
        return [self.known[name] for name in names]

    def _read(self) -> Dict[str, float]:
        if not self.path.exists():
            return {}
        try:
            first, *lines = self.path.read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines]
            if first != self._first:
                raise ValueError("its first line is of other weights or images")
            return {row["subnet"]: float(row["top1"]) for row in rows}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OfaError(f"{self.path} is no file of evaluated subnets ({error}): delete it, they are "
                           "measured anew") from error

    def _write(self) -> None:
        if self._comm.rank == 0:
            rows = [json.dumps({"subnet": name, "top1": top1}) for name, top1 in self.known.items()]
            write_atomically(self.path, "\n".join([self._first, *rows, ""]).encode())


def evaluations(run: Run, net: Network, image_size: int) -> Evaluations:
    """Top-1 of subnets of `net` on the images that `run` holds out of training; kept in its folder."""
    lab, recipe = run.lab, run.recipe
    data = {key: value for key, value in recipe.settings()["data"].items()
            if key not in ("source", "workers", "image_sizes", "valid_sizes")}
    identity = {"weights": checksum(net), "image_size": image_size, "seed": lab.seed, "data": data,
                "batch_size": recipe.train.batch_size, **lab.fingerprint()}

    def measure(archs: Sequence[Arch]) -> List[float]:
        run.say(f"evaluating {len(archs)} subnets on the held-out images at {image_size} pixels")
        return [result.top1 for result in lab.judge(net, archs, image_size, on="valid")]

    return Evaluations(run.output / "search", identity, measure, lab.comm)


def validated(recipe: Recipe, net: Network) -> List[Arch]:
    """The hand-made subnets in the recipe's stages that `net` holds, each network once."""
    every = [net.config.arch(name).canonical() for stage in recipe.stages for name in stage.validate]
    return [arch for arch in dict.fromkeys(every) if arch in net.space]


def parse_limit(text: Optional[str]) -> Optional[float]:
    """A number with an optional k, M or G: "30M" is 3e7; None stays None. Raises OfaError."""
    if text is None:
        return None
    factor = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1:], 1.0)
    try:
        value = float(text[:-1] if factor > 1 else text) * factor
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise OfaError(f"limit {text!r} is not a positive number such as 30M or 2.5G")
    return value
