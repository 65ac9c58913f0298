"""Search: the subnets of most accuracy at least cost, within limits, on images held out of training.

    problem = Problem(net.space, cost_function(net, 224), {"macs": 30e6})
    found = search(problem, accuracy, count=200, method="nsga2", seed=0)
    front = pareto(found, problem.objective)

`accuracy` is that of `evaluation.Evaluations` on the held-out images, or of a predictor, at one image
size; the
test images are only for reporting what was found. A search is a function of its arguments: repeated
with accuracies that are known already it goes the same way, which is how one that was killed goes on.
"""

from __future__ import annotations

import itertools
from typing import List

import numpy as np

from ..errors import OfaError
from ..nets import Arch, Space
from .nsga2 import nsga2
from .problem import Accuracy, Found, Problem, judge, sample


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
