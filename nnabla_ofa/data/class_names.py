"""Names of classes. Two spellings of one name in Unicode are one class, as macOS and Linux write "café".

All comparisons of class names go through `same_name`. Names themselves stay as they were found: folders
are opened by them.
"""

from __future__ import annotations

import unicodedata
from typing import Dict, Iterable, Sequence


def same_name(name: str) -> str:
    """The name in Unicode's composed form (NFC). Two spellings of one name give one text."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def same_names(some: Iterable[str], others: Iterable[str]) -> bool:
    """Whether two lists name the same classes in the same order."""
    return list(map(same_name, some)) == list(map(same_name, others))


def numbers(classes: Sequence[str]) -> Dict[str, int]:
    """The number of each class, by its name as `same_name` gives it."""
    return {same_name(name): number for number, name in enumerate(classes)}
