"""What to search: a space, the costs of its subnets, limits on them, and the cost to minimise.

A `Problem` is sure to have an answer. Limits that no subnet meets are an error, which names the nearest
costs there are. Limits that some subnet meets have an anchor: any subnet can be brought within them by
taking over some of its blocks.
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
from .nearest import CostFunction, least_excess

Accuracy = Callable[[Sequence[Arch]], Sequence[float]]  # archs -> top-1 of each, a fraction


class Found(NamedTuple):
    """A subnet that a search has tried.

    arch: the subnet. costs: cost name -> value, in the units of `record_rules.UNITS`. top1: on the
    held-out images, a fraction. generation: the one that drew it; 0 are the ends of the space and
    uniform samples.
    """

    arch: Arch
    costs: Dict[str, float]
    top1: float
    generation: int = 0


def cost_function(net: Network, image_size: int, latency: Optional[LatencyTable] = None) -> CostFunction:
    """The costs of subnets on one image, for a `Problem`.

    Args:
        net: Whose subnets they are.
        image_size: Pixels a side.
        latency: Where given, the costs have milliseconds a batch by this table, too.

    Returns:
        A function of N archs. It gives (N,) float64 arrays "macs" and "parameters", and with a table
        "latency_ms".
    """
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
    """Find the subnets of most top-1 at the least of one cost, within limits on any costs.

    Args:
        space: The subnets to choose from.
        costs: Gives their costs by name, as `cost_function` does.
        limits: Cost name -> largest allowed, positive, in the cost's unit.
        objective: The name of the cost to minimise.

    Attributes:
        anchor: A subnet within the limits: the smallest one, else the one that is nearest to them.

    Raises:
        OfaError: No subnet is within the limits, or a cost has a name that `costs` does not give.
    """

    space: Space
    costs: CostFunction
    limits: Mapping[str, float] = field(default_factory=dict)
    objective: str = "macs"
    anchor: Arch = field(init=False)

    def __post_init__(self) -> None:
        known = self.costs([self.space.smallest()])
        for name in [*self.limits, self.objective]:
            if name not in known:
                raise OfaError(f"cost {name!r} is not known here, only {', '.join(known)}; latency "
                               "needs a table: --latency-table FILE")
        object.__setattr__(self, "anchor", least_excess(self.space, self.costs, self.limits))
        if not self.within([self.anchor])[0]:
            raise OfaError(self._infeasible())

    def within(self, archs: Sequence[Arch]) -> np.ndarray:
        """(N,) booleans: whether each arch exceeds no limit."""
        costs = self.costs(archs)
        return np.all([np.ones(len(archs), bool)] + [costs[name] <= limit
                                                     for name, limit in self.limits.items()], axis=0)

    def brought_within(self, archs: Sequence[Arch], rng: np.random.Generator) -> List[Arch]:
        """Each arch; one that exceeds a limit takes over the anchor's blocks, in random order, until none."""
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
        """What to tell the user where no subnet is within the limits."""
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


# Limits as text -----------------------------------------------------------------------------------

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
    """Distinct subnets within the limits: the ends of the space, then uniform samples brought within them.

    Args:
        problem: What is searched.
        count: How many, 1 or more.
        rng: Draws them.

    Returns:
        `count` subnets; fewer where a thousand samples in a row bring no new one.
    """
    found, stale = dict.fromkeys(problem.ends()[:count]), 0
    while len(found) < count and stale < 1000:
        before = len(found)
        fresh = problem.brought_within(problem.space.sample_distinct(count, rng), rng)
        found.update(dict.fromkeys(fresh))
        stale = 0 if len(found) > before else stale + count
    return list(found)[:count]


def judge(problem: Problem, accuracy: Accuracy, archs: Sequence[Arch], generation: int = 0) -> List[Found]:
    """Archs with their costs and accuracies.

    Args:
        problem: Gives the costs.
        accuracy: Gives the top-1.
        archs: The subnets.
        generation: What `Found.generation` is to say.
    """
    costs = problem.costs(archs)
    return [Found(arch, {name: float(values[i]) for name, values in costs.items()}, float(top1), generation)
            for i, (arch, top1) in enumerate(zip(archs, accuracy(archs)))]


def pareto(found: Sequence[Found], objective: str = "macs") -> List[Found]:
    """Those that no other one beats in both cost and top-1, by ascending cost."""
    return front(found, lambda one: one.costs[objective], lambda one: one.top1)
