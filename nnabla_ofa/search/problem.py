"""What to search: a space, the costs of its subnets, limits on them, and the one to minimise.

A `Problem` is sure to have an answer: limits that no subnet meets are an error that names the
nearest costs there are, and any arch can be brought within limits that one meets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from ..cost import CostModel
from ..cost.latency import LatencyTable
from ..errors import OfaError
from ..evaluation.statistics import front
from ..model import Network
from ..nets import Arch, Space
from ..system.record_rules import UNITS

Costs = Callable[[Sequence[Arch]], Dict[str, np.ndarray]]  # name -> (N,) values of N archs
Accuracy = Callable[[Sequence[Arch]], Sequence[float]]     # top-1 of each, fractions


class Found(NamedTuple):
    """A subnet with its costs, its top-1 on the held-out images and the generation that drew it.

    Generation 0 are the ends of the space and uniform samples.
    """

    arch: Arch
    costs: Dict[str, float]
    top1: float
    generation: int = 0


def cost_function(net: Network, image_size: int, latency: Optional[LatencyTable] = None) -> Costs:
    """MACs and parameters of subnets on one image; with a `LatencyTable` milliseconds, too."""
    model = CostModel(net, image_size)

    def costs(archs: Sequence[Arch]) -> Dict[str, np.ndarray]:
        cost = model(archs)
        found = {"macs": cost.macs.astype(np.float64), "parameters": cost.parameters.astype(np.float64)}
        if latency is not None:
            found["latency_ms"] = latency.predict(net, archs, image_size)
        return found
    return costs


@dataclass(frozen=True)
class Problem:
    """What to search: `space`, under `limits` (cost name -> largest allowed), for the least
    `objective` (a cost name) and the most top-1. Raises OfaError if no subnet is within the limits.
    """

    space: Space
    costs: Costs
    limits: Mapping[str, float] = field(default_factory=dict)
    objective: str = "macs"
    anchor: Arch = field(init=False)  # within the limits: the smallest, else the one nearest to them

    def __post_init__(self):
        known = self.costs([self.space.smallest()])
        for name in [*self.limits, self.objective]:
            if name not in known:
                raise OfaError(f"cost {name!r} is not known here, only {', '.join(known)}; latency "
                               "needs a table: --latency-table FILE")
        object.__setattr__(self, "anchor", least_excess(self.space, self.costs, self.limits))
        if not self.within([self.anchor])[0]:
            raise OfaError(self._infeasible())

    def within(self, archs: Sequence[Arch]) -> np.ndarray:
        """(N,) booleans: which archs exceed no limit."""
        costs = self.costs(archs)
        return np.all([np.ones(len(archs), bool)] + [costs[name] <= limit
                                                     for name, limit in self.limits.items()], axis=0)

    def brought_within(self, archs: Sequence[Arch], rng: np.random.Generator) -> List[Arch]:
        """Each arch, blocks in random order replaced by the anchor's until it exceeds no limit."""
        blocks = [list(arch.canonical().blocks) for arch in archs]
        orders = [rng.permutation(len(own)) for own in blocks]
        for step in range(len(self.anchor.blocks)):
            exceeding = np.flatnonzero(~self.within([Arch(tuple(own)) for own in blocks]))
            if not exceeding.size:
                break
            for i in exceeding:
                blocks[i][orders[i][step]] = self.anchor.blocks[orders[i][step]]
        return [Arch(tuple(own)).canonical() for own in blocks]

    def ends(self) -> List[Arch]:
        """The anchor, and the largest subnet where the limits allow it."""
        largest = self.space.largest().canonical()
        return list(dict.fromkeys([self.anchor] + [largest] * bool(self.within([largest])[0])))

    def _infeasible(self) -> str:
        for name, limit in self.limits.items():
            arch = least_excess(self.space, self.costs, {name: limit})
            least = float(self.costs([arch])[name][0])
            if least > limit:
                return (f"no subnet has at most {limit:g} {UNITS[name]}: the smallest has "
                        f"{exact(least)} ({arch}); raise --max-{name.replace('_', '-')}")
        costs = self.costs([self.anchor])
        limits = " and ".join(f"{limit:g} {UNITS[name]}" for name, limit in self.limits.items())
        nearest = " and ".join(f"{exact(float(costs[name][0]))} {UNITS[name]}" for name in self.limits)
        return (f"no subnet has at most {limits} together: the nearest has {nearest} ({self.anchor}); "
                "raise the limits to that")


