"""What a record must hold: the keys of each kind, their types and ranges.

A record is a plain dictionary, one a run:

    {"kind": "train", "recipe": "xception_digits", "stage": "kernel", "space": "K357_E1_D3",
     **describe_run(command, seed), "seconds": 123.4, "settings": {...},
     "history": [one row an epoch: HISTORY_KEYS],
     "results": [one row a subnet and image size: RESULT_KEYS]}

Accuracies are fractions in 0..1, learning rates are those of the epoch's start. Times are seconds; that
of a resumed run holds the epochs that were trained before.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Sequence, Tuple

from ..errors import OfaError

Record = Dict[str, Any]
RUN_KEYS = ("kind", "recipe", "stage", "space", "seed", "command", "commit", "versions",
            "machine", "ranks", "date", "seconds", "settings")
HISTORY_KEYS = ("epoch", "lr", "loss", "top1", "valid_top1", "seconds", "images_per_second")
RESULT_KEYS = ("subnet", "image_size", "split", "images", "loss", "top1", "top5",
               "parameters", "macs")
# The lists of rows that each kind must have; searches and benchmarks choose their own row keys.
KINDS: Dict[str, Dict[str, Tuple[str, ...]]] = {
    "train": {"history": HISTORY_KEYS}, "evaluate": {"results": RESULT_KEYS},
    "finetune": {"history": HISTORY_KEYS, "results": RESULT_KEYS + ("when",)},
    "search": {}, "benchmark": {}, "rank": {"results": ("subnet", "actual", "predicted")},
    "agreement": {"results": ("subnet", "image_size", "predicted", "measured")},
    "reliability": {"results": ("what", "times", "came_out", "lost")}}
UNITS = {"macs": "MACs", "parameters": "parameters", "latency_ms": "ms of latency"}  # of costs in rows
FRACTIONS = ("top1", "top5", "valid_top1", "int8_top1", "int8_valid_top1")
TEXTS = ("recipe", "stage", "command", "date", "subnet", "split", "when")
NUMBERS = ("seed", "ranks", "seconds", "epoch", "lr", "loss", "images_per_second", "image_size",
           "images", "parameters", "macs") + FRACTIONS

LARGEST = 1e18  # of a number, either side of 0


def check_name(key: str, name: str) -> None:
    """OfaError, naming `key`, unless records can have files of this name."""
    if not re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]*", str(name)):
        raise OfaError(f"{key}={name!r} names files of records: use letters, digits and _ . + - only, "
                       "a letter, digit, _ or + first")


def check(record: Any) -> None:
    """OfaError naming the first key of a record that is missing, of a wrong type or out of range.

    record: of a file, so it may be anything.
    """
    kind = record.get("kind") if isinstance(record, dict) else record
    if not isinstance(record, dict) or not isinstance(kind, str) or kind not in KINDS:
        raise OfaError(f"kind={kind!r} of a record is not one of {', '.join(KINDS)}")
    rows_of = KINDS[kind]
    _require(record, RUN_KEYS + tuple(rows_of), f"a {kind} record")
    _check_types(record, "")
    _require(record["machine"], ("cpu", "cores", "gpu"), "machine")
    _require(record["versions"], ("python", "nnabla"), "versions")
    if not isinstance(record["seed"], int) or record["seed"] < 0:
        raise OfaError(f"seed={record['seed']} of a record is not an integer >= 0")
    if kind == "train" and record.get("results"):
        rows_of = dict(rows_of, results=RESULT_KEYS)
    for name in ("history", "results"):
        rows = record.get(name, [])
        if not isinstance(rows, list):
            raise OfaError(f"{name} is a {type(rows).__name__}, not a list of rows")
        for i, row in enumerate(rows):
            if not isinstance(row, dict):
                raise OfaError(f"{name}[{i}] is a {type(row).__name__}, not a row")
            _require(row, rows_of.get(name, ()), f"{name}[{i}]")
            _check_types(row, f"{name}[{i}].")


def _check_types(row: Record, where: str) -> None:
    for key, value in row.items():
        if key == "valid_top1" and value is None:  # an epoch without validation
            continue
        if key in TEXTS and not isinstance(value, str):
            raise OfaError(f"{where}{key}={value!r} is not a text")
        if key in NUMBERS and not (isinstance(value, (int, float)) and abs(value) <= LARGEST):
            raise OfaError(f"{where}{key}={value!r} is not a number, or beyond {LARGEST:g}")
        if key in FRACTIONS and not 0 <= value <= 1:
            raise OfaError(f"{where}{key}={value} is not a fraction in 0..1")


def _require(row: Any, keys: Sequence[str], where: str) -> None:
    missing = [key for key in keys if not isinstance(row, dict) or key not in row]
    if missing:
        raise OfaError(f"{where} misses {', '.join(missing)}")
