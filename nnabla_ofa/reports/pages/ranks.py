"""The page of trials (records of kind "reliability"): what was tried, how often, what came of it."""

from __future__ import annotations

from typing import Dict, Sequence

from .markdown import duration, run_facts, table

RANKS = "reliability_ranks"  # the "recipe" of such records, as scripts/reliability/ranks.py writes them
HEADINGS = {"same": "One process or many", "stop2": "One of two ranks fails",
            "stop4": "One of four ranks fails", "refuse": "What must not start", "hosts": "Two hosts",
            "messages": "Averaging gradients"}
COMMANDS = {"ranks.md": "python scripts/reliability/ranks.py PIECE"}


def pages(records: Sequence[dict]) -> Dict[str, str]:
    """{path relative to the results folder: Markdown}; none where there are no such records."""
    found = [record for record in records if record["recipe"] == RANKS]
    return {"ranks.md": ranks_page(found)} if found else {}


def ranks_page(records: Sequence[dict]) -> str:
    """results/ranks.md: a section a trial, and how its record was made."""
    parts = ["# Ranks under mpirun",
             "Each row was tried as often as it says; *lost* counts the tries in which anything else came "
             "out.\nSeconds are those of the slowest try, from the failure until no rank was left."]
    for stage, heading in HEADINGS.items():
        rows = [row for record in records if record["stage"] == stage for row in record["results"]]
        if rows:
            parts += [f"## {heading}", table([_cells(row) for row in rows])]
    return "\n\n".join(parts + [run_facts(records)])


def _cells(row: dict) -> dict:
    came_out = "; ".join(f"{text} ({times})" if len(row["came_out"]) > 1 else text
                         for text, times in row["came_out"].items())
    return {"What": row["what"], "Ranks": row["ranks"], "Tried": row["times"], "Came out": came_out,
            "Lost": row["lost"], "Seconds": duration(row["seconds"]) if "seconds" in row else "-"}
