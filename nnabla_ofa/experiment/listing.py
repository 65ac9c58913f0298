"""Rows that a command lists: printed as a table, saved as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from tabulate import tabulate

from ..errors import OfaError
from ..system.files import write_atomically

Row = Dict[str, Any]


def print_table(rows: Sequence[Row], last: str, most: int) -> None:
    """Print the rows, numbers to the right.

    Args:
        rows: One dictionary a line, all with the same keys.
        last: The key of the last column, the only one to the left.
        most: How many are printed.
    """
    names = [name for name in rows[0] if name != last] + [last]
    cells = [[str(row[name]) for name in names] for row in rows[:most]]
    align = ["right"] * (len(names) - 1) + ["left"]
    print(tabulate(cells, names, tablefmt="plain", colalign=align, disable_numparse=True))
    if len(rows) > most:
        print(f"... and {len(rows) - most} more: --save FILE.csv keeps them all")


def require_form(path: Optional[Path]) -> None:
    """OfaError unless a file to save, where there is one, ends in .csv or .json."""
    if path and path.suffix not in (".csv", ".json"):
        raise OfaError(f"--save {path} ends in neither .csv nor .json")


def save(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows as CSV or JSON, by the file's ending."""
    text = io.StringIO(newline="")
    if path.suffix == ".json":
        json.dump(rows, text, indent=1)
    else:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_atomically(path, text.getvalue().encode("utf-8"))
    print(f"saved: {path}")
