"""How benchmarks start several processes: mpirun of the environment, or else of the machine."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import List


def command(processes: int, *arguments: object) -> List[str]:
    """The command line of `python *arguments`, by mpirun where there are several processes."""
    own = [sys.executable, "-W", "ignore", *map(str, arguments)]
    if processes == 1:
        return own
    beside = Path(sys.executable).parent / "mpirun"
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return [str(beside if beside.exists() else shutil.which("mpirun") or "mpirun"), *root,
            "--oversubscribe", "--bind-to", "none", "-n", str(processes), *own]
