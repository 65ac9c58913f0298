"""Signals by which a cluster asks a job to stop: obeyed between two steps, when nothing is lost.

Slurm sends one before a job's time is up (`#SBATCH --signal=USR1@120`) or when it preempts the job
(SIGTERM). The training loop then writes a checkpoint and ends with a status that asks for another turn.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import Callable, Iterator, List

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
STATUS = 75  # "temporary failure; the user is invited to retry" (sysexits.h)


class StopRequested(Exception):
    """A signal asked for the end, and all that was done is on disk."""


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """A function that says whether one of SIGNALS has come meanwhile (main thread only)."""
    received: List[int] = []
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, lambda number, _: received.append(number))
              for number in SIGNALS} if main else {}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
