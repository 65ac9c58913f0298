"""What pages are put together from: tables, cells, how runs were made. "-" is what is not there."""

from __future__ import annotations

from statistics import mean, stdev
from typing import Callable, Dict, List, Optional, Sequence


def table(rows: Sequence[dict], left: int = 1) -> str:
    """A Markdown table of {column: cell}; the first `left` columns left-aligned.

    A column of nothing but "-" is left out, unless it is a top-1 column of ours.
    """
    columns = [column for column in rows[0]
               if column.startswith("Top-1") or any(row[column] != "-" for row in rows)]
    lines = [columns, [":--" if i < left else "--:" for i in range(len(columns))]]
    lines += [[str(row[column]) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def accuracy(values: Sequence[float]) -> str:
    """"0.6512", or "0.6512 ± 0.0031 (n=3)" (sample standard deviation), or "-" of no values."""
    if len(values) < 2:
        return f"{values[0]:.4f}" if values else "-"
    return f"{mean(values):.4f} ± {stdev(values):.4f} (n={len(values)})"


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and sample standard deviation, "0.61 ± 0.02"; one value alone."""
    text = f"{mean(values):.{digits}f}"
    return f"{text} ± {stdev(values):.{digits}f}" if len(values) > 1 else text


def count(value: Optional[float]) -> str:
    """Four digits and the unit: "23.55 M", "2.415 G", "868"; "-" of None."""
    if value is None:
        return "-"
    for unit, size in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if value >= size:
            whole = len(str(int(value / size)))
            return f"{value / size:.{4 - whole}f}{unit}"
    return f"{value:g}"


def duration(seconds: float) -> str:
    """"42 s", "12.5 min" or "33.0 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def of_kind(records: Sequence[dict], kind: str, name: Optional[str] = None) -> List[dict]:
    """The records of a kind, of one name if it is given."""
    return [record for record in records
            if record["kind"] == kind and name in (None, record.get("name"))]


def page(file: str, title: str, records: Sequence[dict], section: Callable[[dict], str]) -> Dict[str, str]:
    """{file: the page of some records}: how they were made, then a section each; {} of no records."""
    if not records:
        return {}
    return {file: "\n\n".join([f"# {title}", run_facts(records), *map(section, records)])}


def run_facts(runs: Sequence[dict]) -> str:
    """A row a run; machines, versions and commands, which runs share, once each below it."""
    places: Dict[str, int] = {}
    rows = []
    for record in runs:
        machine = record["machine"]
        place = (f"{machine['cpu']}, {machine['cores']} cores, {machine['gpu'] or 'no GPU'}; "
                 + ", ".join(f"{name} {version}" for name, version in record["versions"].items()))
        rows.append({
            "Run": " ".join(dict.fromkeys([record["kind"], record.get("name") or record["stage"]])),
            "Space": f"`{record['space']}`" if record["space"] else "-",
            "Seed": record["seed"], "Ranks": record["ranks"],
            "Time": duration(record["seconds"]), "Date": record["date"],
            "Commit": f"`{record['commit']}`" if record["commit"] else "none",
            "Made on": f"[{places.setdefault(place, len(places) + 1)}]"})
    commands = dict.fromkeys(record["command"] for record in runs)
    return "\n\n".join(["## Runs", table(rows, left=2),
                        "\n".join(f"- [{number}] {place}" for place, number in places.items()),
                        "```\n" + "\n".join(commands) + "\n```"])
