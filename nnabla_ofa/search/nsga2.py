"""NSGA-II (Deb et al., 2002) over architectures: pymoo's ranking and survival, our operators.

An individual is a vector of choice indices: of each block, the place of its choice in `distinct()`.
Equal networks therefore are equal vectors. Every offspring is brought within the limits before it is
evaluated, and none is evaluated twice: a budget of N is N distinct subnets that may be used.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, List, Set, Tuple

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.evaluator import Evaluator
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem as PymooProblem
from pymoo.core.repair import Repair
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem

from ..nets import Space
from .problem import Accuracy, Found, Problem, judge, sample


def nsga2(problem: Problem, accuracy: Accuracy, count: int, seed: int) -> List[Found]:
    """Distinct subnets within the limits, in generations of a tenth of `count`, but 10 to 50.

    The first generation are the ends of the space and uniform samples.

    Args:
        problem: What is searched.
        accuracy: Archs -> top-1 of each.
        count: How many subnets to evaluate.
        seed: Of all draws.

    Returns:
        `count` of them; fewer only where 100 matings in a row bring no subnet that was not evaluated yet.
    """
    rng = np.random.default_rng(seed)
    size = min(count, max(10, min(50, count // 10)))
    space = problem.space
    vectors = PymooProblem(n_var=len(space.blocks), n_obj=2, vtype=int)
    algorithm = NSGA2(pop_size=size, sampling=space.indices(sample(problem, size, rng)),
                      crossover=Uniform(space, rng), mutation=Redraw(space, rng),
                      repair=Within(problem, rng), eliminate_duplicates=Unseen())
    algorithm.setup(vectors, termination=NoTermination())
    found: List[Found] = []
    generation = 0
    while len(found) < count:
        algorithm.n_offsprings = min(size, count - len(found))
        with global_random(rng):
            offspring = algorithm.ask()
        if offspring is None:
            break
        fresh = judge(problem, accuracy, space.archs(offspring.get("X")), generation)
        values = np.array([[one.costs[problem.objective], 1 - one.top1] for one in fresh])
        Evaluator().eval(StaticProblem(vectors, F=values), offspring)
        with global_random(rng):
            algorithm.tell(infills=offspring)
        found += fresh
        generation += 1
    return found


@contextmanager
def global_random(rng: np.random.Generator) -> Iterator[None]:
    """NumPy's global generator seeded from `rng` meanwhile, then as before: pymoo 0.6.1 draws from it."""
    before = np.random.get_state()
    np.random.seed(rng.integers(2 ** 32))
    try:
        yield
    finally:
        np.random.set_state(before)


# Operators ----------------------------------------------------------------------------------------
# pymoo calls `_do` with its own problem, which none of ours needs, and with vectors X.

class Uniform(Crossover):
    """Each block from one of two parents; one child a mating. X: (2, matings, blocks)."""

    def __init__(self, space: Space, rng: np.random.Generator):
        super().__init__(n_parents=2, n_offsprings=1, prob=1.0)
        self.space, self.rng = space, rng

    def _do(self, problem: PymooProblem, X: np.ndarray, **kwargs: object) -> np.ndarray:
        mothers, fathers = (self.space.archs(parents) for parents in X)
        return self.space.indices([self.space.crossover(mother, father, self.rng)
                                   for mother, father in zip(mothers, fathers)])[None]


class Redraw(Mutation):
    """Each block drawn anew with probability 1 / blocks. X: (individuals, blocks)."""

    def __init__(self, space: Space, rng: np.random.Generator):
        super().__init__(prob=1.0)
        self.space, self.rng = space, rng

    def _do(self, problem: PymooProblem, X: np.ndarray, **kwargs: object) -> np.ndarray:
        rate = 1 / len(self.space.blocks)
        return self.space.indices([self.space.mutate(arch, self.rng, rate) for arch in self.space.archs(X)])


class Within(Repair):
    """Individuals brought within the limits. X: (individuals, blocks)."""

    def __init__(self, problem: Problem, rng: np.random.Generator):
        super().__init__()
        self.problem, self.rng = problem, rng

    def _do(self, problem: PymooProblem, X: np.ndarray, **kwargs: object) -> np.ndarray:
        space = self.problem.space
        return space.indices(self.problem.brought_within(space.archs(X), self.rng))


class Unseen(DuplicateElimination):
    """Leaves only individuals that were never let through before, dead ones included."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Set[Tuple[int, ...]] = set()

    def do(self, pop: Population, *others: Population, **kwargs: object) -> Population:
        """The new individuals of `pop`; pymoo's other arguments are living ones, which were seen."""
        rows = [tuple(row) for row in pop.get("X")]
        fresh = [i for i, row in enumerate(rows) if row not in self.seen and row not in rows[:i]]
        self.seen.update(rows[i] for i in fresh)
        return pop[fresh]
