"""The machine that a run is on, and the versions and commit that it is made with."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np

from ..version import VERSION

ROOT = Path(__file__).resolve().parents[2]  # of the checkout, where there is one


def describe_run(command: str, seed: int, ranks: int = 1) -> Dict[str, Any]:
    """How a run came about, for its record.

    Args:
        command: The command line.
        seed: 0 or more.
        ranks: How many processes of mpirun there were.

    Returns:
        "command", "seed", "ranks", "commit", "versions", "machine" and "date" (UTC), JSON-able.
    """
    return {"command": command, "seed": seed, "ranks": ranks, "commit": commit(ROOT),
            "versions": versions(),
            "machine": {"cpu": cpu(), "cores": cores(), "gpu": gpu()},
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat()}


def versions() -> Dict[str, str]:
    """The versions that files and records name."""
    return {"python": platform.python_version(), "nnabla": metadata.version("nnabla"),
            "numpy": np.__version__, "nnabla_ofa": VERSION}


def commit(root: Path) -> Optional[str]:
    """Commit checked out at `root`, "-dirty" if tracked files differ; None if it is no checkout.

    results/ does not count: it holds what runs write, and no run reads it.
    """
    top = _run("git", "-C", str(root), "rev-parse", "--show-toplevel")
    head = _run("git", "-C", str(root), "rev-parse", "--short=10", "HEAD")
    if not top or not head or Path(top).resolve() != root.resolve():
        return None
    changes = _run("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no",
                   "--", ".", ":(exclude)results")
    return head + ("" if changes == "" else "-dirty")


def cpu() -> str:
    """The CPU's model."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        cpuinfo = ""
    name = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return name.group(1).strip() if name else platform.processor() or platform.machine()


def cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu() -> Optional[str]:
    """How many NVIDIA GPUs there are, and the first one's model; None without any."""
    names = (_run("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or "").splitlines()
    return f"{len(names)} x {names[0]}" if names else None


def _run(*command: str) -> Optional[str]:
    """Standard output of a command; None if it is absent, fails or hangs."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip()
