"""One JSON record a run: what was run, on what, with which settings, and what came out.

Every figure in README and results/ is read from such records (see pages/), so that each number
names its seed, commit, versions, machine and time. A record is a plain dictionary:

    {"kind": "train", "recipe": "xception_digits", "stage": "kernel", "space": "K357_E1_D3",
     **describe_run(command, seed), "seconds": 123.4, "settings": {...},
     "history": [one row an epoch: HISTORY_KEYS],
     "results": [one row a subnet and image size: RESULT_KEYS]}

Accuracies are fractions in 0..1, learning rates are those of the epoch's start. Times are seconds; that
of a resumed run holds the epochs that were trained before.
Its file is <folder>/<recipe>/<kind>-<name or stage>.json, with "-seed<S>" before .json for S > 0.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import re
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any, List, Optional

import numpy as np

from .errors import OfaError

RUN_KEYS = ("kind", "recipe", "stage", "space", "seed", "command", "commit", "versions",
            "machine", "ranks", "date", "seconds", "settings")
HISTORY_KEYS = ("epoch", "lr", "loss", "top1", "valid_top1", "seconds", "images_per_second")
RESULT_KEYS = ("subnet", "image_size", "split", "images", "loss", "top1", "top5",
               "parameters", "macs")
# The lists of rows that each kind must have; searches and benchmarks choose their own row keys.
KINDS = {"train": {"history": HISTORY_KEYS}, "evaluate": {"results": RESULT_KEYS},
         "finetune": {"history": HISTORY_KEYS, "results": RESULT_KEYS + ("when",)},
         "search": {}, "benchmark": {}, "rank": {"results": ("subnet", "actual", "predicted")},
         "agreement": {"results": ("subnet", "image_size", "predicted", "measured")},
         "reliability": {"results": ("what", "times", "came_out", "lost")}}
FRACTIONS = ("top1", "top5", "valid_top1")
TEXTS = ("recipe", "stage", "command", "date", "subnet", "split", "when")
NUMBERS = ("seed", "ranks", "seconds", "epoch", "lr", "loss", "images_per_second", "image_size",
           "images", "parameters", "macs") + FRACTIONS
ROOT = Path(__file__).resolve().parents[1]


def describe_run(command: str, seed: int, ranks: int = 1) -> dict:
    """How a run came about: command, seed, ranks, commit, versions, machine and date (UTC)."""
    from . import __version__  # here, because the package imports this module
    return {"command": command, "seed": seed, "ranks": ranks, "commit": _commit(ROOT),
            "versions": {"python": platform.python_version(), "nnabla": metadata.version("nnabla"),
                         "numpy": np.__version__, "nnabla_ofa": __version__},
            "machine": {"cpu": _cpu(), "cores": _cores(), "gpu": _gpu()},
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat()}


def check_name(key: str, name: str) -> None:
    """OfaError, naming `key`, unless records can have files of this name."""
    if not re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]*", str(name)):
        raise OfaError(f"{key}={name!r} names files of records: use letters, digits and _ . + - only, "
                       "a letter, digit, _ or + first")


def relative_path(record: dict) -> Path:
    """Where a record lies under the records folder; "name" (optional) stands in for the stage."""
    name = record.get("name") or record["stage"]
    check_name("recipe", record["recipe"])
    check_name("name or stage", name)
    seed = f"-seed{record['seed']}" if record["seed"] else ""
    return Path(record["recipe"], f"{record['kind']}-{name}{seed}.json")


def write(folder, record: dict) -> Path:
    """Write `record` under `folder`, whole or not at all, over an older one of the same run.

    Returns its path. Raises OfaError for a missing key, a value that is not finite, an accuracy
    outside 0..1.
    """
    record = _plain(record, "record")
    _check(record)
    path = Path(folder) / relative_path(record)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(to_text(record))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def read(folder) -> List[dict]:
    """All records under `folder`, sorted by path; [] where there is no such folder.

    Raises OfaError, naming the file, for one that is broken, incomplete or in the wrong place.
    """
    folder, records = Path(folder), []
    for path in sorted(folder.rglob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
            _check(record)
            expected = relative_path(record)
            if path.relative_to(folder) != expected:
                raise OfaError(f"its contents belong to {folder / expected}: move it there")
        except (ValueError, RecursionError) as error:  # JSON, UTF-8 and OfaError alike
            raise OfaError(f"record {path}: {error}. Restore the file from git, or delete it and "
                           "run its command again") from error
        records.append(record)
    return records


def to_text(record: dict) -> str:
    """The record as JSON in a stable order; history and results have one row a line."""
    keys = [key for key in ("name",) + RUN_KEYS if key in record]
    keys += sorted(set(record) - set(keys) - {"history", "results"})
    keys += [key for key in ("history", "results") if key in record]
    lines = []
    for key in keys:
        if key in ("history", "results"):
            rows = [f"    {json.dumps(row, ensure_ascii=False)}" for row in record[key]]
            text = "[\n" + ",\n".join(rows) + "\n  ]" if rows else "[]"
        else:
            text = _layout(record[key], "  ")
        lines.append(f"  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _layout(value: Any, indent: str) -> str:
    """JSON with sorted keys: on one line where that is short, else an item a line."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if len(text) <= 90 - len(indent) or not isinstance(value, (dict, list)):
        return text
    inner = indent + "  "
    if isinstance(value, list):
        items, ends = [_layout(item, inner) for item in value], "[]"
    else:
        items = [f"{json.dumps(key)}: {_layout(value[key], inner)}" for key in sorted(value)]
        ends = "{}"
    return f"{ends[0]}\n{inner}" + f",\n{inner}".join(items) + f"\n{indent}{ends[1]}"


