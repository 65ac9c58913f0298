"""results/ranking.md: how well a supernet orders the subnets of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict

from ...evaluation.statistics import correlations
from ..protocol import Record, Records, Rows, Table
from ..selection import of_kind
from .markdown import page, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMANDS = {"ranking.md": "python runners/rank.py --weights FILE --subnets FILE"}
# What subnets are ordered by: {key of a row: what to call it}.
ORDERS = {"predicted": "supernet", "parameters": "parameters", "macs": "MACs",
          "numbers": "sum of its numbers"}


def summary(rows: Rows) -> Table:
    """A line for each of ORDERS: its correlations with the accuracies of the file, where it has them."""
    known = [row for row in rows if row["actual"] is not None]
    lines = []
    for key, label in ORDERS.items():
        found = correlations([row[key] for row in known], [row["actual"] for row in known])
        lines.append({"Order by": label, "Subnets": len(known),
                      **{name.capitalize(): f"{value:.3f}" for name, value in found.items()}})
    return lines


def pages(records: Records) -> Dict[str, str]:
    """{"ranking.md": Markdown of all rankings in `records`}, {} where there is none."""
    return page("ranking.md", "How well a supernet orders its subnets", of_kind(records, "rank"), section)


def section(record: Record) -> str:
    """One file of subnets against one supernet."""
    return "\n\n".join([
        f"## `{record['recipe']}`, `{record['name']}`",
        "Accuracies of the file against top-1 of the extracted and calibrated subnets on "
        f"{record['held_out_images']:,} images\nheld out of training, and against what needs no training.",
        table(summary(record["results"]), left=1), f"![Accuracy against prediction]({picture(record)})"])


def picture(record: Record) -> str:
    """The file name of a ranking's picture."""
    return f"ranking-{record['recipe']}-{record['name']}.png"


def figures(records: Records) -> Dict[str, Figure]:
    """The picture of each ranking."""
    return {picture(record): scatter(record) for record in of_kind(records, "rank")}


def scatter(record: Record) -> Figure:
    """The accuracy of each subnet against what orders them, a panel for each of ORDERS."""
    from ..plots.scatter import Panel, scatter_figure  # here: see pages/__init__.py
    known = [row for row in record["results"] if row["actual"] is not None]
    lines = {line["Order by"]: line for line in summary(record["results"])}
    return scatter_figure(
        [Panel(f"Kendall {lines[label]['Kendall']}", f"top-1, {label}" if key == "predicted" else label,
               [row[key] for row in known], [row["actual"] for row in known])
         for key, label in ORDERS.items()], "accuracy in the file")
