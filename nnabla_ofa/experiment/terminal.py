"""What a terminal is given, and what becomes of it when nobody takes it.

This file imports nothing but Python's own: it serves before NNabla is there.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO


def one_line(text: str) -> str:
    """`text` with everything escaped that a terminal does not show as a character: line ends, control codes
    and bytes of a path that are not UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def replace_closed_streams() -> None:
    """The null device in place of each standard stream that the process was started without (`>&-`).

    Python has None there, and the next file that is opened would be written to as standard output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))


def flush(stream: TextIO) -> None:
    """Write out what waits in a stream; where its reader has ended, drop that, and all that follows."""
    try:
        stream.flush()
    except OSError:
        drop(stream)


def drop(stream: TextIO) -> None:
    """Let a stream whose reader has ended, as that of `| head`, go to the null device.

    Python would try once more to write what waits there when it exits, and complain.
    """
    with contextlib.suppress(OSError, ValueError):  # a stream without a file of its own
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
