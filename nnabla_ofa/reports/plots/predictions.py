"""Predictions against measurements."""

from __future__ import annotations

from typing import Collection

from matplotlib.figure import Figure

from .style import COLOURS, GREY, panels


def agreement_figure(predicted: Collection[float], measured: Collection[float], what: str, title: str
                     ) -> Figure:
    """A point a subnet, and the line on which both are equal.

    Args:
        predicted, measured: Values (n,) in one unit.
        what: Of what they are, for the axes.
        title: Of the picture.
    """
    figure, (axis,) = panels(5.2, 5)
    low, high = min(*predicted, *measured), max(*predicted, *measured)
    margin = (high - low) * 0.04 or 1e-6
    ends = (low - margin, high + margin)
    axis.plot(ends, ends, color=GREY, lw=1)
    axis.plot(measured, predicted, "o", color=COLOURS[0], ms=5, mec="white", mew=0.6)
    axis.set(xlabel=f"{what}, measured", ylabel=f"{what}, predicted", xlim=ends, ylim=ends,
             aspect="equal")
    axis.set_title(title, loc="left", fontsize=10)
    return figure
