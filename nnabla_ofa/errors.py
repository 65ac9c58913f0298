"""The one error type of things a user can mend: a wrong name, file, value or data set."""

from __future__ import annotations

from typing import Any, Dict, Tuple

_ESCAPED = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160))}  # control characters


class OfaError(ValueError):
    """Something the caller can put right; its message says what is wrong and what to do.

    The message is one line, whatever it quotes of files and arguments.
    """

    def __str__(self) -> str:
        return super().__str__().translate(_ESCAPED)


def require(owner: Any, prefix: str, rules: Dict[str, Tuple[bool, str]]) -> None:
    """OfaError naming the first field of `owner` whose (holds, what is allowed) does not hold."""
    for name, (holds, allowed) in rules.items():
        if not holds:
            raise OfaError(f"{prefix}.{name}={getattr(owner, name)} is not {allowed}")
