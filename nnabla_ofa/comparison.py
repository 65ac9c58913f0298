"""Does searching pay? Fronts of several methods and seeds at equal budget, as numbers and a page.

A comparison's record (benchmarks/search.py) has a row a subnet of each front: method, search_seed,
costs, top-1 on the held-out images that the front was chosen by, and on the test images. All that
the page says is computed from these rows.
"""

from __future__ import annotations

from statistics import mean, stdev
from typing import Callable, Dict, List, Sequence, Tuple

import numpy as np
from pymoo.indicators.hv import Hypervolume

from .problem import UNITS
from .tables import run_facts, table

SPLITS = {"valid_top1": "held-out", "top1": "test"}
LABELS = {"nsga2": "NSGA-II", "random": "random search", "validated": "validated by hand"}


def fronts(rows: Sequence[dict]) -> Dict[Tuple[str, object], List[dict]]:
    """Rows by (method, search seed)."""
    found: Dict[Tuple[str, object], List[dict]] = {}
    for row in rows:
        found.setdefault((row["method"], row["search_seed"]), []).append(row)
    return found


def hypervolume(points: Sequence[Tuple[float, float]], ideal: Tuple[float, float],
                reference: Tuple[float, float]) -> float:
    """Share of the box between two (cost, top-1) corners that `points` dominate, in 0..1."""
    low, high = np.array([ideal, reference]) * [1, -1]
    scaled = (np.array(points) * [1, -1] - low) / (high - low)
    return float(Hypervolume(ref_point=np.ones(2))(scaled))


def hypervolumes(record: dict, top1: str) -> Dict[Tuple[str, object], float]:
    """Of every front of a record on the split that `top1` (a key of SPLITS) names.

    The box: from the smallest subnet's cost and 100% to the largest's and the lowest top-1 in the record.
    """
    asked, rows = record["search"], record["results"]
    smallest, largest = asked["cost_range"]
    corners = (smallest, 1.0), (largest, min(row[top1] for row in rows))
    return {key: hypervolume([(row[asked["objective"]], row[top1]) for row in front], *corners)
            for key, front in fronts(rows).items()}


def beaten(front: Sequence[dict], others: Sequence[dict], cost: str, top1: str) -> float:
    """Share of `others` that some subnet of the front equals or beats in both cost and top-1."""
    return mean(any(one[cost] <= other[cost] and one[top1] >= other[top1] for one in front)
                for other in others)


def compared(records: Sequence[dict]) -> List[dict]:
    """The records that are comparisons."""
    return [record for record in records if record["kind"] == "benchmark" and record.get("name") == "search"]


def page(records: Sequence[dict]) -> str:
    """Markdown of all comparisons in `records`; "" where there is none."""
    found = compared(records)
    return "\n\n".join(["# Search against random draws and hand-made subnets", run_facts(found)]
                       + [section(record) for record in found]) if found else ""


def section(record: dict) -> str:
    """One recipe: what was compared, a row a method, a row a seed, the picture."""
    asked, rows = record["search"], record["results"]
    cost, found = asked["objective"], fronts(record["results"])
    by_hand = found.get(("validated", None), [])
    volumes = {top1: hypervolumes(record, top1) for top1 in SPLITS}
    methods = list(dict.fromkeys(method for method, _ in found))

    def cell(method: str, value: Callable) -> str:
        return spread([value(key) for key in found if key[0] == method])

    lines = []
    for method in methods:
        line = {"Front of": LABELS.get(method, method),
                "Subnets on it": cell(method, lambda key: len(found[key]))}
        for top1, split in SPLITS.items():
            line[f"Hypervolume, {split}"] = cell(method, lambda key: volumes[top1][key])
            if by_hand and method != "validated":
                line[f"Hand-made ones beaten, {split}"] = cell(
                    method, lambda key: beaten(found[key], by_hand, cost, top1))
            else:
                line[f"Hand-made ones beaten, {split}"] = "-"
        lines.append(line)
    images = f"{asked['held_out_images']:,} held-out and {rows[0]['images']:,} test images"
    return "\n\n".join([
        f"## `{record['recipe']}`",
        f"Each search tried {asked['count']} distinct subnets of `{record['space']}` at "
        f"{asked['image_size']} pixels and kept\nthose that no other one beats in {UNITS[cost]} and top-1 "
        f"on the held-out images; only these were evaluated on the\ntest images ({images}). Hypervolume is "
        "the share of the box from the smallest subnet's cost and 100%\nto the largest's and the lowest "
        "top-1 in this record that a front dominates. Mean ± standard deviation over\n"
        f"seeds; n is {len([key for key in found if key[0] == methods[0]])}.",
        table(lines), "Seed by seed:", table(by_seed(found, volumes)), verdict(volumes),
        f"![Fronts of every seed]({picture(record)})"])


def by_seed(found: dict, volumes: dict) -> List[dict]:
    """A row a search seed: hypervolumes of each method's front."""
    seeds = list(dict.fromkeys(seed for _, seed in found if seed is not None))
    methods = list(dict.fromkeys(method for method, seed in found if seed is not None))
    return [{"Search seed": seed, **{f"{LABELS.get(method, method)}, {split}":
                                     f"{volumes[top1][method, seed]:.4f}"
                                     for top1, split in SPLITS.items() for method in methods}}
            for seed in seeds]


def verdict(volumes: dict) -> str:
    """How often NSGA-II's hypervolume is the larger one, in a sentence."""
    parts = []
    for top1, split in SPLITS.items():
        seeds = [seed for method, seed in volumes[top1] if method == "nsga2"]
        wins = sum(volumes[top1]["nsga2", seed] > volumes[top1]["random", seed] for seed in seeds)
        parts.append(f"in {wins} of {len(seeds)} seeds on the {split} images")
    return f"NSGA-II's front has the larger hypervolume than random search's {' and '.join(parts)}."


def spread(values: Sequence[float]) -> str:
    """"0.61 ± 0.02" of several, "0.61" of one."""
    digits = 1 if all(isinstance(value, int) for value in values) else 4
    if len(values) == 1:
        return f"{values[0]:.{0 if digits == 1 else digits}f}"
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def picture(record: dict) -> str:
    """The file name of a comparison's picture (plots.py)."""
    return f"search-{record['recipe']}.png"