def least_excess(space: Space, costs: Costs, limits: Mapping[str, float]) -> Arch:
    """The smallest subnet if it is within the limits, else the one of least max(cost / limit).

    Exact for costs that are sums over blocks, and for costs that grow with every choice. A measured
    latency may do neither where neighbouring blocks share operations: then what `least_sum` cannot
    better, from one subnet to the next.
    """
    def excess(arch: Arch) -> float:
        found = costs([arch])
        return max((float(found[name][0]) / limit for name, limit in limits.items()), default=0.0)

    best = space.smallest().canonical()
    while excess(best) > 1:
        better = least_sum(space, costs, limits, best)
        if excess(better) >= excess(best):
            break
        best = better
    return best


def least_sum(space: Space, costs: Costs, limits: Mapping[str, float], base: Arch) -> Arch:
    """The arch of least max(cost / limit) if a cost is that of `base` plus what each block changes.

    Dynamic programming, block after block, over the cost vectors that no other one beats.
    """
    def ratios(archs: Sequence[Arch]) -> np.ndarray:
        found = costs(archs)
        return np.stack([found[name] / limit for name, limit in limits.items()], axis=1)

    origin = ratios([base])
    totals, chosen = origin, [()]
    for i, choices in enumerate(space.blocks):
        distinct = choices.distinct()
        changed = [Arch((*base.blocks[:i], block, *base.blocks[i + 1:])) for block in distinct]
        sums = (totals[:, None] + ratios(changed) - origin).reshape(-1, len(limits))
        kept = nondominated(sums)
        chosen = [(*chosen[k // len(distinct)], distinct[k % len(distinct)]) for k in kept]
        totals = sums[kept]
    return Arch(chosen[int(totals.max(axis=1).argmin())])


def nondominated(points: np.ndarray) -> np.ndarray:
    """Indices of the rows (N, K) that no other row beats (less in one, in none more); each value once."""
    order = np.lexsort(points.T[::-1])
    kept = []
    while order.size:
        first, order = order[0], order[1:]
        kept.append(first)
        order = order[np.any(points[order] < points[first], axis=1)]
    return np.array(kept)


def exact(value: float) -> str:
    """A cost as a limit that admits it: whole numbers in full, others rounded up in the fifth digit."""
    if value == int(value):
        return str(int(value))
    scale = 10.0 ** (4 - int(np.floor(np.log10(value))))
    return f"{np.ceil(value * scale) / scale:.10g}"


def parse_limit(text: str) -> float:
    """A number with an optional k, M or G: "30M" is 3e7. Raises OfaError."""
    factor = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1:], 1.0)
    try:
        value = float(text[:-1] if factor > 1 else text) * factor
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise OfaError(f"limit {text!r} is not a positive number such as 30M or 2.5G")
    return value


# Subnets of a problem -----------------------------------------------------------------------------

def sample(problem: Problem, count: int, rng: np.random.Generator) -> List[Arch]:
    """`count` distinct archs within the limits: the ends of the space, then uniform samples.

    Fewer, where a thousand samples in a row bring no new one.
    """
    found, stale = dict.fromkeys(problem.ends()[:count]), 0
    while len(found) < count and stale < 1000:
        before = len(found)
        fresh = problem.brought_within(problem.space.sample_distinct(count, rng), rng)
        found.update(dict.fromkeys(fresh))
        stale = 0 if len(found) > before else stale + count
    return list(found)[:count]


def judge(problem: Problem, accuracy: Accuracy, archs: Sequence[Arch], generation: int = 0) -> List[Found]:
    """Archs with their costs and accuracies."""
    costs = problem.costs(archs)
    return [Found(arch, {name: float(values[i]) for name, values in costs.items()}, float(top1), generation)
            for i, (arch, top1) in enumerate(zip(archs, accuracy(archs)))]


def pareto(found: Sequence[Found], objective: str = "macs") -> List[Found]:
    """Those that no other one beats in both cost and top-1, by ascending cost."""
    return front(found, lambda one: one.costs[objective], lambda one: one.top1)
