"""Seconds of a training step and of an evaluation, by contender: rows of benchmarks/step.py's records."""

from __future__ import annotations

from typing import Dict, List, NamedTuple

from .protocol import Record, Row

SETTINGS = {"big": "128 px, full width", "cifar": "32 px, quarter width"}
TASKS = ("training", "evaluation")
SUBNETS = ("largest", "middle", "smallest")
TORCH = ("PyTorch", "PyTorch channels_last")
CONTENDERS = ("ours", "NNabla", "nnabla-nas", *TORCH, "onnxruntime")


class Piece(NamedTuple):
    """What all contenders did: one of SETTINGS, of TASKS and of SUBNETS."""

    setting: str
    task: str
    subnet: str


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


def ms(seconds: float) -> str:
    """Three digits of milliseconds."""
    value = 1000 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
