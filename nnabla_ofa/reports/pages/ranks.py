"""results/ranks.md: trials of several processes; what was tried, how often, what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict

from ..cells import duration
from ..protocol import Cells, Records, Row
from .markdown import run_facts, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RANKS = "reliability_ranks"  # the "recipe" of such records, as scripts/reliability/ranks.py writes them
# The stages of those records, in the order of the page.
HEADINGS = {"same": "One process or many", "stop2": "One of two ranks fails",
            "stop4": "One of four ranks fails", "refuse": "What must not start", "hosts": "Two hosts",
            "change": "Other numbers of ranks",
            "messages": "Averaging gradients"}
COMMANDS = {"ranks.md": "python scripts/reliability/ranks.py"}


def pages(records: Records) -> Dict[str, str]:
    """{"ranks.md": Markdown}, {} where there is no such record."""
    found = [record for record in records if record["recipe"] == RANKS]
    return {"ranks.md": ranks_page(found)} if found else {}


def figures(records: Records) -> Dict[str, Figure]:
    """No picture belongs to this page."""
    return {}


def ranks_page(records: Records) -> str:
    """A section a trial, and how its record was made."""
    parts = ["# Ranks under mpirun",
             "Each row was tried as often as it says; *lost* counts the tries in which anything else came "
             "out.\nSeconds are those of the slowest try, from the failure until no rank was left."]
    for stage, heading in HEADINGS.items():
        rows = [row for record in records if record["stage"] == stage for row in record["results"]]
        if rows:
            parts += [f"## {heading}", table([_cells(row) for row in rows])]
    return "\n\n".join(parts + [run_facts(records)])


def _cells(row: Row) -> Cells:
    """What one line of a trial's table says."""
    found = {text: times for text, times in row["came_out"].items() if times}
    came_out = "; ".join(f"{text} ({times})" if len(found) > 1 else text for text, times in found.items())
    return {"What": row["what"], "Ranks": row["ranks"], "Tried": row["times"], "Came out": came_out,
            "Lost": row["lost"], "Seconds": duration(row["seconds"]) if "seconds" in row else "-"}
