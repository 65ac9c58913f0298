"""An int8 file whose top-1 is within a limit of the float32 file's, or none."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Callable, List, NamedTuple, Sequence, Tuple

import numpy as np

from ..errors import OfaError
from ..system.files import write_atomically
from .int8 import int8
from .layers import Cost, costs

NAMED = 5  # costliest layers, in messages


class Outcome(NamedTuple):
    """What quantisation did: top-1 of both files as fractions, the layers that stayed in float32."""

    float32: float
    int8: float
    kept: Tuple[str, ...]


def within(source: Path, target: Path, images: np.ndarray, judge: Callable[[Path], float], max_drop: float,
           calibrate: str = "minmax", keep_float: Sequence[str] = (), automatic: bool = False,
           say: Callable[[str], None] = print) -> Outcome:
    """Write the int8 form of an ONNX file if it is good enough.

    Args:
        source, target, images, calibrate, keep_float: As of `int8`.
        judge: Top-1 of a file, a fraction, on held-out images.
        max_drop: Points of top-1 that may be lost, 100 of which are all.
        automatic: Whether to leave costly layers in float32 until that is met: 1, 2, 4, ..., half of them.
        say: Receives a line a step.

    Raises:
        OfaError: As of `int8`; or too much is lost. Then the costliest layers are named.
    """
    top1 = judge(source)
    with tempfile.TemporaryDirectory() as folder:
        made, kept = Path(folder) / "int8.onnx", list(keep_float)
        int8(source, made, images, calibrate, kept)
        found, ranked = judge(made), []
        if lost(top1, found) > max_drop:
            say(f"int8 loses {lost(top1, found):.2f} points of top-1: each layer is quantised alone to see "
                "which cost most")
            ranked = [cost for cost in costs(source, images, calibrate) if cost.layer not in keep_float]
        count = 1
        while automatic and lost(top1, found) > max_drop and count <= len(ranked) // 2:
            kept = [*keep_float, *(cost.layer for cost in ranked[:count])]
            int8(source, made, images, calibrate, kept)
            found = judge(made)
            say(f"layers in float32: {len(kept)}, points lost: {lost(top1, found):.2f}")
            count *= 2
        if lost(top1, found) > max_drop:
            raise OfaError(refusal(target, top1, found, max_drop, ranked, automatic))
        write_atomically(target, made.read_bytes())
    return Outcome(top1, found, tuple(kept))


def lost(before: float, after: float) -> float:
    """Points of top-1, rounded as they are printed."""
    return round(100 * (before - after), 2)


def refusal(target: Path, top1: float, found: float, max_drop: float, ranked: List[Cost],
            automatic: bool) -> str:
    """Why a file is not written, and what can be done."""
    worst = ", ".join(f"{cost.layer} ({cost.error:.1%})" for cost in ranked[:NAMED])
    names = " ".join(cost.layer for cost in ranked[:NAMED])
    advice = "" if automatic else f"leave them in float32 (--keep-float {names}, or --keep-float auto), "
    return (f"{target} is not written: int8 loses {lost(top1, found):.2f} points of top-1 ({top1:.4f} to "
            f"{found:.4f}), and --max-drop is {max_drop:g}. Layers that cost most, with the error of the "
            f"logits that each causes alone: {worst}. You can {advice}choose another --calibrate, give more "
            "--calibration-images, or allow more")
