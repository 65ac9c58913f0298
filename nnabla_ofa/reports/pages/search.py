"""Does searching pay? Fronts of several methods and seeds at equal budget, as numbers and a page.

A comparison's record (benchmarks/search.py) has a row a subnet: method, search_seed, costs, top-1 on
the held-out images that chose it, and on the test images. Hand-made subnets are rows of the method
"validated" without a seed, chosen from like a search's. All that the page says is computed from rows.
"""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from pymoo.indicators.hv import Hypervolume

from ...evaluation.statistics import front
from ...system.record_rules import UNITS
from ..cells import spread
from ..protocol import Record, Records, Row, Rows, Table
from ..selection import of_kind
from .markdown import page, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMANDS = {"search.md": "python benchmarks/search.py --weights FILE"}
SPLITS = {"valid_top1": "held-out", "top1": "test"}
LABELS = {"nsga2": "NSGA-II", "random": "random search", "validated": "hand-made subnets"}


class Search(NamedTuple):
    """One search: its method, and its seed, which hand-made subnets do not have."""

    method: str
    seed: Optional[int]


def fronts(record: Record) -> Dict[Search, List[Row]]:
    """For every method and seed the rows that no other one of its own beats on the held-out images."""
    runs: Dict[Search, List[Row]] = {}
    for row in record["results"]:
        runs.setdefault(Search(row["method"], row["search_seed"]), []).append(row)
    cost = record["search"]["objective"]
    return {key: front(rows, lambda row: row[cost], lambda row: row["valid_top1"])
            for key, rows in runs.items()}


def hypervolume(points: Sequence[Tuple[float, float]], ideal: Tuple[float, float],
                reference: Tuple[float, float]) -> float:
    """Share of a box that points dominate, in 0..1.

    Args:
        points: (cost, top-1) each.
        ideal: The corner of least cost and most top-1.
        reference: The corner opposite.
    """
    low, high = np.array([ideal, reference]) * [1, -1]
    scaled = (np.array(points) * [1, -1] - low) / (high - low)
    return float(Hypervolume(ref_point=np.ones(2))(scaled))


def hypervolumes(record: Record, top1: str) -> Dict[Search, float]:
    """The hypervolume of every front, on the split that `top1` (a key of SPLITS) names.

    The box: from the smallest subnet's cost and 100% to the largest's and the record's lowest top-1.
    """
    asked = record["search"]
    smallest, largest = asked["cost_range"]
    corners = (smallest, 1.0), (largest, min(row[top1] for row in record["results"]))
    return {key: hypervolume([(row[asked["objective"]], row[top1]) for row in rows], *corners)
            for key, rows in fronts(record).items()}


def beaten(rows: Rows, others: Rows, cost: str, top1: str) -> float:
    """Share of some subnets that others equal or beat in both cost and top-1, in 0..1.

    Args:
        rows: The subnets that may beat.
        others: Those that may be beaten.
        cost, top1: Keys of a row.
    """
    return mean(any(row[cost] <= other[cost] and row[top1] >= other[top1] for row in rows)
                for other in others)


def figures(records: Records) -> Dict[str, Figure]:
    """The fronts of each comparison, every method and seed, on the images they were chosen by."""
    from ..plots.fronts import front_figure  # here: see pages/__init__.py
    return {picture(record): front_figure(points(record), {}, record["search"]["objective"],
                                          "held-out images")
            for record in of_kind(records, "benchmark", "search")}


def points(record: Record) -> Dict[str, List[List[Tuple[float, float]]]]:
    """(cost, held-out top-1) of the fronts, by the label of their method."""
    cost = record["search"]["objective"]
    lines: Dict[str, List[List[Tuple[float, float]]]] = {}
    for (method, _), rows in fronts(record).items():
        lines.setdefault(LABELS.get(method, method), []).append(
            [(row[cost], row["valid_top1"]) for row in rows])
    return lines


# The page ----------------------------------------------------------------------------------------

def pages(records: Records) -> Dict[str, str]:
    """{"search.md": Markdown of all comparisons in `records`}, {} where there is none."""
    return page("search.md", "Search against random draws and hand-made subnets",
                of_kind(records, "benchmark", "search"), section)


