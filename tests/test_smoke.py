"""What must work on every supported pair of Python and NNabla; all that `make smoke` runs."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import nnabla_ofa

ROOT = Path(__file__).resolve().parent.parent


def test_every_module_imports():
    modules = [m.name for m in pkgutil.walk_packages(nnabla_ofa.__path__, "nnabla_ofa.")]
    for name in modules:
        importlib.import_module(name)
    assert "nnabla_ofa.kernels" in modules


def test_two_ranks_see_each_other(mpirun):
    code = "from mpi4py import MPI; w = MPI.COMM_WORLD; print('rank', w.allreduce(w.rank), w.size)"
    run = mpirun(2, ["-c", code])
    assert sorted(run.stdout.splitlines()) == ["rank 1 2", "rank 1 2"]


def test_first_stages_train_and_subnets_evaluate(tmp_path):
    """A subnet of the stage's own list has the figures of the stage's record; another one beats chance."""
    def run(*command):
        subprocess.run([sys.executable, *command, "--output", str(tmp_path)], cwd=str(ROOT),
                       stdin=subprocess.DEVNULL, check=True, timeout=300)

    short = ["--set", "stages.fullnet.epochs=2", "--set", "stages.kernel.epochs=2"]
    run("runners/train.py", "--recipe", "xception_digits", "--search-space", "K357_E1_D3", *short)
    run("runners/evaluate.py", "--weights", str(tmp_path / "K357_E1_D3" / "weights.h5"),
        "--subnet", "XP1 7x7 3", "--subnet", "XP1 3x3 3", "--image-size", "20")
    found = {}
    for path in tmp_path.glob("records/*/*-kernel.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        found[record["kind"]] = {row["subnet"]: row for row in record["results"] if row["image_size"] == 20}
    full, small = (", ".join([name] * 8) for name in ("XP1 7x7 3", "XP1 3x3 3"))
    assert found["evaluate"][full] == found["train"][full]
    row = found["evaluate"][small]
    assert row["images"] == 359 and 0.2 < row["top1"] <= 1 and row["macs"] < found["train"][full]["macs"]
