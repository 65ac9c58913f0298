"""Fixed networks of one recipe: training curves, accuracy against MACs; a line style a network."""

from __future__ import annotations

from statistics import mean
from typing import Any, Dict, List, Tuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..accuracies import collect, is_fixed, main_split, of_recipe
from ..protocol import Record, Records
from .style import COLOURS, MARKERS, panels, percent, unit_of, written_out

LINES = ("-", "--", ":", "-.")


def networks_epochs_figure(records: Records, recipe: str) -> Figure:
    """Training loss above top-1 on held-out images over the epochs, a line a network, of its lowest seed."""
    runs: Dict[str, Record] = {}
    for record in of_recipe(records, recipe, "train"):
        if record["history"] and is_fixed(record):
            runs.setdefault(record["stage"], record)
    figure, (loss, top1) = panels(9, 5.6, rows=2)
    for i, (name, record) in enumerate(runs.items()):
        style = {**style_of(i), "lw": 1.2, "ms": 4, "markevery": [-1]}  # the marker at the last epoch
        history = record["history"]
        valid = [(n, row["valid_top1"]) for n, row in enumerate(history, 1) if row["valid_top1"] is not None]
        loss.plot(range(1, len(history) + 1), [row["loss"] for row in history], label=name, **style)
        top1.plot([n for n, _ in valid], [value for _, value in valid], **style)
    loss.set(ylabel="training loss")
    top1.set(ylabel="top-1, held-out images", xlabel="epoch")
    percent(top1, 0)
    top1.xaxis.set_major_locator(MaxNLocator(integer=True))
    beside(loss, len(runs))
    seeds = sorted({record["seed"] for record in runs.values()})
    loss.set_title(f"{recipe}, seed {', '.join(map(str, seeds))}", loc="left", fontsize=11)
    return figure


def networks_macs_figure(records: Records, recipe: str) -> Figure:
    """Top-1, the mean over seeds, against MACs: a point a network, joined over its image sizes."""
    own = [item for item in collect(records, recipe).items() if item[0].fixed]
    split = main_split(key for key, _ in own)
    found = [(key.subnet, list(by_seed.values())) for key, by_seed in own if key.split == split]
    points: Dict[str, List[Tuple[float, float]]] = {}
    for network, rows in found:
        points.setdefault(network, []).append((rows[0]["macs"], mean(row["top1"] for row in rows)))
    seeds = max(len(rows) for _, rows in found)
    unit, name = unit_of(max(macs for some in points.values() for macs, _ in some))
    figure, (axis,) = panels(9, 5.2)
    for i, (network, some) in enumerate(sorted(points.items())):
        axis.plot([macs / unit for macs, _ in sorted(some)], [top1 for _, top1 in sorted(some)], ms=7,
                  mec="white", mew=0.6, lw=1, label=network, **style_of(i))
    axis.set(xlabel=f"MACs ({name})", xscale="log", ylabel=f"top-1, {split} split"
             + (f", mean of {seeds} seeds" if seeds > 1 else ""))
    written_out(axis.xaxis)
    percent(axis, 1)
    beside(axis, len(points))
    axis.set_title(recipe, loc="left", fontsize=11)
    return figure


def style_of(number: int) -> Dict[str, Any]:
    """Colour, marker and dashes of a network by its place in the alphabet: no two of 42 are the same."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)],
            "ls": LINES[number // len(COLOURS) % len(LINES)]}


def beside(axis: Axes, networks: int) -> None:
    """Name the networks beside a panel, in two columns where there are many."""
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8,
                ncols=1 if networks <= 20 else 2)
