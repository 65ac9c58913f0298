"""Search: distinct subnets under limits on their cost, chosen on images held out of training.

A first, plain search: uniform samples brought under the limits, then mutations of the Pareto front
found so far. Accuracy is always measured on the held-out split; the test split is for reporting.
"""

from __future__ import annotations

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from .arch import Arch, Space
from .errors import OfaError
from .ops import Cost

Limits = Dict[str, float]  # "macs" or "parameters" -> largest allowed


class Found(NamedTuple):
    """A subnet with its cost and its top-1 on the held-out images."""

    arch: Arch
    cost: Cost
    top1: float


def exceeds(cost: Cost, limits: Limits) -> bool:
    """Whether a cost is above one of the limits."""
    return any(getattr(cost, name) > limit for name, limit in limits.items())


def require_feasible(space: Space, cost_of: Callable[[Arch], Cost], limits: Limits) -> None:
    """OfaError with the nearest feasible cost if even the smallest subnet exceeds a limit."""
    least = cost_of(space.smallest())
    for name, limit in limits.items():
        if getattr(least, name) > limit:
            raise OfaError(f"no subnet has at most {limit:g} {name}: the smallest has "
                           f"{getattr(least, name):g}; raise --max-{name}")


def draw(space: Space, cost_of, limits: Limits, rng: np.random.Generator,
         parent: Optional[Arch] = None) -> Arch:
    """A uniform sample, or a mutation of `parent`, its blocks shrunk one by one into the limits."""
    arch = space.sample(rng) if parent is None else space.mutate(parent, rng, rate=0.25)
    smallest, blocks = space.smallest(), list(arch.canonical().blocks)
    for i in rng.permutation(len(blocks)):
        if not exceeds(cost_of(Arch(tuple(blocks))), limits):
            break
        blocks[i] = smallest.blocks[i].canonical()
    return Arch(tuple(blocks))


def search(space: Space, cost_of: Callable[[Arch], Cost], accuracy: Callable[[Sequence[Arch]], List[float]],
           count: int, limits: Limits, rng: np.random.Generator) -> List[Found]:
    """`count` distinct subnets within the limits (fewer if the space holds fewer), all evaluated.

    Half are uniform samples, half mutations of the front. accuracy: archs -> top-1 of each.
    """
    require_feasible(space, cost_of, limits)
    found: Dict[Arch, Found] = {}
    for generation in range(2):
        parents = [f.arch for f in pareto(list(found.values()))]
        fresh: Dict[Arch, Cost] = {}
        wanted = (count + 1) // 2 if generation == 0 else count - len(found)
        for _ in range(50 * wanted):  # a small space may not hold that many
            if len(fresh) == wanted:
                break
            parent = parents[rng.integers(len(parents))] if parents else None
            arch = draw(space, cost_of, limits, rng, parent)
            if arch not in found and arch not in fresh:
                fresh[arch] = cost_of(arch)
        for (arch, cost), top1 in zip(fresh.items(), accuracy(list(fresh))):
            found[arch] = Found(arch, cost, top1)
    return list(found.values())


def pareto(found: Sequence[Found]) -> List[Found]:
    """Those that no other one beats in both MACs and top-1, by ascending MACs."""
    front: List[Found] = []
    for one in sorted(found, key=lambda f: (f.cost.macs, -f.top1)):
        if not front or one.top1 > front[-1].top1:
            front.append(one)
    return front


def parse_limit(text: str) -> float:
    """A number with an optional k, M or G: "30M" is 3e7. Raises OfaError."""
    factor = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1:], 1.0)
    try:
        value = float(text[:-1] if factor > 1 else text) * factor
    except ValueError:
        value = -1.0
    if not value > 0:
        raise OfaError(f"limit {text!r} is not a positive number such as 30M or 2.5G")
    return value
