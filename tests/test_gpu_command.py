"""`make gpu` on machines whose GPU cannot serve, or that have none: one line says why, and nothing is run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def gpu(folder, shown=None):
    """(exit status, what it printed) with a stand-in for nvidia-smi that prints `shown`, or that fails."""
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\nexit 9\n" if shown is None else f"#!/bin/sh\necho '{shown}'\n")
    tool.chmod(0o755)
    done = subprocess.run([str(ROOT / "scripts/gpu.sh")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}",
                               "OFA_VENV": str(folder / "no venv")}, universal_newlines=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize("shown, why", [
    (None, "no NVIDIA GPU here"), ("", "no NVIDIA GPU here"),
    ("Tesla K80, 470.57.02", "the driver is 470.57.02, CUDA 12.1 needs 525 or newer"),
    ("Some GPU, [N/A]", "the driver is [N/A]")])
def test_a_machine_that_cannot_gets_one_line_and_status_2(tmp_path, shown, why):
    status, text = gpu(tmp_path, shown)
    assert status == 2 and len(text.splitlines()) == 1 and text.startswith("gpu: ") and why in text
    assert not (tmp_path / "no venv").exists()
