"""Accuracy against MACs of the subnets that an elastic recipe validates."""

from __future__ import annotations

from statistics import mean
from typing import Dict, List, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..accuracies import STAGES, Key, collect, main_split
from ..protocol import Records, Row
from .epochs import SHORT
from .style import COLOURS, GREY, MARKERS, panels, percent, unit_of


def accuracy_macs_figure(records: Records, recipe: str) -> Figure:
    """Top-1, the mean over seeds, against MACs of every validated subnet.

    A colour a stage, a marker an image size; the network of most MACs is larger, with a dark edge.
    """
    own = [key for key in collect(records, recipe).items() if key[0].stage != "finetune" and not key[0].fixed]
    split = main_split(key for key, _ in own)
    found = {key: list(by_seed.values()) for key, by_seed in own if key.split == split}
    stages = [stage for stage in STAGES if any(key.stage == stage for key in found)]
    stages += sorted({key.stage for key in found} - set(stages))
    sizes = sorted({key.image_size for key in found})
    unit, name = unit_of(max(rows[0]["macs"] for rows in found.values()))
    figure, (axis,) = panels(9, 5.2)
    draw_points(axis, found, stages, unit)
    axis.legend(handles=legend(stages, sizes), loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False,
                fontsize=9, labelspacing=0.8)
    seeds = max(len(rows) for rows in found.values())
    axis.set(xlabel=f"MACs ({name})", ylabel=f"top-1, {split} split"
             + (f", mean of {seeds} seeds" if seeds > 1 else ""))
    percent(axis, 1)
    axis.set_title(recipe, loc="left", fontsize=11)
    return figure


def draw_points(axis: Axes, found: Dict[Key, List[Row]], stages: Sequence[str], unit: float) -> None:
    """Draw a point a subnet.

    Args:
        axis: The panel.
        found: Result rows, one a seed.
        stages: In the order of their colours.
        unit: MACs are divided by it.
    """
    sizes = sorted({key.image_size for key in found})
    for i, stage in enumerate(stages):
        for j, size in enumerate(sizes):
            full = max(rows[0]["macs"] for key, rows in found.items() if key.image_size == size)
            points = sorted((rows[0]["macs"] / unit, mean(row["top1"] for row in rows))
                            for key, rows in found.items()
                            if (key.stage, key.image_size) == (stage, size))
            style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[j % len(MARKERS)], "ls": ""}
            for x, y in points:
                if x < full / unit:
                    axis.plot(x, y, ms=6.5, mec="white", mew=0.6, **style)
                else:  # at the same MACs in every stage: the later, the smaller
                    axis.plot(x, y, ms=max(12 - i, 6), mec="black", mew=1, zorder=3, **style)


def legend(stages: Sequence[str], sizes: Sequence[int]) -> List[Line2D]:
    """What colours, markers and the dark edge mean."""
    handles = [Line2D([], [], color=COLOURS[i % len(COLOURS)], marker="o", ls="",
                      label=SHORT.get(stage, stage)) for i, stage in enumerate(stages)]
    handles.append(Line2D([], [], ls="", label=""))  # a gap
    handles += [Line2D([], [], color=GREY, marker=MARKERS[j % len(MARKERS)], ls="",
                       label=f"{size} px") for j, size in enumerate(sizes)]
    return [*handles, Line2D([], [], color="white", mec="black", mew=1, marker="o", ls="", ms=9,
                             label="full network")]
