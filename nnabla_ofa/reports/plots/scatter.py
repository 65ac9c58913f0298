"""Points of several quantities against one."""

from __future__ import annotations

from typing import NamedTuple, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from .style import COLOURS, GRID, panels_beside


class Panel(NamedTuple):
    """One quantity: its title, the label of its axis, and the points."""

    title: str
    label: str
    x: Sequence[float]
    y: Sequence[float]


def scatter_figure(panels: Sequence[Panel], ylabel: str) -> Figure:
    """Panels side by side over one y axis."""
    figure, axes = panels_beside(10, 3.4, len(panels))
    for axis, colour, panel in zip(axes, COLOURS, panels):
        axis.plot(panel.x, panel.y, "o", ls="", ms=2.5 if len(panel.x) > 100 else 5, color=colour, alpha=0.6,
                  mew=0)
        if max(panel.x, default=0) >= 1e4:
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.set_title(panel.title, fontsize=9)
        axis.set_xlabel(panel.label)
        axis.grid(True, color=GRID, lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(ylabel)
    return figure
