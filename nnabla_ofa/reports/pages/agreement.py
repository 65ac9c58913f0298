"""results/agreement.md: predictions of accuracy and latency against measurements.

A record (runners/predictor.py, runners/profile.py --check-table) has a row a subnet: image_size,
predicted, measured. The record's "what" says what the two numbers are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict

from ...evaluation.statistics import Agreement, agreement
from ..protocol import Record, Records
from ..selection import of_kind
from .markdown import page, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMANDS = {"agreement.md": "python runners/predictor.py --weights FILE"}


def pages(records: Records) -> Dict[str, str]:
    """{"agreement.md": Markdown of all comparisons in `records`}, {} where there is none."""
    return page("agreement.md", "Predicted against measured", of_kind(records, "agreement"), section)


def of_sizes(record: Record) -> Dict[int, Agreement]:
    """`Agreement` of the rows of each image size."""
    sizes = sorted({row["image_size"] for row in record["results"]})
    return {size: agreement(*([row[key] for row in record["results"] if row["image_size"] == size]
                              for key in ("predicted", "measured"))) for size in sizes}


def section(record: Record) -> str:
    """What was predicted, how well, and the picture."""
    rows = [{"Image size": f"{size} px", "Subnets": own.count, "Kendall tau": f"{own.kendall_tau:.3f}",
             "Root mean square error": f"{own.rmse:.4g}",
             "Mean relative error": f"{own.mean_relative_error:.2%}"}
            for size, own in of_sizes(record).items()]
    parts = [f"## `{record['recipe']}`: {record['stage']}", _what(record), table(rows)]
    if record.get("learning"):
        parts.append(table([{"Subnets measured": line["samples"], "Kendall tau": f"{line['kendall_tau']:.3f}",
                             "Root mean square error": f"{line['rmse']:.4f}"}
                            for line in record["learning"]], left=0))
    return "\n\n".join([*parts, f"![Predicted against measured]({picture(record)})"])


def _what(record: Record) -> str:
    """What was predicted, and by what, in a sentence or two."""
    if record["stage"] == "latency":
        setting = record["setting"]
        return (f"Milliseconds of a batch of {setting['batch_size']} on {setting['threads']} thread(s) "
                f"({setting['processor']}, kernels {setting['kernels']}): the sum of a\nsubnet's operations "
                "in a latency table against the whole network; none of these subnets built the table.")
    return (f"Top-1 on {record['held_out_images']:,} images held out of training. Each subnet is predicted "
            "by a model that has seen four\nfifths of the others (5-fold cross-validation); the second table "
            "is of fewer samples, its Kendall tau the\nmean within an image size.")


def picture(record: Record) -> str:
    """The file name of a record's picture."""
    return f"agreement-{record['recipe']}-{record['name']}.png"


def figures(records: Records) -> Dict[str, Figure]:
    """The scatter of each record."""
    from ..plots.predictions import agreement_figure  # here: see pages/__init__.py
    return {picture(record): agreement_figure(
        [row["predicted"] for row in record["results"]], [row["measured"] for row in record["results"]],
        record["what"], f"{record['recipe']}, {len(record['results'])} subnets")
        for record in of_kind(records, "agreement")}
