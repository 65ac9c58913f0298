"""Records as files: one JSON file a run, in a stable layout.

A record says what a run did and found. Every figure in README and results/ is read from such records
(reports/), so that each number names its seed, commit, versions, machine and time. What a record holds is
in record_rules.py. Its file is <folder>/<recipe>/<kind>-<name or stage>.json, with "-seed<S>" before .json
for S > 0.
"""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any, List

import numpy as np

from ..errors import OfaError
from .files import Location, write_atomically
from .record_rules import RUN_KEYS, Record, check, check_name

# What Python makes of bytes in a file's name that are not UTF-8; JSON can hold them escaped.
_SURROGATES = re.compile("[\ud800-\udfff]")


def relative_path(record: Record) -> Path:
    """Where a record lies under the records folder; "name" (optional) stands in for the stage."""
    name = record.get("name") or record["stage"]
    check_name("recipe", record["recipe"])
    check_name("name or stage", name)
    seed = f"-seed{record['seed']}" if record["seed"] else ""
    return Path(record["recipe"], f"{record['kind']}-{name}{seed}.json")


def write(folder: Location, record: Record) -> Path:
    """Write `record` under `folder`, whole or not at all, over an older one of the same run.

    Returns its path. Raises OfaError for a missing key, a value that is not finite, an accuracy
    outside 0..1.
    """
    record = _plain(record, "record")
    check(record)
    path = Path(folder) / relative_path(record)
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):  # of a run that was killed here
        leftover.unlink()
    write_atomically(path, _SURROGATES.sub(lambda found: f"\\u{ord(found[0]):04x}", to_text(record)).encode())
    return path


def read(folder: Location) -> List[Record]:
    """All records under `folder`, sorted by path; [] where there is no such folder.

    Raises OfaError, naming the file, for one that is broken, incomplete or in the wrong place.
    """
    folder, records = Path(folder), []
    for path in sorted(folder.rglob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
            check(record)
            expected = relative_path(record)
            if path.relative_to(folder) != expected:
                raise OfaError(f"its contents belong to {folder / expected}: move it there")
        except (ValueError, RecursionError) as error:  # JSON, UTF-8 and OfaError alike
            raise OfaError(f"record {path}: {error}. Restore the file from git, or delete it and "
                           "run its command again") from error
        records.append(record)
    return records


def to_text(record: Record) -> str:
    """The record as JSON in a stable order; history and results have one row a line."""
    keys = [key for key in ("name",) + RUN_KEYS if key in record]
    keys += sorted(set(record) - set(keys) - {"history", "results"})
    keys += [key for key in ("history", "results") if key in record]
    lines = []
    for key in keys:
        if key in ("history", "results"):
            rows = [f"    {json.dumps(row, ensure_ascii=False)}" for row in record[key]]
            text = "[\n" + ",\n".join(rows) + "\n  ]" if rows else "[]"
        else:
            text = _layout(record[key], "  ")
        lines.append(f"  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _layout(value: Any, indent: str) -> str:
    """JSON with sorted keys: on one line where that is short, else an item a line."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if len(text) <= 90 - len(indent) or not isinstance(value, (dict, list)):
        return text
    inner = indent + "  "
    if isinstance(value, list):
        items, ends = [_layout(item, inner) for item in value], "[]"
    else:
        items = [f"{json.dumps(key)}: {_layout(value[key], inner)}" for key in sorted(value)]
        ends = "{}"
    return f"{ends[0]}\n{inner}" + f",\n{inner}".join(items) + f"\n{indent}{ends[1]}"


def _plain(value: Any, where: str) -> Any:
    """`value` with NumPy values, tuples and paths as JSON has them; `where` names it in errors."""
    if isinstance(value, dict):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise OfaError(f"{where} is {value}: a record holds finite numbers only, so this run is "
                       "not recorded")
    if not isinstance(value, (str, int, float, type(None))):
        raise OfaError(f"{where} is a {type(value).__name__}, which JSON cannot hold: give a "
                       "number, text, list or dictionary")
    return value


def _refuse_constant(name: str) -> None:
    raise OfaError(f"it holds {name}, which no record may")
