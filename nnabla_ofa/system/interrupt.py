"""Ctrl-C (SIGINT) that waits until it can end the program in order.

NNabla's C++ calls Python functions of ours (`kernels.functions`). An exception that leaves one of them does
not reach our code: NNabla prints it, goes on, and fails elsewhere. So Ctrl-C takes effect between those
functions, never inside one.
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
    """Meanwhile SIGINT raises KeyboardInterrupt as soon as none of those functions is at work.

    For the main thread only, as Python's signals are.
    """
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(number: int, frame: Optional[FrameType]) -> None:
    """Raise, or try again soon if one of the functions is at work in `frame` or in a caller of it."""
    while frame is not None:
        if frame.f_globals.get("__name__") in INSIDE:
            threading.Timer(AGAIN, _thread.interrupt_main).start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt
