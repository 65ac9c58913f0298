"""The tests of faults, fuzz and numbers, run and counted; fuzz with many more examples than `make test`.

Fuzz runs in rounds, each of other examples. What a round found is noted, so that an interrupted one goes on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from nnabla_ofa.system.files import write_atomically

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "tests/experiment/test_reliability.py":
        "unreadable images, full disk, broken checkpoints, loss that is not finite",
    "tests/layers/test_truth.py":
        "elastic operations, losses, BN calibration and update against float64 NumPy",
    "tests/kernels/test_kernels.py": "the fused CPU functions against float64 NumPy",
}


FUZZ = "tests/test_fuzz.py"
ROUND = 1000  # examples of each test


def trials() -> list:
    """A row a file of tests."""
    return [trial(file, what) for file, what in FILES.items()]


def trial(file: str, what: str) -> dict:
    """The row of a file of tests."""
    count = run_tests(file)
    return {"what": what, "times": sum(count.values()), "came_out": count, "lost": failed(count)}


def fuzz(notes: Path, examples: int, minutes: float) -> list:
    """One row: rounds of every fuzz test until each had that many examples or the minutes are over."""
    end = time.monotonic() + 60 * minutes
    done = json.loads(notes.read_text()) if notes.exists() else []
    while len(done) * ROUND < examples and time.monotonic() < end:
        count = run_tests(FUZZ, OFA_FUZZ_EXAMPLES=str(ROUND), OFA_FUZZ_SEED=str(len(done)))
        done.append(failed(count))
        write_atomically(notes, json.dumps(done).encode())
        print(f"round {len(done)}: {count}", flush=True)
    bad = sum(map(bool, done))
    came_out = {"examples of each test without a failure": ROUND * (len(done) - bad),
                f"rounds of {ROUND} with one": bad}
    return [{"what": f"fuzz: {FUZZED}", "times": ROUND * len(done),
             "came_out": {what: n for what, n in came_out.items() if n}, "lost": sum(done)}]


FUZZED = "names, recipes, overrides, networks, lists, records, images"


def run_tests(file: str, **environment: str) -> dict:
    """How many of a file's tests passed, failed, were skipped; what pytest says where not all passed."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file],
                          cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, **environment})
    if done.returncode:
        print(done.stdout[-3000:])
    return {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|error)",
                                                   done.stdout.splitlines()[-1])}


def failed(count: dict) -> int:
    """Of `run_tests`; a run that counts nothing has failed."""
    return count.get("failed", 0) + count.get("error", 0) + (not count)
