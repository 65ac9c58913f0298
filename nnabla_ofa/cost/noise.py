"""Whether other work disturbed a measurement: a reference operation, the same everywhere, timed all along.

It corrects nothing. What it tells is said, so that a user can measure again.
"""

from __future__ import annotations

from typing import Optional, Sequence

from ..layers import ConvBn, Mode
from .timing import WARM_UP, Call, median, operation_call

REFERENCE = ConvBn("reference", 128, 128, 3), 32  # a layer, and the side of its input in pixels
NOISY = 0.1  # a slowdown above which measurements are not to be trusted


def reference_call(mode: Mode) -> Call:
    """What computes the reference operation once, warmed up. mode: how its graph is built."""
    call = operation_call(*REFERENCE, 1, mode)
    for _ in range(WARM_UP):
        call()
    return call


def slowdown(samples: Sequence[float]) -> float:
    """How far the median of (n,) samples is above the fastest, as a fraction of that.

    Quartiles would not do: on a machine that is always busy all calls are equally slow.
    """
    return median(samples) / min(samples) - 1


def warning(source: str, image_size: int, samples: Sequence[float]) -> Optional[str]:
    """What to say of a table that was built beside other work, and what to do.

    Args:
        source: The table's file.
        image_size: Pixels a side.
        samples: (n,) of the reference operation while that size was measured.

    Returns:
        One line. None where there is nothing to say, or no samples, as in old tables.
    """
    slower = slowdown(samples) if samples else 0.0
    if slower <= NOISY:
        return None
    return (f"warning: {source} is noisy at {image_size} pixels: while it was measured half of the calls of "
            f"one operation took {100 * slower:.0f}% longer than the fastest, or more (good: up to "
            f"{100 * NOISY:.0f}%); stop other programs and build it anew in another file, or raise --rounds")