def section(record: Record) -> str:
    """One recipe: what was compared, a row a method, a row a seed, the picture."""
    asked, results = record["search"], record["results"]
    kept = (f"{asked['evaluated_before']} of the {asked['evaluated']} different subnets had been evaluated "
            "before the time above began, by\nthis command when it was interrupted or by other searches."
            if asked["evaluated_before"] else "All subnets were evaluated in the time above.")
    noise = [standard_error(results, top1, images) for top1, images in
             (("valid_top1", asked["held_out_images"]), ("top1", results[0]["images"]))]
    return "\n\n".join([
        f"## `{record['recipe']}`",
        f"Each search tried {asked['count']} distinct subnets of `{record['space']}` at "
        f"{asked['image_size']} pixels. A front are those\nthat no other one tried beats in "
        f"{UNITS[asked['objective']]} and in top-1 on the {asked['held_out_images']:,} held-out images; the "
        f"{results[0]['images']:,} test images\nchose nothing. Hypervolume is the share of a box that a "
        "front dominates: from the smallest subnet's\ncost and 100% to the largest's and the lowest top-1 "
        "in the record. Mean ± standard deviation over\n"
        f"the seeds. {kept}",
        f"A single top-1 has a standard error of {noise[0]:.1%} on the held-out and {noise[1]:.1%} on the "
        "test images: a search\nthat looks at many subnets also picks lucky ones, so that its front loses "
        "on the test images.",
        table(by_method(record)), table(by_seed(record)), verdict(record),
        f"![Fronts of every seed]({picture(record)})"])


def standard_error(rows: Rows, top1: str, images: int) -> float:
    """The standard error of a typical top-1.

    Args:
        rows: Whose mean is typical.
        top1: A key of a row.
        images: How many it was counted on.
    """
    share = mean(row[top1] for row in rows)
    return (share * (1 - share) / images) ** 0.5


def by_method(record: Record) -> Table:
    """A row a method: how large its fronts are, their hypervolumes, how many hand-made subnets they beat."""
    found, cost = fronts(record), record["search"]["objective"]
    by_hand = [row for row in record["results"] if row["method"] == "validated"]
    lines = []
    for method in dict.fromkeys(method for method, _ in found):
        own = [key for key in found if key.method == method]
        line = {"Front of": LABELS.get(method, method),
                "Seeds": len(own), "Subnets": spread([len(found[key]) for key in own], 1)}
        for top1, split in SPLITS.items():
            volumes = hypervolumes(record, top1)
            line[f"Hypervolume, {split}"] = spread([volumes[key] for key in own], 4)
            line[f"Hand-made ones equalled or beaten, {split}"] = "-" if method == "validated" else spread(
                [100 * beaten(found[key], by_hand, cost, top1) for key in own], 0) + "%"
        lines.append(line)
    return lines


def by_seed(record: Record) -> Table:
    """A row a search seed: hypervolumes of each method's front."""
    volumes = {split: hypervolumes(record, top1) for top1, split in SPLITS.items()}
    seeds = dict.fromkeys(seed for _, seed in fronts(record) if seed is not None)
    return [{"Search seed": seed,
             **{f"{LABELS.get(method, method)}, {split}": f"{volume:.4f}"
                for split, own in volumes.items() for (method, of), volume in own.items() if of == seed}}
            for seed in seeds]


def wins(record: Record, top1: str) -> List[bool]:
    """Whether NSGA-II's hypervolume is larger than random search's, for each seed; see `hypervolumes`."""
    volumes = hypervolumes(record, top1)
    return [volumes[key] > volumes[Search("random", key.seed)] for key in volumes if key.method == "nsga2"]


def verdict(record: Record) -> str:
    """How often NSGA-II's hypervolume is the larger one, in a sentence."""
    found = {split: wins(record, top1) for top1, split in SPLITS.items()}
    parts = [f"in {sum(won)} of {len(won)} seeds on the {split} images" for split, won in found.items()]
    return f"NSGA-II's front has a larger hypervolume than random search's {' and '.join(parts)}."


def picture(record: Record) -> str:
    """The file name of a comparison's picture."""
    return f"search-{record['recipe']}.png"
