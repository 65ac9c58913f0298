"""Seconds of a training step and of an evaluation, by contender: rows of benchmarks/step.py's records.

A record's "where" names what computed: the CPU's instruction set, or the GPU. Its name ends in the same.
"""

from __future__ import annotations

from statistics import geometric_mean
from typing import Dict, List, NamedTuple, Optional

from .protocol import Record, Records, Row
from .selection import by_name

SETTINGS = {"big": "Xception at 128 px, full width", "cifar": "Xception at 32 px, quarter width",
            "mobilenetv3-big": "MobileNetV3 at 128 px, full width",
            "mobilenetv3-cifar": "MobileNetV3 at 32 px, width 0.35",
            "resnet50-big": "ResNet50-D at 128 px, full width",
            "resnet50-cifar": "ResNet50-D at 32 px, quarter width",
            "zoo": "networks of the zoo at 32 px"}
FULL_WIDTH = ("big", "mobilenetv3-big", "resnet50-big")
TASKS = ("training", "evaluation")
SUBNETS = ("largest", "middle", "smallest")
TORCH = ("PyTorch", "PyTorch channels_last", "PyTorch bf16")
CONTENDERS = ("ours", "NNabla", "nnabla-nas", *TORCH, "onnxruntime")
FIRST = "AVX-512"  # the instruction set of the machine of the first records, which do not say it


class Piece(NamedTuple):
    """What all contenders did: one of SETTINGS, of TASKS and of SUBNETS or of the zoo's networks."""

    setting: str
    task: str
    subnet: str


def by_machine(records: Records, name: str) -> Dict[str, Record]:
    """{where: record} of one of the benchmark's kinds; one that says where replaces the first, older one.

    Args:
        records: Of which those of benchmarks/step.py are taken.
        name: "step", "memory", "curve", "overhead" or "ranks"; of a GPU, "step-cudnn".
    """
    found: Dict[str, Record] = {}
    for own, record in sorted(by_name(records, "benchmark_step").items()):  # "step" before "step-avx2"
        where = record.get("where", FIRST)
        if own == name or own == f"{name}-{slug(where)}":
            found[where] = record
    return dict(sorted(found.items(), key=lambda item: item[0] == FIRST))


def slug(where: str) -> str:
    """As it ends the names of records and pictures: "AVX-512" -> "avx-512"."""
    return "-".join("".join(c if c.isalnum() else " " for c in where.lower()).split())


def settings_of(record: Record) -> List[str]:
    """The settings that a record has rows of, in the order of SETTINGS."""
    measured = {row["setting"] for row in record["results"]}
    return [name for name in SETTINGS if name in measured]


def by_piece(record: Record) -> Dict[Piece, Dict[str, Row]]:
    """{piece: {contender: row}}, in the order of SETTINGS, TASKS and SUBNETS."""
    found: Dict[Piece, Dict[str, Row]] = {}
    for row in record["results"]:
        piece = Piece(row["setting"], row["task"], row["subnet"])
        found.setdefault(piece, {})[row["contender"]] = row
    order = [*SETTINGS], TASKS, SUBNETS
    return dict(sorted(found.items(), key=lambda item: [
        names.index(part) if part in names else len(names) for names, part in zip(order, item[0])]))


def ratios(rows: Dict[str, Row], field: str = "median") -> Dict[str, float]:
    """Contenders' figures over ours; "PyTorch" is the best one of TORCH. {} where ours is missing."""
    if "ours" not in rows:
        return {}
    ours = rows["ours"][field]
    found = {name: row[field] / ours for name, row in rows.items() if name not in ("ours", *TORCH)}
    torch = [rows[name][field] for name in TORCH if name in rows]
    return {**found, **({"PyTorch": min(torch) / ours} if torch else {})}


def zoo_mean(pieces: Dict[Piece, Dict[str, Row]]) -> Optional[float]:
    """The geometric mean of the zoo's ratios to the better PyTorch; None where none was measured."""
    found = [ratios(rows)["PyTorch"] for piece, rows in pieces.items()
             if piece.setting == "zoo" and "PyTorch" in ratios(rows)]
    return geometric_mean(found) if found else None


def peaks(record: Record) -> Dict[Piece, Dict[str, Row]]:
    """{piece: {contender: row}} of a record of peak memory."""
    rows = [{"task": "training", "subnet": "largest", **row} for row in record["results"]]
    return by_piece({"results": rows})


def ms(seconds: float) -> str:
    """Three digits of milliseconds."""
    value = 1000 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
