"""The part of a page that repeats a published table of fixed networks: costs and times here, top-1 of both.

benchmarks/zoo.py measures the costs and times; results/published/zoo/ has the tables.
"""

from __future__ import annotations

from typing import Dict, List, Sequence

from ..accuracies import Figures, collect, main_split
from ..cells import accuracy, count
from ..protocol import Cells, Record, Records, Row, Rows
from ..selection import of_kind
from .markdown import benchmark_facts, table

RECIPE = "benchmark_zoo"
OWN = ("network", "label", "top1", "note")  # columns of a published table that have places of their own
# Of a table that has no recipe of its name, the recipes that train its networks.
TRAINED_BY = {"imagenet_baselines": ("pycls_imagenet", "xception299_imagenet")}


def tables_of(records: Records) -> Dict[str, Rows]:
    """{name: rows} of the published tables among the records."""
    return {record["recipe"]: record["results"] for record in of_kind(records, "published networks")}


def as_records(tables: Sequence[Sequence]) -> List[Record]:
    """The tables of `published.read_baselines` as records."""
    return [{"kind": "published networks", "recipe": name, "stage": "", "results": rows}
            for name, rows in tables]


def section(records: Records, name: str) -> str:
    """The published table of a name, with our figures; "" where there is none, or nothing was measured."""
    published = tables_of(records).get(name)
    measured = [r for r in of_kind(records, "benchmark", name) if r["recipe"] == RECIPE]
    if not published or not measured:
        return ""
    costs = {row["network"]: row for record in measured for row in record["results"]}
    ours: Dict[str, List[float]] = {}
    for recipe in TRAINED_BY.get(name, (name,)):
        for network, top1 in best(collect(records, recipe)).items():
            ours.setdefault(network, []).extend(top1)
    rows = [line(row, costs.get(row["network"], {}), ours.get(row["network"], [])) for row in published]
    return "\n\n".join([
        "## The published table, and the same networks here", table(rows),
        "Parameters, MACs and activations are those of the networks here. The time of 64 images is that\n"
        "of an evaluation on this machine; hours of training are extrapolated from training steps of one\n"
        "batch, without reading images, to the recipe's epochs. The other columns are as they were printed.",
        benchmark_facts(measured[0])])


def best(found: Figures) -> Dict[str, List[float]]:
    """Of each fixed network top-1 at its largest image size on the main split, one a seed."""
    split, tops = main_split(found), {}
    for key in sorted((key for key in found if key.fixed and key.split == split),
                      key=lambda key: key.image_size):
        tops[key.subnet] = [row["top1"] for row in found[key].values()]
    return tops


def line(published: Row, cost: Row, top1: Sequence[float]) -> Cells:
    """One line of the table."""
    hours = cost.get("training_hours")
    return {"Published as": published["label"], "Network": f"`{published['network']}`",
            "Parameters": count(cost.get("parameters")), "MACs": count(cost.get("macs")),
            "Activations": count(cost.get("activations")),
            "64 images, ms": f"{cost['ms_64']:,.0f}" if cost else "-",
            "Training, hours (extrapolated)": "-" if hours is None else f"{hours:,.0f}",
            "Top-1 here": accuracy(list(top1)), "Top-1 published": published["top1"],
            **{key: value or "-" for key, value in published.items() if key not in OWN},
            "Note": published["note"] or "-"}
