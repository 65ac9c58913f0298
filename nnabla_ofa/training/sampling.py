"""What each update trains: one image size, and subnets drawn by the recipe's rule.

    uniform   each choice of each block as likely as the others (SPOS, Guo et al., ECCV 2020)
    fair      strictly fair (Chu et al., ICCV 2021): in as many subnets as a block has choices, each
              of them comes once; the runs of different blocks are shuffled independently
    cost      one of 8 uniform draws, with probability proportional to its MACs

With the sandwich rule (Yu & Huang, ICCV 2019) the largest and the smallest subnet come first.

Image sizes are drawn, or grow during the stage (Howard, fast.ai's entry to DAWNBench, 2018).
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
          generator: Callable[[int, str], np.random.Generator],
          done: Callable[[int], float] = lambda step: 0.0) -> List[Draw]:
    """The draws of one epoch.

    Args:
        net: Whose subnets are trained.
        sizes: Image sizes in pixels, of which each step draws one, unless they grow.
        settings: The rule, how many subnets a step, and whether sizes grow.
        steps: Of the epoch.
        generator: Of a step and a purpose.
        done: Of a step, the share of the stage before it.
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
        size = int(sizes[rng.integers(len(sizes))]) if settings.growing_sizes is None else grown(
            sizes, settings.growing_sizes, done(step))
        archs = [space.largest()] if space.single() else ends + [draw(rng) for _ in range(count)]
        found.append((size, archs))
    return found


def grown(sizes: Sequence[int], until: float, done: float) -> int:
    """The image size in force when the share `done` of a stage has passed.

    Args:
        sizes: In pixels. All but the largest serve in equal parts of the time before `until`, the smaller
            one first; then the largest serves.
        until: Share of the stage, from 0 to 1.
        done: Share of the stage, in [0, 1).
    """
    ordered = sorted(set(sizes))
    if done >= until:
        return ordered[-1]
    return ordered[min(int(done / until * (len(ordered) - 1)), len(ordered) - 1)]


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
