"""results/ranking.md: how well a supernet orders the subnets of a file."""

from __future__ import annotations

from typing import Dict, List, Sequence, Tuple

from ...evaluation.statistics import correlations
from .markdown import of_kind, page, table

COMMANDS = {"ranking.md": "python runners/rank.py --weights FILE --subnets FILE"}


ORDERS = {"predicted": "supernet", "parameters": "parameters", "macs": "MACs",
          "numbers": "sum of its numbers"}


def summary(rows: Sequence[dict]) -> List[dict]:
    """A line for each of ORDERS: its correlations with the accuracies that are known."""
    known = [row for row in rows if row["actual"] is not None]
    lines = []
    for key, label in ORDERS.items():
        found = correlations([row[key] for row in known], [row["actual"] for row in known])
        lines.append({"Order by": label, "Subnets": len(known),
                      **{name.capitalize(): f"{value:.3f}" for name, value in found.items()}})
    return lines


def pages(records: Sequence[dict]) -> Dict[str, str]:
    """{"ranking.md": Markdown of all rankings in `records`}, {} where there is none."""
    return page("ranking.md", "How well a supernet orders its subnets", of_kind(records, "rank"), section)


def section(record: dict) -> str:
    """One file of subnets against one supernet."""
    return "\n\n".join([
        f"## `{record['recipe']}`, `{record['name']}`",
        "Accuracies of the file against top-1 of the extracted and calibrated subnets on "
        f"{record['held_out_images']:,} images\nheld out of training, and against what needs no training.",
        table(summary(record["results"]), left=1), f"![Accuracy against prediction]({picture(record)})"])


def picture(record: dict) -> str:
    """The file name of a ranking's picture."""
    return f"ranking-{record['recipe']}-{record['name']}.png"


def figures(records: Sequence[dict]) -> dict:
    """The accuracy of each subnet of a ranking against what orders them, a panel each."""
    from ..plots import scatter_figure
    return {picture(record): scatter_figure(panels(record), "accuracy in the file")
            for record in of_kind(records, "rank")}


def panels(record: dict) -> List[Tuple[str, str, List[float], List[float]]]:
    """(title, label of x, x, y) of each of ORDERS."""
    known = [row for row in record["results"] if row["actual"] is not None]
    lines = {line["Order by"]: line for line in summary(record["results"])}
    return [(f"Kendall {lines[label]['Kendall']}", f"top-1, {label}" if key == "predicted" else label,
             [row[key] for row in known], [row["actual"] for row in known])
            for key, label in ORDERS.items()]
