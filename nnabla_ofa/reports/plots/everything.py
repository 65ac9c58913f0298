"""Top-1 against MACs of every network trained on one data set, a series a recipe and way of training."""

from __future__ import annotations

from statistics import mean
from typing import Dict, List, Sequence, Tuple

from matplotlib.figure import Figure

from ..everything import WITHIN, Place, front
from .style import COLOURS, MARKERS, panels, percent, unit_of, written_out

ZOO = "networks of the zoo, alone"


def everything_figure(found: Sequence[Place], title: str) -> Figure:
    """A point a network, the mean over its seeds; a line along the front of each supernet.

    Fixed networks have their names beside them. The axis of MACs is logarithmic.
    """
    unit, name = unit_of(max(place.rows[0]["macs"] for place in found))
    figure, (axis,) = panels(9, 5.2)
    recipes = list(dict.fromkeys(place.recipe for place in found if not place.fixed))
    for (label, how), some in series(found).items():
        points = [(place.rows[0]["macs"] / unit, mean(row["top1"] for row in place.rows)) for place in some]
        colour = "#000000" if label == ZOO else COLOURS[recipes.index(some[0].recipe) % (len(COLOURS) - 1)]
        within = how == WITHIN
        axis.plot(*zip(*points), ls="", marker="." if within else MARKERS[1 + len(how) % 4], color=colour,
                  ms=5 if within else 7, mec=colour if within else "white", mew=0.6, label=label)
        if within:
            axis.plot(*zip(*front(points)), color=colour, lw=1)
        for place, (x, y) in zip(some, points):
            if place.fixed:
                axis.annotate(place.network, (x, y), xytext=(6, -3), textcoords="offset points", fontsize=7)
    axis.set(xlabel=f"MACs ({name})", xscale="log", ylabel=f"top-1, test images of {title}")
    written_out(axis.xaxis)
    percent(axis, 0)
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8, labelspacing=0.8)
    axis.set_title(f"{title}: everything trained here", loc="left", fontsize=11)
    return figure


def series(found: Sequence[Place]) -> Dict[Tuple[str, str], List[Place]]:
    """{(legend, way of training): places}; fixed networks are one."""
    groups: Dict[Tuple[str, str], List[Place]] = {}
    for place in found:
        label = ZOO if place.fixed else f"{place.recipe}, {place.how}"
        groups.setdefault((label, place.how), []).append(place)
    return groups
