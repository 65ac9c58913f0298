"""What each update trains: one image size, and subnets drawn by the recipe's rule.

    uniform   each choice of each block as likely as the others (SPOS, Guo et al., ECCV 2020)
    fair      strictly fair (Chu et al., ICCV 2021): in as many subnets as a block has choices, each
              of them comes once; the runs of different blocks are shuffled independently
    cost      one of 8 uniform draws, with probability proportional to its MACs

With the sandwich rule (Yu & Huang, ICCV 2019) the largest and the smallest subnet come first.
"""

from __future__ import annotations

from typing import Callable, Iterator, List, Sequence, Tuple, cast

import numpy as np

from ..cost import CostModel
from ..model import AnyNetwork, Network
from ..nets import Arch, Space
from .settings import Train

CANDIDATES = 8

Draw = Tuple[int, List[Arch]]  # image size in pixels, subnets


def draws(net: AnyNetwork, sizes: Sequence[int], settings: Train, steps: int,
          generator: Callable[[int, str], np.random.Generator]) -> List[Draw]:
    """The draws of one epoch.

    Args:
        net: Whose subnets are trained.
        sizes: Image sizes in pixels, of which each step draws one.
        settings: The rule, and how many subnets a step.
        steps: Of the epoch.
        generator: Of a step and a purpose.
    """
    space = net.space
    ends = [space.largest(), space.smallest()] if settings.sandwich else []
    count = settings.subnets_per_step - len(ends)
    evenly = fair(space, generator(0, "fair"))
    costs = CostModel(cast(Network, net), 32) if settings.sampling == "cost" and not space.single() else None
    draw = {"uniform": space.sample, "fair": lambda rng: next(evenly),
            "cost": lambda rng: by_cost(space, cast(CostModel, costs), rng)}[settings.sampling]
    found: List[Draw] = []
    for step in range(steps):
        rng = generator(step, "draw")
        size = int(sizes[rng.integers(len(sizes))])
        archs = [space.largest()] if space.single() else ends + [draw(rng) for _ in range(count)]
        found.append((size, archs))
    return found


def fair(space: Space, rng: np.random.Generator) -> Iterator[Arch]:
    """Subnets without end, each choice of a block once in every run of as many as it has."""
    streams = [_shuffled(tuple(choices), rng) for choices in space.blocks]
    while True:
        yield Arch(tuple(next(stream) for stream in streams))


def _shuffled(choices: Sequence, rng: np.random.Generator) -> Iterator:
    while True:
        for i in rng.permutation(len(choices)):
            yield choices[i]


def by_cost(space: Space, costs: CostModel, rng: np.random.Generator) -> Arch:
    """One of `CANDIDATES` uniform draws, in proportion to its MACs."""
    archs = [space.sample(rng) for _ in range(CANDIDATES)]
    macs = costs(archs).macs
    return archs[rng.choice(CANDIDATES, p=macs / macs.sum())]
