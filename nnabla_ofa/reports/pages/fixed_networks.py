"""The part of a recipe's page that is about fixed networks, each trained alone in a stage of its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List

from ..accuracies import Figures, collect, is_fixed, of_recipe
from ..cells import accuracy
from ..protocol import Records, Rows
from .accuracy_tables import by_split
from .markdown import table
from .summaries import by_macs, training_cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pictures(records: Records, recipe: str) -> Dict[str, str]:
    """{file name: caption} of the pictures that the records of one recipe's networks are enough for."""
    names = {}
    if any(run["history"] and is_fixed(run) for run in of_recipe(records, recipe, "train")):
        names[f"{recipe}-networks-epochs.png"] = "Loss and held-out accuracy over epochs, a line a network"
    if any(key.fixed for key in collect(records, recipe)):
        names[f"{recipe}-networks-macs.png"] = "Accuracy against MACs of the networks"
    return names


def figures(records: Records, recipe: str) -> Dict[str, Figure]:
    """Those pictures."""
    from ..plots.networks import networks_epochs_figure, networks_macs_figure  # here: see pages/__init__.py
    makers = {f"{recipe}-networks-epochs.png": networks_epochs_figure,
              f"{recipe}-networks-macs.png": networks_macs_figure}
    return {name: makers[name](records, recipe) for name in pictures(records, recipe)}


def names(found: Figures) -> List[str]:
    """The networks, by their MACs at their largest image size."""
    return sorted({key.subnet for key in found if key.fixed},
                  key=lambda name: (by_macs(found, name)[0][0]["macs"], name))


def summary(trained: Records, found: Figures) -> str:
    """A row a network: how long, how fast (means over seeds), how accurate."""
    order = names(found)
    stages = sorted({run["stage"] for run in trained},
                    key=lambda name: (order.index(name) if name in order else len(order), name))
    rows = []
    for name in stages:
        best = by_macs(found, name) or [[]]
        runs = [run for run in trained if run["stage"] == name]
        rows.append({"Network": f"`{name}`", **training_cells(runs),
                     "Top-1": accuracy([row["top1"] for row in best[0]])})
    return "\n\n".join([
        "## Summary", table(rows),
        "Each network was trained alone, from new weights. Top-1 is at the largest image size, on the test "
        "split where\nit was evaluated."]) if rows else ""


def section(found: Figures, published: Rows) -> str:
    """A row a network, by MACs: costs and accuracies at each image size, a table a split."""
    order = names(found)
    own = sorted((key for key in found if key.fixed), key=lambda key: order.index(key.subnet))
    theirs = [row for row in published if row["stage"] == row["canonical"]]
    if not own and not theirs:
        return ""
    return "\n\n".join(["## Networks", *by_split({key: found[key] for key in own}, theirs, "Network")])
