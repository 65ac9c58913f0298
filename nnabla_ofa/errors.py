"""The one error type of things a user can mend: a wrong name, file, value or data set."""

from __future__ import annotations

from typing import Any, Dict, Tuple

_ESCAPED = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160))}  # control characters
_LONGEST = 4000  # characters of a message


class OfaError(ValueError):
    """Something the caller can put right; its message says what is wrong and what to do.

    The message is one line of some length, whatever it quotes of files and arguments.
    """

    def __str__(self) -> str:
        text = super().__str__().translate(_ESCAPED)
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST - 1000]} ... {text[-900:]}"


def require(owner: Any, prefix: str, rules: Dict[str, Tuple[bool, str]]) -> None:
    """OfaError naming the first field of `owner` whose (holds, what is allowed) does not hold."""
    for name, (holds, allowed) in rules.items():
        if not holds:
            raise OfaError(f"{prefix}.{name}={getattr(owner, name)} is not {allowed}")
