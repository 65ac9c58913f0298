"""Pictures of records: training curves, accuracy against MACs; fronts and choices of a search; contact
sheets of images.

PNG by matplotlib's Agg canvas, without pyplot's global state; the same records give the same bytes.
Colours are Okabe and Ito's (2008), told apart by colour-blind readers.
"""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from statistics import mean
from typing import Dict, Sequence, Tuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from .pages.accuracies import STAGES, collect, main_split, of_recipe

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = "osD^vP"
SHORT = {"fullnet": "full", "fullnet65": "full 65", "kernel": "kernel", "depth1": "depth 1",
         "depth2": "depth 2", "expand1": "expand 1", "expand2": "expand 2"}
GREY = "#555555"
AXES = {"macs": ("MACs", 1e6), "parameters": ("parameters", 1e6), "latency_ms": ("latency, ms", 1)}
Points = Sequence[Tuple[float, float]]  # (cost, top-1 as a fraction)


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

    A colour a stage, a marker an image size; the network of most MACs is larger, with a dark edge.
    """
    figures = {key: rows for key, rows in collect(records, recipe).items()
               if key.stage != "finetune"}
    split = main_split(figures)
    figures = {key: list(rows.values()) for key, rows in figures.items() if key.split == split}
    stages = [stage for stage in STAGES if any(key.stage == stage for key in figures)]
    stages += sorted({key.stage for key in figures} - set(stages))
    sizes = sorted({key.image_size for key in figures})
    full = {size: max(rows[0]["macs"] for key, rows in figures.items() if key.image_size == size)
            for size in sizes}
    unit, name = (1e9, "billions") if max(full.values()) >= 1e9 else (1e6, "millions")
    figure, (axis,) = _axes((9, 5.2), rows=1)
    for i, stage in enumerate(stages):
        for j, size in enumerate(sizes):
            points = sorted((rows[0]["macs"] / unit, mean(row["top1"] for row in rows))
                            for key, rows in figures.items()
                            if (key.stage, key.image_size) == (stage, size))
            style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[j % len(MARKERS)],
                     "ls": ""}
            for x, y in points:
                if x < full[size] / unit:
                    axis.plot(x, y, ms=6.5, mec="white", mew=0.6, **style)
                else:  # at the same MACs in every stage: the later, the smaller
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


def front_figure(fronts: Dict[str, Sequence[Points]], dots: Dict[str, Points], cost: str,
                 split: str) -> Figure:
    """Top-1 against a cost: a stepped line a front (one label may have several), single subnets as dots.

    cost: a key of AXES; split: which images top-1 is of.
    """
    name, unit = AXES[cost]
    every = [x for part in [*dots.values(), *(p for own in fronts.values() for p in own)] for x, _ in part]
    if unit > 1 and max(every, default=0) >= 1e9:
        unit = 1e9
    scale = {1e6: " (millions)", 1e9: " (billions)"}.get(unit, "")
    figure, (axis,) = _axes((9, 5.2), rows=1)
    for i, (label, points) in enumerate(dots.items()):
        axis.plot([x / unit for x, _ in points], [y for _, y in points], MARKERS[-1 - i], ls="", ms=4.5,
                  color=COLOURS[-2 - i], mec="white", mew=0.4, label=label)
    for i, (label, lines) in enumerate(fronts.items()):
        for j, line in enumerate(lines):
            axis.plot([x / unit for x, _ in line], [y for _, y in line], MARKERS[i], ls="-", ms=5, lw=1.4,
                      drawstyle="steps-post", color=COLOURS[i], label=label if j == 0 else None)
    axis.set(xlabel=name + scale, ylabel=f"top-1, {split}")
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axis.legend(loc="lower right", frameon=False, fontsize=9)
    return figure


def choices_figure(subnets: Sequence[Sequence[str]], choices: Sequence[Sequence[str]]) -> Figure:
    """How many of some subnets make each choice in each block.

    subnets: block names, a list a subnet; choices: the names that each block may have (the others
    are left blank).
    """
    names = list(dict.fromkeys(name for own in choices for name in own))
    counts = np.full((len(names), len(choices)), np.nan)
    for block, own in enumerate(choices):
        for name in own:
            counts[names.index(name), block] = sum(subnet[block] == name for subnet in subnets)
    figure, (axis,) = _axes((1.6 + 0.62 * len(choices), 1 + 0.26 * len(names)), rows=1)
    axis.grid(False)
    axis.imshow(counts, cmap="Blues", vmin=0, vmax=len(subnets), aspect="auto")
    for row, block in np.argwhere(counts > 0):
        dark = counts[row, block] > len(subnets) / 2
        axis.text(block, row, f"{counts[row, block]:.0f}", ha="center", va="center", fontsize=8,
                  color="white" if dark else "black")
    axis.set_xticks(range(len(choices)), [str(i + 1) for i in range(len(choices))])
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel(f"block, from the input on; {len(subnets)} subnets")
    return figure


def scatter_figure(panels: Sequence[Tuple[str, str, Sequence[float], Sequence[float]]],
                   ylabel: str) -> Figure:
    """Panels side by side over one y axis: (title, label of x, x, y) of each."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), sharey=True)
    for axis, colour, (title, label, x, y) in zip(axes, COLOURS, panels):
        axis.plot(x, y, "o", ls="", ms=2.5 if len(x) > 100 else 5, color=colour, alpha=0.6, mew=0)
        if max(x, default=0) >= 1e4:
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(label)
        axis.grid(True, color="#dddddd", lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(ylabel)
    return figure


def variants_figure(panels: Dict[str, Sequence[Dict[str, Dict[str, float]]]],
                    labels: Dict[str, str]) -> Figure:
    """Top-1 of variants, a panel a comparison: per seed {variant: {kind of subnet: top-1}}.

    labels: of the kinds. A dot a seed, a dash at the mean.
    """
    figure = Figure(figsize=(2.7 * len(panels) + 1, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (title, seeds) in zip(axes, panels.items()):
        names = list(seeds[0])
        for i, kind in enumerate(labels):
            if kind not in seeds[0][names[0]]:
                continue
            places = np.arange(len(names)) + 0.2 * (i - (len(labels) - 1) / 2)
            for seed in seeds:
                axis.plot(places, [seed[name][kind] for name in names], MARKERS[i], ls="", ms=4,
                          color=COLOURS[i], alpha=0.6, mew=0)
            axis.plot(places, [mean(seed[name][kind] for seed in seeds) for name in names], "_", ms=9,
                      color=COLOURS[i])
        axis.set_xticks(range(len(names)), [textwrap.fill(name, 11) for name in names], fontsize=7)
        axis.set_title(title, fontsize=10)
        axis.grid(axis="y", color="#dddddd", lw=0.8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("top-1, test images")
    axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(handles=[Line2D([], [], color=colour, marker=marker, ms=4, ls="", label=label)
                           for label, colour, marker in zip(labels.values(), COLOURS, MARKERS)],
                  loc="outside upper left", ncols=len(labels), frameon=False, fontsize=9)
    return figure


def png(figure: Figure) -> bytes:
    """The picture as PNG."""
    file = io.BytesIO()
    # Without the software's version: another matplotlib release is no other picture.
    figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return file.getvalue()


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
    """Write a figure as PNG."""
    Path(path).write_bytes(png(figure))


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
