"""Ctrl-C where it can end the program: between the functions that NNabla calls, never inside one.

An exception that leaves a function which NNabla's C++ has called does not reach our code: NNabla prints
it, goes on, and fails elsewhere.
"""

from __future__ import annotations

import _thread
import importlib
import signal
import threading
from contextlib import contextmanager
from types import FrameType
from typing import Iterator, Optional

# Modules whose functions NNabla's C++ calls, and Python's import, which NNabla calls in between.
INSIDE = ("nnabla_ofa.kernels.functions", importlib._bootstrap.__name__)
AGAIN = 0.01  # seconds


@contextmanager
def between_functions() -> Iterator[None]:
    """SIGINT is a KeyboardInterrupt, as soon as none of `kernels.functions` is at work (main thread only)."""
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(number: int, frame: Optional[FrameType]) -> None:
    while frame is not None:
        if frame.f_globals.get("__name__") in INSIDE:
            threading.Timer(AGAIN, _thread.interrupt_main).start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt
