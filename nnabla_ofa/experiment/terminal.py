"""The standard streams of a command: what they take, and what becomes of it when nobody reads it.

This file imports nothing but Python's own: it serves before NNabla is there.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TextIO


def prepare_streams() -> None:
    """Make the standard streams take whatever is printed.

    The null device stands in for each one that the process was started without (`>&-`): Python has None
    there, and the next file that is opened would be written to as standard output. What a stream's encoding
    lacks is escaped: a path or a class name ends no run.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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
