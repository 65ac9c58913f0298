"""What a terminal is given: text that stays on one line, whatever it is made of."""

from __future__ import annotations


def one_line(text: str) -> str:
    """`text` with everything escaped that a terminal does not show as a character: line ends, control codes
    and bytes of a path that are not UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
