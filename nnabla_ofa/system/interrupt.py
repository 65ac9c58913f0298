"""Ctrl-C (SIGINT, and SIGTERM from mpirun) that waits until it can end the program in order.

NNabla's C++ calls Python functions of ours (those of `kernels`). An exception that leaves one of them does
not reach our code: NNabla prints it, goes on, and fails elsewhere. So Ctrl-C takes effect between those
functions, never inside one.
"""

from __future__ import annotations

import _thread
import contextlib
import importlib
import signal
import threading
from types import FrameType
from typing import Iterator, Optional

from .last_line import at_sigterm, one_of_several

# Modules whose functions NNabla's C++ calls, and those that NNabla itself uses before and after such a call.
OURS, BUILDING = "nnabla_ofa.kernels.", "nnabla_ofa.kernels.build"
INSIDE = (importlib._bootstrap.__name__, "nnabla.context")
INNERMOST = contextlib.__name__  # it enters and leaves nnabla.context; further out it may be anybody's
AGAIN = 0.01  # seconds


@contextlib.contextmanager
def between_functions() -> Iterator[None]:
    """Meanwhile SIGINT raises KeyboardInterrupt as soon as none of those functions is at work.

    So does SIGTERM on one of several processes: it is what mpirun makes of Ctrl-C. For the main thread only,
    as Python's signals are.
    """
    numbers = (signal.SIGINT, signal.SIGTERM) if one_of_several() else (signal.SIGINT,)
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        with at_sigterm("asked to stop: training and search go on when their command is repeated"):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: Optional[FrameType]) -> None:
    """Raise, or try again soon if one of the functions is at work in `frame` or in a caller of it."""
    names = list(_modules(frame))
    if names[:1] == [INNERMOST] or any(map(_inside, names)):
        threading.Timer(AGAIN, _thread.interrupt_main).start()
        return
    raise KeyboardInterrupt


def _inside(module: Optional[str]) -> bool:
    """Whether what a module does must end first."""
    return module in INSIDE or bool(module and module.startswith(OURS) and module != BUILDING)


def _modules(frame: Optional[FrameType]) -> Iterator[Optional[str]]:
    """The module of a frame, of its caller, and so on."""
    while frame is not None:
        yield frame.f_globals.get("__name__")
        frame = frame.f_back
