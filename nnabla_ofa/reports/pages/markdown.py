"""What Markdown pages are put together from: tables, and how runs were made."""

from __future__ import annotations

from typing import Any, Callable, Dict, Sequence

from ...data.datasets import printable
from ..cells import distinct, duration, made_on
from ..protocol import Cells, Record, Records

# What begins a tag, ends a code span, and makes a link, as entities.
_MARKUP = {"<": "&lt;", "`": "&#96;", "](": "]&#40;"}


def harmless(value: Any) -> Any:
    """Records whose texts stay plain text in a page, whoever wrote them: no tag, link or line break."""
    if isinstance(value, dict):
        return {harmless(key): harmless(item) for key, item in value.items()}
    if isinstance(value, list):
        return [harmless(item) for item in value]
    if isinstance(value, str):
        for mark, entity in _MARKUP.items():
            value = value.replace(mark, entity)
        return printable(value)
    return value


def table(rows: Sequence[Cells], left: int = 1) -> str:
    """A Markdown table; its first `left` columns are left-aligned.

    A column of nothing but "-" is left out, unless its title begins with "Top-1". Cells are not padded, as
    packages for tables do: one figure that grows would change every line of its table in git.
    """
    columns = [column for column in rows[0]
               if column.startswith("Top-1") or any(row[column] != "-" for row in rows)]
    lines = [columns, [":--" if i < left else "--:" for i in range(len(columns))]]
    lines += [[str(row[column]).replace("|", "\\|") for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def page(file: str, title: str, records: Records, section: Callable[[Record], str]) -> Dict[str, str]:
    """A page that has a section a record.

    Args:
        file: Its name.
        title: Its first line.
        records: What it is of.
        section: Makes the Markdown of one record.

    Returns:
        {file: Markdown}, with a table of the runs first. Empty without records.
    """
    if not records:
        return {}
    return {file: "\n\n".join([f"# {title}", run_facts(records), *map(section, records)])}


def run_facts(runs: Records) -> str:
    """A row a run; machines, versions and commands, which runs share, once each below it."""
    places: Dict[str, int] = {}
    rows = []
    for record in runs:
        place = made_on(record)
        named = record["space"] and record["space"] != record.get("stage")  # a fixed network's are one name
        rows.append({
            "Run": " ".join(dict.fromkeys([record["kind"], record.get("name") or record["stage"]])),
            "Space": f"`{record['space']}`" if named else "-",
            "Seed": record["seed"], "Ranks": record["ranks"],
            "Time": duration(record["seconds"]), "Date": record["date"],
            "Commit": f"`{record['commit']}`" if record["commit"] else "none",
            "Made on": f"[{places.setdefault(place, len(places) + 1)}]"})
    return "\n\n".join(["## Runs", table(rows, left=2 if any(row["Space"] != "-" for row in rows) else 1),
                        "\n".join(f"- [{number}] {place}" for place, number in places.items()),
                        commands_of(runs)])


def benchmark_facts(record: Record) -> str:
    """Machine, versions, commits, dates and command of a benchmark whose rows were not all made at once."""
    commits = distinct(f"`{row['commit']}`" for row in record["results"])
    dates = distinct(row["date"] for row in record["results"])
    return f"{made_on(record)}; commit {commits}, {dates}.\n\n{commands_of([record])}"


def commands_of(runs: Records) -> str:
    """The commands of some runs, each once."""
    return "```\n" + "\n".join(dict.fromkeys(record["command"] for record in runs)) + "\n```"
