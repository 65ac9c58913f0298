"""Run a command line of runners/ and append to a file what each step drew, saw and computed.

    python scripts/reliability/traced.py TRACE runners/train.py --search-space ...

Rank r writes TRACE.r: a line "pid N", then a line "place = value" for each pass and each update.
The disk is made slow, so that a kill can hit a file that is being written.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

from nnabla_ofa.training.loop import Loop
from nnabla_ofa.training.step import Stepper


def main(trace: str, command: str, *arguments: str) -> None:
    rank = os.environ.get("OMPI_COMM_WORLD_RANK", "0")
    out = os.open(f"{trace}.{rank}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(out, f"pid {os.getpid()}\n".encode())
    place = ["no step"]
    taken, stepped = Loop._pass, Stepper.step

    def traced_pass(self, epoch, step, i, images, labels):
        made = taken(self, epoch, step, i, images, labels)
        place[0] = f"{self.task.stage.name} {epoch + 1} {step + 1}"
        noise = made[2]("dropout", (len(labels), 8))
        sums = " ".join(f"{zlib.crc32(a.tobytes()):08x}" for a in (*made[:2], noise))
        os.write(out, f"{place[0]} pass {i + 1} = size {images.shape[1]} images, labels, dropout {sums}\n"
                 .encode())
        return made

    def traced_step(self, passes, archs, lr, accumulate):
        result = stepped(self, passes, archs, lr, accumulate)
        os.write(out, f"{place[0]} update = lr {lr!r} result {result!r} archs {archs!r}\n".encode())
        return result

    def slow_fsync(descriptor, fsync=os.fsync):
        time.sleep(0.1)
        fsync(descriptor)

    Loop._pass, Stepper.step, os.fsync = traced_pass, traced_step, slow_fsync
    sys.argv = [command, *arguments]
    runpy.run_path(str(ROOT / command), run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
