"""Milliseconds of a training step and of an evaluation: bars by contender, curves as work grows."""

from __future__ import annotations

import math
from typing import Dict, List, Sequence, Tuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..protocol import Record, Row
from ..step_times import CONTENDERS, SETTINGS, TASKS, by_piece, ms, settings_of
from .style import COLOURS, GREY, MARKERS, new_figure, tidy, written_out

Group = Tuple[str, Dict[str, Row]]  # a subnet's name, {contender: row}


def bars_figure(record: Record) -> Figure:
    """A panel a setting and task, the zoo's as wide as two; a group a subnet, a bar a contender."""
    pieces, settings = by_piece(record), settings_of(record)
    figure = new_figure(11, 0.6 + 3 * len(settings))
    grid = figure.add_gridspec(len(settings), 2)
    for row, setting in enumerate(settings):
        for column, task in enumerate(TASKS[:1] if setting == "zoo" else TASKS):
            axis = figure.add_subplot(grid[row, :] if setting == "zoo" else grid[row, column])
            draw_bars(axis, [(p.subnet, rows) for p, rows in pieces.items() if p[:2] == (setting, task)])
            axis.set_title(f"{task}, {SETTINGS[setting]}", loc="left", fontsize=10)
            axis.set_ylabel("ms a batch")
            tidy(axis, 8)
    names = contenders([*pieces.values()])
    figure.legend(handles=[Patch(color=colour(name), label=name) for name in names], fontsize=8,
                  frameon=False, ncols=len(names), loc="outside upper left")
    return figure


def draw_bars(axis: Axes, groups: Sequence[Group]) -> None:
    """Draw one panel."""
    names = contenders([rows for _, rows in groups])
    for i, name in enumerate(names):
        for x, (_, rows) in enumerate(groups):
            if name in rows:
                place, value = x + 0.85 * (i / len(names) - 0.5), 1000 * rows[name]["median"]
                axis.bar(place, value, 0.8 / len(names), align="edge", color=colour(name))
                axis.annotate(ms(rows[name]["median"]), (place + 0.4 / len(names), value),
                              xytext=(0, 1), textcoords="offset points", ha="center",
                              fontsize=6, color=GREY)
    axis.set_yscale("log")
    if groups:  # whole decades, so that the bars of a panel start at a round number
        least = min(row["median"] for _, rows in groups for row in rows.values())
        axis.set_ylim(bottom=1000 * 10 ** math.floor(math.log10(least)))
    axis.set_xticks(range(len(groups)), [subnet for subnet, _ in groups])


def contenders(pieces: Sequence[Dict[str, Row]]) -> List[str]:
    """The contenders that some piece has a row of, and "limit"."""
    return [name for name in (*CONTENDERS, "limit") if any(name in rows for rows in pieces)]


def colour(name: str) -> str:
    """A contender's colour, the same in all pictures."""
    return "#bbbbbb" if name == "limit" else COLOURS[CONTENDERS.index(name)]


def curves_figure(record: Record) -> Figure:
    """A panel a varied field: milliseconds of a step against MACs of its batch."""
    varied = list(dict.fromkeys(row["axis"] for row in record["results"]))
    figure = new_figure(11, 3.4)
    for axis, field in zip(figure.subplots(1, len(varied), squeeze=False)[0], varied):
        for i, name in enumerate(("ours", "PyTorch channels_last", "limit")):
            points = sorted((row["macs"] * row["batch"] / 1e9, 1000 * row["median"])
                            for row in record["results"]
                            if (row["axis"], row["contender"]) == (field, name))
            axis.plot(*zip(*points), color=colour(name), marker=MARKERS[i], ms=4, label=name)
        axis.set(xscale="log", yscale="log", xlabel="GMACs of a batch")
        for scale in (axis.xaxis, axis.yaxis):
            written_out(scale)
        axis.set_title(f"varied: {field}", loc="left", fontsize=10)
        tidy(axis, 8)
    figure.axes[0].set_ylabel("ms a training step")
    figure.axes[0].legend(fontsize=8, frameon=False)
    return figure
