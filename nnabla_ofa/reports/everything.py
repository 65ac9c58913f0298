"""Every network that was trained on all of a data set: where it stands, and how it was trained.

A supernet's subnets are those of its last stage, of searches on it, and as they are extracted. Networks
trained alone are the full network of its first stage, subnets from new weights, and fixed networks.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Tuple

from .accuracies import KINDS, Key, collect, of_recipe
from .protocol import Record, Records, Row

WITHIN, ALONE, TUNED = "in the supernet", "alone", "fine-tuned"
OF_WHEN = {"before": WITHIN, "after": TUNED, "scratch": ALONE}


class Place(NamedTuple):
    """One network of one recipe, trained in one way.

    Args:
        recipe: Its name.
        how: WITHIN, ALONE or TUNED.
        network: Its canonical name.
        fixed: Whether it is one of the zoo.
        rows: Its results on the test images of the largest size, one a seed.
    """

    recipe: str
    how: str
    network: str
    fixed: bool
    rows: Tuple[Row, ...]


def places(records: Records, data: str) -> List[Place]:
    """The networks of all recipes whose names end with the data set's, such as "cifar10", or name it within.

    Recipes on a part of the training images are left out; of a network with several results of one kind the
    first counts.
    """
    found: Dict[Tuple[str, str, str], Place] = {}
    for recipe in sorted({record["recipe"] for record in records if record["kind"] in KINDS}):
        runs = [record for record in of_recipe(records, recipe, *KINDS) if data in recipe.split("_")
                and not record.get("settings", {}).get("data", {}).get("train_images")]
        figures = {key: rows for key, rows in collect(runs, recipe).items() if key.split == "test"}
        size = max((key.image_size for key in figures), default=0)
        for key, rows in figures.items():
            how = way(key, runs)
            if how and key.image_size == size:
                place = Place(recipe, how, key.subnet, key.fixed, tuple(rows.values()))
                found.setdefault((recipe, how, key.subnet), place)
    return list(found.values())


def way(key: Key, runs: Records) -> Optional[str]:
    """How the network of a key was trained; None: it is one of a stage that others followed."""
    if key.fixed:
        return ALONE
    if key.when:
        return OF_WHEN[key.when]
    if key.stage == "search":
        return WITHIN
    first, last = ends(runs)
    return ALONE if key.stage == first else WITHIN if key.stage == last else None


def ends(runs: Records) -> Tuple[str, str]:
    """The names of the first and of the last stage that was trained, as the recipe orders them."""
    stages = [record["stage"] for record in runs if record["kind"] == "train"]
    for record in runs:
        order = [stage["name"] for stage in record.get("settings", {}).get("stages", ())]
        known = [name for name in order if name in stages]
        if known:
            return known[0], known[-1]
    return (stages[0], stages[-1]) if stages else ("", "")


def front(points: List[Tuple[float, float]]) -> List[Tuple[float, float]]:
    """The (cost, top-1) that no other one beats in both, by cost."""
    best: List[Tuple[float, float]] = []
    for cost, top1 in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or top1 > best[-1][1]:
            best.append((cost, top1))
    return best


def run_alone(records: Records, place: Place) -> Optional[Record]:
    """The record of a network that was trained alone; None where there is none."""
    runs = of_recipe(records, place.recipe, "train", "finetune")
    first, _ = ends(runs)

    def is_it(record: Record) -> bool:
        alone = record["stage"] == first if record["kind"] == "train" else any(
            row.get("when") == "scratch" for row in record["results"])
        return alone and any(row["canonical"] == place.network for row in record["results"])
    return next((record for record in runs if is_it(record)), None)
