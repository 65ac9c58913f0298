"""A disk that fills up while a checkpoint is written: a tmpfs of a few megabytes, then of more."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from resume import SHORT, content

from nnabla_ofa.system import container as checkpoint
from nnabla_ofa.training.checkpoints import checkpoints

ROOT = Path(__file__).resolve().parents[2]
SIZES = (1, 2, 3)  # MiB: room for no, one or two of the checkpoints and what else a run writes
TRAIN = ["--search-space", "K7_E1_D3", "--recipe", "xception_digits",
         *(part for override in [*SHORT, "stages.fullnet.epochs=3"] for part in ("--set", override))]


def train(output: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "runners/train.py", *TRAIN, "--output", str(output)],
                          cwd=str(ROOT), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)


def trials(folder: Path) -> list:
    """One row: runs on disks too small, whose disk then grows."""
    shutil.rmtree(folder, ignore_errors=True)  # what another version left
    alone = folder / "alone"
    assert train(alone).returncode == 0
    came_out = {"one clear error, checkpoints before it whole, and once there was room the same end": 0,
                "something else": 0}
    for size in SIZES:
        good = trial(folder / f"{size}", size, alone)
        came_out[list(came_out)[not good]] += 1
    return [{"what": f"the disk fills up during training ({', '.join(map(str, SIZES))} MiB)",
             "times": len(SIZES), "came_out": {k: n for k, n in came_out.items() if n},
             "lost": came_out["something else"]}]


def trial(disk: Path, size: int, alone: Path) -> bool:
    disk.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "none", str(disk)], check=True)
    try:
        run = train(disk / "run")
        errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
        clear = run.returncode == 2 and len(errors) == 1 and "No space left" in errors[0]
        whole = [checkpoint.load(path) for _, path in checkpoints(disk / "run/K7_E1_D3")]
        print(f"{size} MiB: status {run.returncode}, {len(whole)} checkpoints, {errors}")
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = train(disk / "run")
        files = [path.relative_to(alone) for path in alone.glob("*/*.h5")]
        same = all(content(alone / path) == content(disk / "run" / path) for path in files)
        return clear and again.returncode == 0 and same
    finally:
        subprocess.run(["umount", str(disk)], check=True)
