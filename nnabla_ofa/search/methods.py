"""Search: the subnets of most accuracy at least cost, within limits, on images held out of training.

    problem = Problem(net.space, cost_function(net, 224), {"macs": 30e6})
    found = search(problem, accuracy, count=200, method="nsga2", seed=0)
    front = pareto(found, problem.objective)

`accuracy` measures top-1 at one image size on the held-out images (`evaluation.Evaluations`), or predicts
it (`Predictor`). The test images are only for reporting what was found. A search depends on its arguments
alone. One that was killed therefore goes on when it is repeated with the accuracies that are known already.
"""

from __future__ import annotations

import itertools
from typing import Callable, Dict, List

import numpy as np

from ..errors import OfaError
from ..nets import Arch, Space
from .nsga2 import nsga2
from .problem import Accuracy, Found, Problem, judge, sample

Method = Callable[[Problem, Accuracy, int, int], List[Found]]  # (problem, accuracy, count, seed) -> found


def search(problem: Problem, accuracy: Accuracy, count: int, method: str = "nsga2",
           seed: int = 0) -> List[Found]:
    """Distinct subnets within the limits, all evaluated.

    Args:
        problem: What is searched.
        accuracy: Archs -> top-1 of each.
        count: How many subnets to evaluate, 2 or more. If the space holds no more, it is all of them.
        method: One of METHODS.
        seed: Of all that the method draws.

    Returns:
        `count` of them; fewer only where no more are found within the limits.

    Raises:
        OfaError: The count is too small, or there is no such method.
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
    """The baseline: the ends of the space and uniform samples, brought within the limits.

    Args:
        problem: What is searched.
        accuracy: Archs -> top-1 of each.
        count: How many subnets to evaluate.
        seed: Of the samples.
    """
    return judge(problem, accuracy, sample(problem, count, np.random.default_rng(seed)))


METHODS: Dict[str, Method] = {"nsga2": nsga2, "random": random_search}


def all_archs(space: Space) -> List[Arch]:
    """Every distinct subnet of a small space."""
    choices = (own.distinct() for own in space.blocks)
    return list(dict.fromkeys(Arch(blocks).canonical() for blocks in itertools.product(*choices)))
