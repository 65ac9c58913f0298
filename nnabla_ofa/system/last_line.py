"""The last line of a run, on several processes too: past mpirun where that no longer reads.

At Ctrl-C Open MPI's mpirun sends its processes SIGTERM, and version 5 SIGKILL a quarter of a second later.
Meanwhile it reads nothing that they print. So the first process writes a line as soon as SIGTERM comes, and
where mpirun leaves it unread, writes it once more to where mpirun itself prints.

This file imports nothing but Python's own: it serves before NNabla is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
import struct
import termios
import threading
import time
from typing import Iterator

SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")  # what mpirun tells its processes
RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")
READ = 0.05  # seconds in which mpirun, if it still does, reads a line


def one_of_several() -> bool:
    """Whether mpirun started this process with others, or srun (which says only that it did)."""
    sizes = {os.environ[name] for name in SIZES if name in os.environ}
    return bool(sizes - {"1"}) or (not sizes and "PMIX_RANK" in os.environ)


def is_first() -> bool:
    """Whether this process is the only one, or the first of several."""
    return {os.environ[name] for name in RANKS if name in os.environ} <= {"0"}


def say(text: str) -> None:
    """Write a line to standard error, and past mpirun; a signal's handler may, too."""
    with contextlib.suppress(OSError):  # nobody is left to read it
        os.write(2, f"{text}\n".encode(errors="backslashreplace"))
    past_mpirun(text)


def past_mpirun(text: str) -> None:
    """Write a line to where mpirun prints, if that leaves unread what this process has printed."""
    with contextlib.suppress(OSError, MemoryError):  # another user's launcher, not Linux, no memory left
        if one_of_several() and _unread(2):
            beyond = os.open(f"/proc/{os.getppid()}/fd/2", os.O_WRONLY | os.O_APPEND | os.O_NOCTTY)
            os.write(beyond, f"\n{text}\n".encode(errors="backslashreplace"))
            os.close(beyond)


def _unread(descriptor: int) -> bool:
    """Whether what was written to a pipe still waits there after READ seconds."""
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return False
    end = time.monotonic() + READ
    waiting = True
    while waiting and time.monotonic() < end:
        time.sleep(READ / 10)
        waiting = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0] > 0
    return waiting


@contextlib.contextmanager
def at_sigterm(text: str) -> Iterator[None]:
    """Meanwhile SIGTERM has `text` printed at once, by the first process, whatever its main thread computes.

    SIGTERM must have a handler of Python's, and this be the main thread.
    """
    if not (one_of_several() and is_first()):
        yield
        return
    heard, tell = os.pipe()
    os.set_blocking(tell, False)

    def listen() -> None:
        for number in iter(lambda: os.read(heard, 1), b""):
            if number[0] == signal.SIGTERM:
                say(text)

    before = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(tell)
        thread.join()
        os.close(heard)
