"""A contender in a process of its own, driven line by line over a pipe.

Processes keep the contenders' thread pools, memory and Python versions apart, and let one run at a
time, in turns, while the others sleep. A contender is a module with

    prepare(variant, job) -> a function without arguments: one training step, one batch, one product

and is named "<module>" or "<module>:<variant>". Requests and replies are JSON, one a line:

    {"do": "prepare", "job": {...}}  -> {"seconds": of a warm call, or of a slow first one}
    {"do": "run", "repeats": 3}      -> {"seconds": [of each call]}
    {"do": "memory", "repeats": 3}   -> {"peak": bytes of this process while it ran}

Instead of its reply, a request that fails gives {"error": "why"}.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, List, Mapping, Optional

HERE = Path(__file__).resolve().parent
SLOW = 1.0  # seconds: one call is warm-up enough


class Failed(Exception):
    """A contender cannot do what it was asked; the message says why."""


class Worker:
    """The caller's end: a started contender. Leaves no process behind when closed."""

    def __init__(self, name: str, python: str = sys.executable,
                 environment: Optional[Mapping[str, str]] = None):
        self.name = name
        self._process = subprocess.Popen(
            [python, "-W", "ignore", str(HERE / "worker.py"), name], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, universal_newlines=True, env={**os.environ, **(environment or {})})

    def ask(self, **request) -> dict:
        """The reply to one request. Raises Failed."""
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died: no line follows
        line = self._process.stdout.readline()
        reply = json.loads(line) if line else {"error": "it ended"}
        if "error" in reply:
            raise Failed(f"{self.name}: {reply['error']}")
        return reply

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_memory(call: Callable[[], object], repeats: int) -> int:
    """Largest resident memory of this process, in bytes, during `repeats` calls (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    for _ in range(repeats):
        call()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


class Contender:
    """The worker's end: answers requests."""

    def __init__(self, name: str):
        module, _, self._variant = name.partition(":")
        self._module, self._call = importlib.import_module(module), None

    def answer(self, do: str, job: Optional[dict] = None, repeats: int = 1) -> dict:
        """The reply to one request."""
        if do == "prepare":
            self._call = None  # its memory goes first
            self._call = self._module.prepare(self._variant, job)
            first = timed(self._call)
            return {"seconds": first if first > SLOW else timed(self._call)}
        if do == "memory":
            return {"peak": peak_memory(self._call, repeats)}
        seconds: List[float] = [timed(self._call) for _ in range(repeats)]
        return {"seconds": seconds}


def serve(name: str) -> None:
    """Answer requests from standard input until it ends; nothing else reaches standard output."""
    replies, sys.stdout = sys.stdout, sys.stderr
    contender = None
    for line in sys.stdin:
        try:
            contender = contender or Contender(name)
            reply = contender.answer(**json.loads(line))
        except Exception as error:  # whatever a peer raises: its column says so, the others go on
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
