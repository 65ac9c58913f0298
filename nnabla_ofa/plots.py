"""Pictures of a recipe's records: training curves across stages, accuracy against MACs.

PNG by matplotlib's Agg canvas, without pyplot's global state; the same records give the same bytes.
Colours are Okabe and Ito's (2008), told apart by colour-blind readers.
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Dict, List, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from .figures import KINDS, STAGES, collect, main_split, of_recipe
from .tables import pictures

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = "osD^vP"
SHORT = {"fullnet": "full", "fullnet65": "full 65", "kernel": "kernel", "depth1": "depth 1",
         "depth2": "depth 2", "expand1": "expand 1", "expand2": "expand 2"}
GREY = "#555555"


def draw(records: Sequence[dict], folder) -> List[Path]:
    """Write every picture that the pages name (tables.pictures) into `folder`; return the paths."""
    paths = []
    for recipe in sorted({record["recipe"] for record in records if record["kind"] in KINDS}):
        for name in pictures(records, recipe):
            make = epochs_figure if name.endswith("-epochs.png") else accuracy_macs_figure
            path = Path(folder) / name
            save(make(records, recipe), path)
            paths.append(path)
    return paths


def epochs_figure(records: Sequence[dict], recipe: str) -> Figure:
    """Loss above accuracy over all epochs, a shaded band a stage; the lowest seed of each stage."""
    runs: Dict[str, dict] = {}
    for record in of_recipe(records, recipe, "train"):
        if record["history"]:
            runs.setdefault(record["stage"], record)
    figure, (loss, top1) = _axes((9, 5.6), rows=2)
    total = sum(len(record["history"]) for record in runs.values())
    narrow = min(len(record["history"]) for record in runs.values()) < total / 18
    turned = {"rotation": 40, "ha": "left"} if narrow else {"ha": "center"}
    start = 0
    for i, (stage, record) in enumerate(runs.items()):
        history = record["history"]
        epochs = [start + n + 1 for n in range(len(history))]
        valid = [(epoch, row["valid_top1"]) for epoch, row in zip(epochs, history)
                 if row["valid_top1"] is not None]
        dot = "o" if len(epochs) == 1 else None  # a line of one point is invisible
        loss.plot(epochs, [row["loss"] for row in history], color=COLOURS[0], marker=dot, ms=3)
        top1.plot(epochs, [row["top1"] for row in history], color=COLOURS[0], marker=dot, ms=3)
        top1.plot([e for e, _ in valid], [v for _, v in valid], "o", color=COLOURS[3], ms=4)
        for axis in (loss, top1):
            axis.axvspan(start + 0.5, start + len(epochs) + 0.5, lw=0, zorder=0,
                         color="#f0f0f0" if i % 2 == 0 else "white")
        loss.annotate(SHORT.get(stage, stage), (start + (len(epochs) + 1) / 2, 1),
                      xycoords=("data", "axes fraction"), xytext=(0, 5),
                      textcoords="offset points", color=GREY, fontsize=9, **turned)
        start += len(epochs)
    loss.set(ylabel="training loss", xlim=(0.5, start + 0.5))
    top1.set(ylabel="top-1", xlabel="epoch, all stages")
    top1.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    top1.xaxis.set_major_locator(MaxNLocator(integer=True))
    top1.legend(handles=[Line2D([], [], color=COLOURS[0], label="training, sampled subnets"),
                         Line2D([], [], color=COLOURS[3], marker="o", ls="", ms=4,
                                label="validation")],
                loc="lower right", frameon=False, fontsize=9)
    seeds = sorted({record["seed"] for record in runs.values()})
    loss.set_title(f"{recipe}, seed {', '.join(map(str, seeds))}", loc="left", fontsize=11,
                   pad=48 if narrow else 22)
    return figure


def accuracy_macs_figure(records: Sequence[dict], recipe: str) -> Figure:
    """Top-1 (mean over seeds) against MACs of every validated subnet.

    A colour a stage, a marker an image size; a stage's full network is larger, with a dark edge.
    """
    figures = {key: rows for key, rows in collect(records, recipe).items()
               if key.stage != "finetune"}
    split = main_split(figures)
    figures = {key: list(rows.values()) for key, rows in figures.items() if key.split == split}
    stages = [stage for stage in STAGES if any(key.stage == stage for key in figures)]
    stages += sorted({key.stage for key in figures} - set(stages))
    sizes = sorted({key.image_size for key in figures})
    most = max(row["macs"] for rows in figures.values() for row in rows)
    unit, name = (1e9, "billions") if most >= 1e9 else (1e6, "millions")
    figure, (axis,) = _axes((9, 5.2), rows=1)
    for i, stage in enumerate(stages):
        for j, size in enumerate(sizes):
            points = sorted((rows[0]["macs"] / unit, mean(row["top1"] for row in rows))
                            for key, rows in figures.items()
                            if (key.stage, key.image_size) == (stage, size))
            style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[j % len(MARKERS)],
                     "ls": ""}
            for x, y in points[:-1]:
                axis.plot(x, y, ms=6.5, mec="white", mew=0.6, **style)
            for x, y in points[-1:]:  # at the same MACs in every stage: the later, the smaller
                axis.plot(x, y, ms=max(12 - i, 6), mec="black", mew=1, zorder=3, **style)
    handles = [Line2D([], [], color=COLOURS[i % len(COLOURS)], marker="o", ls="",
                      label=SHORT.get(stage, stage)) for i, stage in enumerate(stages)]
    handles.append(Line2D([], [], ls="", label=""))  # a gap in the legend
    handles += [Line2D([], [], color=GREY, marker=MARKERS[j % len(MARKERS)], ls="",
                       label=f"{size} px") for j, size in enumerate(sizes)]
    handles.append(Line2D([], [], color="white", mec="black", mew=1, marker="o", ls="", ms=9,
                          label="full network"))
    axis.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False,
                fontsize=9, labelspacing=0.8)
    seeds = max(len(rows) for rows in figures.values())
    axis.set(xlabel=f"MACs ({name})", ylabel=f"top-1, {split} split"
             + (f", mean of {seeds} seeds" if seeds > 1 else ""))
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axis.set_title(recipe, loc="left", fontsize=11)
    return figure


def agreement_figure(predicted: Sequence[float], measured: Sequence[float], what: str,
                     title: str) -> Figure:
    """Predicted against measured values (n,) of `what`, with the line on which they are equal."""
    figure, (axis,) = _axes((5.2, 5), rows=1)
    low, high = min(*predicted, *measured), max(*predicted, *measured)
    margin = (high - low) * 0.04 or 1e-6
    ends = (low - margin, high + margin)
    axis.plot(ends, ends, color=GREY, lw=1)
    axis.plot(measured, predicted, "o", color=COLOURS[0], ms=5, mec="white", mew=0.6)
    axis.set(xlabel=f"{what}, measured", ylabel=f"{what}, predicted", xlim=ends, ylim=ends,
             aspect="equal")
    axis.set_title(title, loc="left", fontsize=10)
    return figure


def save(figure: Figure, path) -> None:
    """Write a PNG; without the software's version: another matplotlib release is no other picture."""
    figure.savefig(path, dpi=150, metadata={"Software": None})


def _axes(size, rows: int):
    """A figure on the Agg canvas with `rows` panels over one x axis: light grid, no box."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for axis in axes:
        axis.grid(axis="y", color="#dddddd", lw=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(color=GREY, labelsize=9)
        axis.spines[["left", "bottom"]].set_color(GREY)
    return figure, axes
