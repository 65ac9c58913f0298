"""Cells of the tables that sum up a recipe: how its stages were trained, how accurate they became."""

from __future__ import annotations

from statistics import mean
from typing import List

from ..accuracies import Figures, main_split
from ..cells import accuracy, distinct, duration
from ..protocol import Cells, Record, Records, Rows


def training_cells(runs: Records) -> Cells:
    """How one stage was trained: seeds, epochs, learning rate, and the means of time and speed."""
    epochs = [row for run in runs for row in run["history"]]
    return {"Seeds": distinct(run["seed"] for run in runs),
            "Epochs": distinct(len(run["history"]) for run in runs),
            "Learning rate": distinct(f"{base_rate(run):g}" for run in runs if run["history"]),
            "Time": duration(mean(run["seconds"] for run in runs)),
            "Images/s": f"{mean(row['images_per_second'] for row in epochs):,.0f}" if epochs else "-"}


def base_rate(run: Record) -> float:
    """The stage's learning rate in the recipe, before its schedule; else that of the first epoch."""
    rates = {stage["name"]: stage["lr"] for stage in run["settings"].get("stages", ())}
    return rates.get(run["stage"], run["history"][0]["lr"])


def by_macs(found: Figures, stage: str) -> List[Rows]:
    """The rows, one a seed, of one stage's subnets at its largest image size on its main split.

    Sorted by MACs. Empty where the stage has no accuracies.
    """
    own = [key for key in found if key.stage == stage]
    own = [key for key in own if key.split == main_split(own)]
    size = max((key.image_size for key in own), default=None)
    return sorted((list(found[key].values()) for key in own if key.image_size == size),
                  key=lambda rows: rows[0]["macs"])


def extremes(found: Figures, stage: str) -> Cells:
    """Top-1 of one stage's validated subnets of most and of fewest MACs."""
    subnets = by_macs(found, stage) or [[]]
    return {"Top-1, full network": accuracy([row["top1"] for row in subnets[-1]]),
            "Top-1, smallest subnet": accuracy([row["top1"] for row in subnets[0]])}
