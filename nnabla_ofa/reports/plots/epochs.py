"""Training curves of a recipe whose stages follow each other."""

from __future__ import annotations

from typing import Dict

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..accuracies import is_fixed, of_recipe
from ..protocol import Record, Records, Rows
from .style import COLOURS, GREY, panels, percent

# `accuracies.STAGES` where there is little room. A stage of another name keeps its name.
SHORT = {"fullnet": "full", "fullnet65": "full 65", "kernel": "kernel", "depth1": "depth 1",
         "depth2": "depth 2", "expand1": "expand 1", "expand2": "expand 2"}


def epochs_figure(records: Records, recipe: str) -> Figure:
    """Loss above accuracy over the epochs of all stages, a shaded band a stage, of its lowest seed."""
    runs: Dict[str, Record] = {}
    for record in of_recipe(records, recipe, "train"):
        if record["history"] and not is_fixed(record):
            runs.setdefault(record["stage"], record)
    lengths = [len(record["history"]) for record in runs.values()]
    narrow = min(lengths) < sum(lengths) / 18  # too narrow for its title
    figure, (loss, top1) = panels(9, 5.6, rows=2)
    start = 0
    for i, (stage, record) in enumerate(runs.items()):
        end = start + len(record["history"])
        draw_curves(loss, top1, record["history"], start + 1)
        for axis in (loss, top1):
            axis.axvspan(start + 0.5, end + 0.5, lw=0, zorder=0, color="#f0f0f0" if i % 2 == 0 else "white")
        turned = {"rotation": 40, "ha": "left"} if narrow else {"ha": "center"}
        loss.annotate(SHORT.get(stage, stage), ((start + end + 1) / 2, 1), xytext=(0, 5),
                      xycoords=("data", "axes fraction"), textcoords="offset points", color=GREY,
                      fontsize=9, **turned)
        start = end
    label_axes(loss, top1, start)
    seeds = sorted({record["seed"] for record in runs.values()})
    loss.set_title(f"{recipe}, seed {', '.join(map(str, seeds))}", loc="left", fontsize=11,
                   pad=48 if narrow else 22)
    return figure


def draw_curves(loss: Axes, top1: Axes, history: Rows, first: int) -> None:
    """Draw one stage.

    Args:
        loss, top1: The panels.
        history: A row an epoch.
        first: The number of the first epoch, counted through all stages.
    """
    epochs = [first + n for n in range(len(history))]
    valid = [(epoch, row["valid_top1"]) for epoch, row in zip(epochs, history)
             if row["valid_top1"] is not None]
    dot = "o" if len(epochs) == 1 else None  # a line of one point is invisible
    loss.plot(epochs, [row["loss"] for row in history], color=COLOURS[0], marker=dot, ms=3)
    top1.plot(epochs, [row["top1"] for row in history], color=COLOURS[0], marker=dot, ms=3)
    top1.plot([e for e, _ in valid], [v for _, v in valid], "o", color=COLOURS[3], ms=4)


def label_axes(loss: Axes, top1: Axes, epochs: int) -> None:
    """Name the axes and the lines.

    Args:
        loss, top1: The panels.
        epochs: How many all stages have.
    """
    loss.set(ylabel="training loss", xlim=(0.5, epochs + 0.5))
    top1.set(ylabel="top-1", xlabel="epoch, all stages")
    percent(top1, 0)
    top1.xaxis.set_major_locator(MaxNLocator(integer=True))
    top1.legend(handles=[Line2D([], [], color=COLOURS[0], label="training, sampled subnets"),
                         Line2D([], [], color=COLOURS[3], marker="o", ls="", ms=4, label="validation")],
                loc="lower right", frameon=False, fontsize=9)
