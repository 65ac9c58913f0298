"""What all pictures share: colours, markers, axes without a box, PNG.

The same records give the same bytes. Colours are Okabe and Ito's (2008), which colour-blind readers tell
apart.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import List, Sequence, Tuple, Union

from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from ...system.files import write_atomically

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = "osD^vP"
GREY = "#555555"
GRID = "#dddddd"
Points = Sequence[Tuple[float, float]]  # (x, y), most often (cost, top-1 as a fraction)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, drawn by Agg."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels(width: float, height: float, rows: int = 1) -> Tuple[Figure, List[Axes]]:
    """A figure of panels above each other with one x axis, a light grid, no box.

    Args:
        width, height: In inches.
        rows: How many panels.

    Returns:
        The figure and its panels, from the top.
    """
    figure = new_figure(width, height)
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for axis in axes:
        tidy(axis, 9)
        axis.tick_params(color=GREY)
        axis.spines[["left", "bottom"]].set_color(GREY)
    return figure, list(axes)


def panels_beside(width: float, height: float, count: int) -> Tuple[Figure, List[Axes]]:
    """A figure of panels side by side with one y axis.

    Args:
        width, height: In inches.
        count: How many panels.

    Returns:
        The figure and its panels, from the left.
    """
    figure = new_figure(width, height)
    return figure, list(figure.subplots(1, count, sharey=True, squeeze=False)[0])


def tidy(axis: Axes, label_size: float) -> None:
    """A light horizontal grid behind what is drawn, no box; label_size: of the numbers, in points."""
    axis.grid(axis="y", color=GRID, lw=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=label_size)


def percent(axis: Axes, decimals: int) -> None:
    """Show the fractions on the y axis as percentages."""
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=decimals))


def written_out(scale: Union[XAxis, YAxis]) -> None:
    """Ticks of a logarithmic axis at 1, 2, 5, 10, ... as plain numbers."""
    scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
    scale.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    scale.set_minor_locator(NullLocator())


def unit_of(largest: float) -> Tuple[float, str]:
    """What to divide counts by, and its name: (1e9, "billions") from 1e9 on, else (1e6, "millions")."""
    return (1e9, "billions") if largest >= 1e9 else (1e6, "millions")


def png(figure: Figure) -> bytes:
    """The picture as PNG."""
    file = io.BytesIO()
    # Without the software's version: another matplotlib release is no other picture.
    figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return file.getvalue()


def save(figure: Figure, path: Union[str, Path]) -> None:
    """Write the picture as a PNG file."""
    write_atomically(path, png(figure))
