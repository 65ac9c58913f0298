"""What a search found: fronts of accuracy against cost, and the choices that subnets make."""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from .style import COLOURS, MARKERS, Points, panels, percent

AXES = {"macs": ("MACs", 1e6), "parameters": ("parameters", 1e6), "latency_ms": ("latency, ms", 1)}


def front_figure(fronts: Mapping[str, Sequence[Points]], dots: Mapping[str, Points], cost: str, split: str
                 ) -> Figure:
    """Top-1 against a cost.

    Args:
        fronts: {label: fronts}, a stepped line each.
        dots: {label: single subnets}.
        cost: One of AXES.
        split: Which images top-1 is of, as text.
    """
    name, unit = AXES[cost]
    every = [x for part in [*dots.values(), *(p for own in fronts.values() for p in own)] for x, _ in part]
    if unit > 1 and max(every, default=0) >= 1e9:
        unit = 1e9
    scale = {1e6: " (millions)", 1e9: " (billions)"}.get(unit, "")
    figure, (axis,) = panels(9, 5.2)
    for i, (label, points) in enumerate(dots.items()):
        axis.plot([x / unit for x, _ in points], [y for _, y in points], MARKERS[-1 - i], ls="", ms=4.5,
                  color=COLOURS[-2 - i], mec="white", mew=0.4, label=label)
    for i, (label, lines) in enumerate(fronts.items()):
        for j, line in enumerate(lines):
            axis.plot([x / unit for x, _ in line], [y for _, y in line], MARKERS[i], ls="-", ms=5, lw=1.4,
                      drawstyle="steps-post", color=COLOURS[i], label=label if j == 0 else None)
    axis.set(xlabel=name + scale, ylabel=f"top-1, {split}")
    percent(axis, 1)
    axis.legend(loc="lower right", frameon=False, fontsize=9)
    return figure


def choices_figure(subnets: Sequence[Sequence[str]], choices: Sequence[Sequence[str]]) -> Figure:
    """How many of some subnets make each choice in each block.

    Args:
        subnets: The name of each block's choice, a list a subnet.
        choices: The names that each block may have. What it may not have is left blank.
    """
    names = list(dict.fromkeys(name for own in choices for name in own))
    counts = np.full((len(names), len(choices)), np.nan)
    for block, own in enumerate(choices):
        for name in own:
            counts[names.index(name), block] = sum(subnet[block] == name for subnet in subnets)
    figure, (axis,) = panels(1.6 + 0.62 * len(choices), 1 + 0.26 * len(names))
    axis.grid(False)
    axis.imshow(counts, cmap="Blues", vmin=0, vmax=len(subnets), aspect="auto")
    for row, block in np.argwhere(counts > 0):
        dark = counts[row, block] > len(subnets) / 2
        axis.text(block, row, f"{counts[row, block]:.0f}", ha="center", va="center", fontsize=8,
                  color="white" if dark else "black")
    axis.set_xticks(range(len(choices)), [str(i + 1) for i in range(len(choices))])
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel(f"block, from the input on; {len(subnets)} subnets")
    return figure
