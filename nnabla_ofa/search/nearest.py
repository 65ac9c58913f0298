"""The subnet that comes nearest to limits on its costs, whether or not any subnet is within them.

Where it is within the limits, a search has something to start from. Where it is not, no subnet is, and
its costs are what the user is told to raise the limits to.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from ..nets import Arch, Space
from ..nets.arch import Choice

CostFunction = Callable[[Sequence[Arch]], Dict[str, np.ndarray]]  # cost name -> (N,) values of N archs


def least_excess(space: Space, costs: CostFunction, limits: Mapping[str, float]) -> Arch:
    """The smallest subnet if it is within the limits, else the one of least max(cost / limit).

    This is exact for costs that are sums over blocks, and for costs that grow with every choice. A
    measured latency may be neither, where neighbouring blocks share operations. Then the search goes
    from one subnet to the next as long as `least_sum` finds a better one.

    Args:
        space: The subnets to choose from.
        costs: Gives every cost that `limits` names.
        limits: Cost name -> largest allowed, positive, in the cost's unit. May be empty.

    Returns:
        The subnet, canonical.
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


def least_sum(space: Space, costs: CostFunction, limits: Mapping[str, float], base: Arch) -> Arch:
    """The subnet of least max(cost / limit), if costs are sums: those of `base` and of each block's change.

    Dynamic programming, block after block. Of the choices so far it keeps those whose sums no other
    choices beat in every cost.

    Args:
        space: The subnets to choose from.
        costs: Gives every cost that `limits` names.
        limits: Cost name -> largest allowed, positive, in the cost's unit. At least one.
        base: The subnet whose blocks are changed one at a time.

    Returns:
        The subnet; the costs of all its changes together are only assumed.
    """
    def ratios(archs: Sequence[Arch]) -> np.ndarray:
        """(N, limits): each cost of each arch, divided by its limit."""
        found = costs(archs)
        return np.stack([found[name] / limit for name, limit in limits.items()], axis=1)

    origin = ratios([base])
    totals = origin                       # (kept choices, limits)
    chosen: List[Tuple[Choice, ...]] = [()]
    for i, choices in enumerate(space.blocks):
        distinct = choices.distinct()
        changed = [Arch((*base.blocks[:i], block, *base.blocks[i + 1:])) for block in distinct]
        sums = (totals[:, None] + ratios(changed) - origin).reshape(-1, len(limits))
        kept = nondominated(sums)
        chosen = [(*chosen[k // len(distinct)], distinct[k % len(distinct)]) for k in kept]
        totals = sums[kept]
    return Arch(chosen[int(totals.max(axis=1).argmin())]).canonical()


def nondominated(points: np.ndarray) -> np.ndarray:
    """Indices of the rows (N, K) that no other row beats: less in one column, in none more.

    Of equal rows it is the first. They come in ascending order of the first column, then the second.
    """
    values, first = np.unique(points, axis=0, return_index=True)
    sorting = NonDominatedSorting(method="efficient_non_dominated_sort")  # memory of N rows, not of N x N
    return first[sorting.do(values, only_non_dominated_front=True)]
