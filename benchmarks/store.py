"""Benchmark records that grow piece by piece, so that a long benchmark can be run in short ones."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from nnabla_ofa.reports.step_times import slug
from nnabla_ofa.system import records
from nnabla_ofa.system.machine import describe_run

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "results" / "records"


def save(folder, recipe: str, name: str, rows: Sequence[dict], key: Sequence[str], seconds: float,
         settings: dict, versions: Optional[Dict[str, str]] = None, ranks: int = 1,
         where: str = "") -> Path:
    """Write `rows` into the record `recipe`/benchmark-`name`, over older rows of the same `key`.

    Each row gets commit and date. Rows of another machine or of other versions are dropped: figures
    of one record can be compared. `where`, an instruction set or a GPU, ends the name, so that machines of
    different kinds have records of their own.
    """
    name = f"{name}-{slug(where)}" if where else name
    about = describe_run(f"python benchmarks/{recipe[len('benchmark_'):]}.py", 0, ranks)
    about["versions"].update(versions or {})
    rows = [{**row, "commit": about["commit"], "date": about["date"]} for row in rows]
    new = [[row.get(k) for k in key] for row in rows]
    for old in records.read(folder):
        if (old["recipe"], old.get("name")) == (recipe, name) and all(
                old[k] == about[k] for k in ("machine", "versions")):
            rows = [row for row in old["results"] if [row.get(k) for k in key] not in new] + rows
            seconds += old["seconds"]
    if where:
        about["where"] = where
    return records.write(folder, {**about, "kind": "benchmark", "recipe": recipe, "stage": name,
                                  "name": name, "space": "", "seconds": round(seconds, 1),
                                  "settings": settings, "results": rows})


def peer_versions(python: str, packages: List[str]) -> Dict[str, str]:
    """Versions of `packages` in another environment; {} where it is absent or lacks them."""
    code = ("import platform, sys; from importlib.metadata import version\n"
            "print('peers\\' python', platform.python_version())\n"
            "for name in sys.argv[1:]: print(name, version(name))")
    try:
        done = subprocess.run([python, "-c", code, *packages], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, universal_newlines=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
