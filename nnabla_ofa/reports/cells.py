"""Figures as text. "-" stands for what is not there."""

from __future__ import annotations

from statistics import mean, stdev
from typing import Iterable, Optional, Sequence

from .protocol import Record


def accuracy(values: Sequence[float]) -> str:
    """"0.6512"; of several values "0.6512 ± 0.0031 (n=3)", with the sample standard deviation."""
    if len(values) < 2:
        return f"{values[0]:.4f}" if values else "-"
    return f"{mean(values):.4f} ± {stdev(values):.4f} (n={len(values)})"


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and sample standard deviation, "0.61 ± 0.02"; one value alone."""
    text = f"{mean(values):.{digits}f}"
    return f"{text} ± {stdev(values):.{digits}f}" if len(values) > 1 else text


def count(value: Optional[float]) -> str:
    """Four digits and the unit: "23.55 M", "2.415 G", "868"."""
    if value is None:
        return "-"
    for unit, size in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if value >= size:
            whole = len(str(int(value / size)))
            return f"{value / size:.{max(4 - whole, 0)}f}{unit}"
    return f"{value:g}"


def file_size(value: float) -> str:
    """Bytes in decimal units: "1.23 MB", "456 kB"."""
    return f"{value / 1e6:.2f} MB" if value >= 1e6 else f"{value / 1e3:.0f} kB"


def duration(seconds: float) -> str:
    """"42 s", "12.5 min" or "33.0 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def distinct(values: Iterable[object]) -> str:
    """The different values, each once, in their order: "0, 1, 2"."""
    return ", ".join(dict.fromkeys(map(str, values))) or "-"


def made_on(record: Record) -> str:
    """The machine and the versions of a run: "AMD EPYC, 2 cores, no GPU; nnabla 1.39.0, ..."."""
    machine = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['gpu'] or 'no GPU'}; {versions}"
