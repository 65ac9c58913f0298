"""Under which licence training images stand, as far as they say."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

DIGITS = "CC BY 4.0 (UCI, Optical Recognition of Handwritten Digits)"
NAMES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md")


def data_licence(source: Optional[str]) -> str:
    """The first line of a data set's licence file, "" where it has none.

    source: Its folder or archive, or "digits".
    """
    if source == "digits":
        return DIGITS
    for name in NAMES if source else ():
        path = Path(str(source)) / name
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
            return next((line.strip() for line in lines if line.strip()), "")
    return ""
