"""Numbers of channels."""

from __future__ import annotations


def make_divisible(width: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `width`, never more than 10% below it."""
    nearest = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * width else nearest
