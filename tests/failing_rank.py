"""Run a command line in which one rank fails at one of its updates, as machines make ranks fail.

    mpirun -n 4 python tests/failing_rank.py HOW RANK UPDATE runners/train.py ARGUMENTS...

HOW is "exception", "kill" (kill -9) or "memory" (the rank reaches a limit of its memory).
"""

from __future__ import annotations

import os
import resource
import runpy
import signal
import sys
import time

import numpy as np

from nnabla_ofa.training.step import Stepper


def fail(how: str) -> None:
    """Fail now, and say when."""
    print(f"failing at {time.time()}", flush=True)
    if how == "exception":
        raise RuntimeError("this rank was made to fail")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
    np.ones(1 << 28)  # 2 GiB


def main(how: str, rank: str, update: str, runner: str, *arguments: str) -> None:
    """Replace the update by a failing one, then be `python runner arguments`."""
    step, done = Stepper.step, []

    def failing(self, *args):
        if self.comm.rank == int(rank) and len(done) == int(update):
            fail(how)
        done.append(None)
        return step(self, *args)

    Stepper.step = failing
    sys.argv = [runner, *arguments]
    runpy.run_path(runner, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
