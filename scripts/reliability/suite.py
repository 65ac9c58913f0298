"""The tests of faults, fuzz and numbers, run and counted; fuzz with many more examples than `make test`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "tests/experiment/test_reliability.py":
        "unreadable images, full disk, broken checkpoints, loss that is not finite",
    "tests/test_fuzz.py": "fuzz: names, recipes, overrides, networks, lists, records, images",
    "tests/layers/test_truth.py":
        "elastic operations, losses, BN calibration and update against float64 NumPy",
    "tests/kernels/test_kernels.py": "the fused CPU functions against float64 NumPy",
}


def trials(examples: int) -> list:
    """A row a file of tests."""
    return [trial(file, what, examples) for file, what in FILES.items()]


def trial(file: str, what: str, examples: int) -> dict:
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file],
                          cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "OFA_FUZZ_EXAMPLES": str(examples)})
    count = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|error)",
                                                    done.stdout.splitlines()[-1])}
    if done.returncode:
        print(done.stdout[-3000:])
    note = f" ({examples:,} examples each)" if "fuzz" in what else ""
    return {"what": f"{what}{note}", "times": sum(count.values()), "came_out": count,
            "lost": count.get("failed", 0) + count.get("error", 0) + (not count)}
