"""Published accuracies, to stand beside ours.

results/published/ofa_xception.csv holds the figures of nnabla-nas, from its README and from the first
version of its model zoo page. It is read as records of the kind "published".
results/published/zoo/ holds a file a table of fixed networks, with the figures as they were printed.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Dict, List, Tuple

from ..errors import OfaError
from ..system.machine import ROOT
from .protocol import Record, Records, Row, Rows
from .selection import of_kind

BASELINES = ROOT / "results/published/zoo"
RECIPE = "xception_imagenet"  # the recipe here that repeats the published training
KEYS = ("source", "stage", "space", "subnet", "epochs", "train_hours_4xV100")
FINETUNING = {"extracted": "before", "finetuned": "after"}  # {stage in the file: `when` of our rows}
# The network of each stage, as a record's settings have it; of all stages that are not named the first.
NETS: Dict[str, Dict[str, Any]] = {"": {"family": "xception", "middle_blocks": 8},
                                   "fullnet65": {"family": "xception", "middle_blocks": 16}}


def read_published(path: Path) -> List[Record]:
    """The published figures, a record a stage.

    Its rows have KEYS, "when" and "top1": {image size in pixels: fraction}. Raises OfaError for a row
    that misses one of KEYS.
    """
    with open(path, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    stages: Dict[str, List[Row]] = {}
    for line in lines:
        missing = [key for key in KEYS if line.get(key) is None]
        if missing:
            raise OfaError(f"published figures {path}: a row misses {', '.join(missing)}; "
                           "restore the file from git")
        when = FINETUNING.get(line["stage"])
        top1 = {int(key[len("top1_"):]): float(value) for key, value in line.items()
                if key.startswith("top1_") and value}
        stage = "finetune" if when else line["stage"]
        stages.setdefault(stage, []).append({**line, "stage": stage, "when": when, "top1": top1})
    return [{"kind": "published", "recipe": RECIPE, "stage": stage, "results": rows,
             "settings": {"net": NETS.get(stage, NETS[""])}} for stage, rows in stages.items()]


def published_rows(records: Records, recipe: str) -> List[Row]:
    """The rows of one recipe's published figures among `records`."""
    return [row for record in of_kind(records, "published") if record["recipe"] == recipe
            for row in record["results"]]


def read_baselines(folder: Path) -> List[Tuple[str, Rows]]:
    """The published tables of fixed networks: (name, rows), by name; none where the folder is absent.

    A row has "network" (ours), "label" (the table's own name), "top1" (a fraction, as text), "note" (what
    is wrong in the row), and the table's other columns as they were printed.
    """
    tables: List[Tuple[str, Rows]] = []
    for path in sorted(folder.glob("*.csv")):
        with open(path, newline="", encoding="utf-8") as file:
            tables.append((path.stem, list(csv.DictReader(file))))
    return tables
