"""The one error type of things a user can mend: a wrong name, file, value or data set."""

from __future__ import annotations

from typing import Any, Dict, Tuple


class OfaError(ValueError):
    """Something the caller can put right; its message says what is wrong and what to do."""


def require(owner: Any, prefix: str, rules: Dict[str, Tuple[bool, str]]) -> None:
    """OfaError naming the first field of `owner` whose (holds, what is allowed) does not hold."""
    for name, (holds, allowed) in rules.items():
        if not holds:
            raise OfaError(f"{prefix}.{name}={getattr(owner, name)} is not {allowed}")