def _plain(value: Any, where: str) -> Any:
    """`value` with NumPy values, tuples and paths as JSON has them; `where` names it in errors."""
    if isinstance(value, dict):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise OfaError(f"{where} is {value}: a record holds finite numbers only, so this run is "
                       "not recorded")
    if not isinstance(value, (str, int, float, type(None))):
        raise OfaError(f"{where} is a {type(value).__name__}, which JSON cannot hold: give a "
                       "number, text, list or dictionary")
    return value


def _check(record: Any) -> None:
    if not isinstance(record, dict) or record.get("kind") not in KINDS:
        kind = record.get("kind") if isinstance(record, dict) else record
        raise OfaError(f"kind={kind!r} of a record is not one of {', '.join(KINDS)}")
    rows_of = KINDS[record["kind"]]
    _require(record, RUN_KEYS + tuple(rows_of), f"a {record['kind']} record")
    _check_types(record, "")
    _require(record["machine"], ("cpu", "cores", "gpu"), "machine")
    _require(record["versions"], ("python", "nnabla"), "versions")
    if not isinstance(record["seed"], int) or record["seed"] < 0:
        raise OfaError(f"seed={record['seed']} of a record is not an integer >= 0")
    if record["kind"] == "train" and record.get("results"):
        rows_of = dict(rows_of, results=RESULT_KEYS)
    for name, keys in rows_of.items():
        if not isinstance(record[name], list):
            raise OfaError(f"{name} is a {type(record[name]).__name__}, not a list of rows")
        for i, row in enumerate(record[name]):
            _require(row, keys, f"{name}[{i}]")
            _check_types(row, f"{name}[{i}].")


def _check_types(row: dict, where: str) -> None:
    for key, value in row.items():
        if key == "valid_top1" and value is None:  # an epoch without validation
            continue
        if key in TEXTS and not isinstance(value, str):
            raise OfaError(f"{where}{key}={value!r} is not a text")
        if key in NUMBERS and not isinstance(value, (int, float)):
            raise OfaError(f"{where}{key}={value!r} is not a number")
        if key in FRACTIONS and not 0 <= value <= 1:
            raise OfaError(f"{where}{key}={value} is not a fraction in 0..1")


def _require(row: Any, keys: tuple, where: str) -> None:
    missing = [key for key in keys if not isinstance(row, dict) or key not in row]
    if missing:
        raise OfaError(f"{where} misses {', '.join(missing)}")


def _refuse_constant(name: str) -> None:
    raise OfaError(f"it holds {name}, which no record may")


def _run(*command: str) -> Optional[str]:
    """Standard output of a command; None if it is absent, fails or hangs."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip()


def _commit(root: Path) -> Optional[str]:
    """Commit checked out at `root`, "-dirty" if tracked files differ; None if it is no checkout.

    results/ does not count: it holds what runs write, and no run reads it.
    """
    top = _run("git", "-C", str(root), "rev-parse", "--show-toplevel")
    commit = _run("git", "-C", str(root), "rev-parse", "--short=10", "HEAD")
    if not top or not commit or Path(top).resolve() != root.resolve():
        return None
    changes = _run("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no",
                   "--", ".", ":(exclude)results")
    return commit + ("" if changes == "" else "-dirty")


def _cpu() -> str:
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        cpuinfo = ""
    name = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return name.group(1).strip() if name else platform.processor() or platform.machine()


def _cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpu() -> Optional[str]:
    names = (_run("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or "").splitlines()
    return f"{len(names)} x {names[0]}" if names else None
