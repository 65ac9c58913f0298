"""Pictures of the benchmark records: bars of the table, curves as work grows."""

from __future__ import annotations

import math

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from .pages.speed import CONTENDERS, SETTINGS, by_piece, ms, settings_of
from .plots import COLOURS, GREY, MARKERS


def bars(record: dict) -> Figure:
    """A panel a setting and task; a group a subnet, a bar a contender, on a logarithmic scale."""
    pieces, settings = by_piece(record), settings_of(record)
    figure = Figure(figsize=(11, 3.6 * len(settings)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(settings), 2, squeeze=False)
    for row, setting in zip(axes, settings):
        for axis, task in zip(row, ("training", "evaluation")):
            groups = [(p[2], rows) for p, rows in pieces.items() if p[:2] == (setting, task)]
            names = [n for n in (*CONTENDERS, "limit") if any(n in rows for _, rows in groups)]
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
            axis.set_title(f"{task}, {SETTINGS[setting]}", loc="left", fontsize=10)
            axis.set_ylabel("ms a batch")
            tidy(axis)
    shown = [n for n in (*CONTENDERS, "limit") if any(n in rows for rows in pieces.values())]
    figure.legend(handles=[Patch(color=colour(name), label=name) for name in shown], fontsize=8,
                  frameon=False, ncols=len(shown), loc="outside upper left")
    return figure


def colour(name: str) -> str:
    """The same for a contender everywhere."""
    return "#bbbbbb" if name == "limit" else COLOURS[CONTENDERS.index(name)]


def curves(record: dict) -> Figure:
    """A panel a varied field: milliseconds of a step against MACs of its batch."""
    axes_of = list(dict.fromkeys(row["axis"] for row in record["results"]))
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, varied in zip(figure.subplots(1, len(axes_of), squeeze=False)[0], axes_of):
        for i, name in enumerate(("ours", "PyTorch channels_last", "limit")):
            points = sorted((row["macs"] * row["batch"] / 1e9, 1000 * row["median"])
                            for row in record["results"]
                            if (row["axis"], row["contender"]) == (varied, name))
            axis.plot(*zip(*points), color=colour(name), marker=MARKERS[i], ms=4, label=name)
        axis.set(xscale="log", yscale="log", xlabel="GMACs of a batch")
        for scale in (axis.xaxis, axis.yaxis):  # 1, 2, 5, 10, ... written out
            scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
            scale.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            scale.set_minor_locator(NullLocator())
        axis.set_title(f"varied: {varied}", loc="left", fontsize=10)
        tidy(axis)
    figure.axes[0].set_ylabel("ms a training step")
    figure.axes[0].legend(fontsize=8, frameon=False)
    return figure


def tidy(axis) -> None:
    """Light grid, no box."""
    axis.grid(axis="y", color="#dddddd", lw=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
