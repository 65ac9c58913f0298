"""results/cifar10.md: every network trained on CIFAR-10 here in one picture; subnets alone and in a supernet.
"""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING, Dict, List

from ..accuracies import is_fixed
from ..cells import accuracy, count, duration
from ..everything import ALONE, TUNED, WITHIN, Place, front, places, run_alone
from ..protocol import Cells, Records, Table
from ..selection import of_kind
from .markdown import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMANDS: Dict[str, str] = {}  # the commands are on the recipes' pages
DATA, TITLE = "cifar10", "CIFAR-10"
PICTURE = f"{DATA}-accuracy-macs.png"
PICTURE_IN_RESULTS = f"results/{PICTURE}"  # as README.md finds it


def pages(records: Records) -> Dict[str, str]:
    """The page, {} where nothing was trained on the data."""
    found = places(records, DATA)
    if not found:
        return {}
    parts = [f"# {TITLE}: every network trained here", _NOTE,
             f"![Top-1 against MACs of everything trained here]({PICTURE})",
             "## The best for their operations", table(best(found), left=3), *shared(records, found)]
    return {f"{DATA}.md": "\n\n".join(parts)}


_NOTE = f"""Top-1 on the test images of {TITLE}. Each training saw all training images but those held out for
choosing; [a page a recipe](README.md) says how and on which machine. A supernet's subnets share one
training."""


def best(found: List[Place]) -> Table:
    """A row a network that no other one beats in MACs and top-1."""
    kept = front([of(place) for place in found])
    return [{"Recipe": f"`{place.recipe}`", "Network": place.rows[0]["short"], "Trained": place.how,
             "Parameters": count(place.rows[0]["parameters"]), "MACs": count(place.rows[0]["macs"]),
             "Top-1": accuracy([row["top1"] for row in place.rows])}
            for place in sorted(found, key=of) if of(place) in kept]


def of(place: Place) -> "tuple[float, float]":
    """MACs, and the mean top-1 over seeds."""
    return float(place.rows[0]["macs"]), mean(row["top1"] for row in place.rows)


def shared(records: Records, found: List[Place]) -> List[str]:
    """What Once-for-All saves: networks that were trained alone, too, and how long both took."""
    parts = []
    for recipe in dict.fromkeys(place.recipe for place in found):
        by_way = {how: {p.network: p for p in found if (p.recipe, p.how) == (recipe, how)}
                  for how in (WITHIN, TUNED, ALONE)}
        both = [p for network, p in by_way[WITHIN].items() if network in by_way[ALONE]]
        if both:
            parts += [f"## `{recipe}`: alone and in the supernet",
                      table([line(records, place, by_way) for place in sorted(both, key=of)]),
                      hours(records, recipe, [by_way[ALONE][place.network] for place in both])]
    return parts


def line(records: Records, place: Place, by_way: "Dict[str, Dict[str, Place]]") -> Cells:
    """One subnet in both ways; the difference in points."""
    alone, tuned = by_way[ALONE][place.network], by_way[TUNED].get(place.network)
    run = run_alone(records, alone)
    return {"Subnet": place.rows[0]["short"], "MACs": count(place.rows[0]["macs"]),
            "Top-1, in the supernet": accuracy([row["top1"] for row in place.rows]),
            "Top-1, fine-tuned": accuracy([row["top1"] for row in tuned.rows]) if tuned else "-",
            "Top-1, alone": accuracy([row["top1"] for row in alone.rows]),
            "Points lost by sharing": f"{100 * (of(alone)[1] - of(place)[1]):.2f}",
            "Epochs alone": len(run["history"]) if run else "-",
            "Training alone": duration(run["seconds"]) if run else "-"}


def hours(records: Records, recipe: str, alone: List[Place]) -> str:
    """How long all stages of the supernet took, and how long the networks alone."""
    trained = [record for record in of_kind(records, "train")
               if record["recipe"] == recipe and not is_fixed(record)]
    by_stage = {record["stage"]: float(record["seconds"]) for record in trained}
    found = (run_alone(records, place) for place in alone)
    took = [float(run["seconds"]) for run in found if run]
    return (f"The supernet's stages took {duration(sum(by_stage.values()))} for all of its subnets. These "
            f"{len(took)} networks alone took\n{duration(sum(took))}, {duration(mean(took))} each."
            ) if took else "How long the networks alone took is not recorded."


def figures(records: Records) -> Dict[str, Figure]:
    """The picture of the page."""
    from ..plots.everything import everything_figure  # here: see pages/__init__.py
    found = places(records, DATA)
    return {PICTURE: everything_figure(found, TITLE)} if found else {}
