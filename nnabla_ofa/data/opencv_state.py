"""OpenCV's settings that hold for the whole process, changed only while they are needed.

OpenCV has no setting for one thread or one call. So that importing or using this package leaves the
rest of a program alone, each change is a `with` block, after which the old value is back.
"""

from __future__ import annotations

import threading
from typing import Callable

import cv2


class Held:
    """A setting that has one value while any `with` block on this object runs.

    Blocks may overlap, in one thread or in several: the first to begin sets the value, and the last to
    end puts back what was set before.

    Args:
        read: gives the current value.
        write: sets a value.
        value: what to hold the setting at.
    """

    def __init__(self, read: Callable[[], int], write: Callable[[int], object], value: int):
        self._read, self._write, self._value = read, write, value
        self._before, self._blocks = value, 0
        self._lock = threading.RLock()  # re-entrant: Python may close a forgotten generator at any moment

    def __enter__(self) -> None:
        with self._lock:
            if not self._blocks:
                self._before = self._read()
                self._write(self._value)
            self._blocks += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self._write(self._before)


# Each call of OpenCV runs in the thread that makes it. The loader's threads share the cores among them;
# OpenCV's own threads would compete with them.
ONE_THREAD = Held(cv2.getNumThreads, cv2.setNumThreads, 0)

# OpenCV writes nothing to stderr. What is wrong with a file is in our errors, beside the file's name.
SILENT = Held(cv2.getLogLevel, cv2.setLogLevel, 0)
