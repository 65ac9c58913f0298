"""Subnets as once-for-all writes them: {"ks": [...], "e": [...], "d": [...], "w": [...]}, also in JSON."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from ...errors import OfaError
from ..arch import Text

IGNORED = ("r", "image_size", "wid")  # the size is that of the images; "wid" is always null


def is_dict(text: Text) -> bool:
    """Whether a subnet is of this form."""
    return isinstance(text, Mapping) or str(text).lstrip().startswith("{")


def parse(text: Text, lengths: Mapping[str, int], allowed: Mapping[str, Sequence[Any]]
          ) -> Dict[str, List[Any]]:
    """The lists of a subnet.

    Args:
        text: The dict, or its JSON. A number instead of a list stands for all of its entries.
        lengths: How many entries each key has.
        allowed: What an entry of each key may be.

    Raises:
        OfaError: A key is missing or unknown, a list has another length, an entry is not allowed. The
            original takes such lists in silence, those of another family, too.
    """
    given = text if isinstance(text, Mapping) else _read(text)
    for key in given:
        if key not in lengths and key not in IGNORED:
            raise OfaError(f"subnet {short(text)}: {key!r} is not one of {', '.join(lengths)}: it belongs "
                           "to another family")
    found = {}
    for key, length in lengths.items():
        if key not in given:
            raise OfaError(f"subnet {short(text)} lacks {key!r}")
        several = isinstance(given[key], (list, tuple, np.ndarray))
        values = list(given[key]) if several else [given[key]] * length
        if len(values) != length:
            raise OfaError(f"subnet {short(text)}: {key!r} has {len(values)} entries, not {length}")
        for i, value in enumerate(values):
            if isinstance(value, bool) or not np.isscalar(value) or value not in allowed[key]:
                raise OfaError(f"subnet {short(text)}: entry {i} of {key!r} is {value!r}, not one of "
                               f"{', '.join(map(str, allowed[key]))}")
        found[key] = [allowed[key][allowed[key].index(value)] for value in values]  # 7 for 7.0
    return found


def _read(text: str) -> Dict[str, Any]:
    """The object of a JSON text. Raises OfaError."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OfaError(f"subnet {short(text)} is not valid JSON: {error}") from error
    if not isinstance(given, dict):
        raise OfaError(f"subnet {short(text)} is not a JSON object")
    return given


def short(text: Text) -> str:
    """A subnet's beginning, for errors."""
    line = " ".join(str(text).split())
    return line if len(line) <= 60 else f"{line[:57]}..."
