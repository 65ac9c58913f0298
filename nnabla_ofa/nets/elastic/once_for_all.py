"""Subnets as once-for-all writes them, in JSON: {"ks": [...], "e": [...], "d": [...], "w": [...]}."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Sequence

from ...errors import OfaError

IGNORED = ("r", "image_size", "wid")  # the size is that of the images; "wid" is always null


def is_dict(text: str) -> bool:
    """Whether a subnet's text is of this form."""
    return str(text).lstrip().startswith("{")


def parse(text: str, lengths: Mapping[str, int], allowed: Mapping[str, Sequence[Any]]
          ) -> Dict[str, List[Any]]:
    """The lists of a subnet.

    Args:
        text: JSON. A number instead of a list stands for all of its entries.
        lengths: How many entries each key has.
        allowed: What an entry of each key may be.

    Raises:
        OfaError: A key is missing or unknown, a list has another length, an entry is not allowed. The
            original takes such lists in silence, those of another family, too.
    """
    try:
        given = json.loads(text)
    except ValueError as error:
        raise OfaError(f"subnet {_short(text)} is not valid JSON: {error}") from error
    if not isinstance(given, dict):
        raise OfaError(f"subnet {_short(text)} is not a JSON object")
    for key in given:
        if key not in lengths and key not in IGNORED:
            raise OfaError(f"subnet {_short(text)}: {key!r} is not one of {', '.join(lengths)}: it belongs "
                           "to another family")
    found = {}
    for key, length in lengths.items():
        if key not in given:
            raise OfaError(f"subnet {_short(text)} lacks {key!r}")
        values = given[key] if isinstance(given[key], list) else [given[key]] * length
        if len(values) != length:
            raise OfaError(f"subnet {_short(text)}: {key!r} has {len(values)} entries, not {length}")
        for i, value in enumerate(values):
            if isinstance(value, bool) or value not in allowed[key]:
                raise OfaError(f"subnet {_short(text)}: entry {i} of {key!r} is {value!r}, not one of "
                               f"{', '.join(map(str, allowed[key]))}")
        found[key] = values
    return found


def _short(text: str) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
