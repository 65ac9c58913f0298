"""Accuracy of variants of a recipe, comparison by comparison."""

from __future__ import annotations

import textwrap
from statistics import mean
from typing import Dict, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import COLOURS, GRID, MARKERS, panels_beside, percent

Seed = Mapping[str, Mapping[str, float]]  # {variant: {kind of subnet: top-1}} of one seed


def variants_figure(comparisons: Mapping[str, Sequence[Seed]], labels: Dict[str, str]) -> Figure:
    """Top-1 of variants: a panel a comparison, a dot a seed, a dash at the mean.

    Args:
        comparisons: {title: seeds}. A seed may lack variants, but for the first one.
        labels: {kind of subnet: text in the legend}.
    """
    figure, axes = panels_beside(2.7 * len(comparisons) + 1, 3.6, len(comparisons))
    for axis, (title, seeds) in zip(axes, comparisons.items()):
        names = list(dict.fromkeys(name for seed in seeds for name in seed))
        for i, kind in enumerate(labels):
            if kind not in seeds[0][names[0]]:
                continue
            places = np.arange(len(names)) + 0.2 * (i - (len(labels) - 1) / 2)
            for seed in seeds:
                axis.plot(places, [seed[name][kind] if name in seed else np.nan for name in names],
                          MARKERS[i], ls="", ms=4,
                          color=COLOURS[i], alpha=0.6, mew=0)
            axis.plot(places, [mean(seed[name][kind] for seed in seeds if name in seed)
                                 for name in names], "_", ms=9,
                      color=COLOURS[i])
        axis.set_xticks(range(len(names)), [textwrap.fill(name, 11) for name in names], fontsize=7)
        axis.set_title(title, fontsize=10)
        axis.grid(axis="y", color=GRID, lw=0.8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("top-1, test images")
    percent(axes[0], 0)
    figure.legend(handles=[Line2D([], [], color=colour, marker=marker, ms=4, ls="", label=label)
                           for label, colour, marker in zip(labels.values(), COLOURS, MARKERS)],
                  loc="outside upper left", ncols=len(labels), frameon=False, fontsize=9)
    return figure
