"""Exact resume: kill a run again and again, give the same command again, compare it with one left alone.

The digits recipe, shortened: all six stages and fine-tuning, two epochs each, small images, two
middle blocks. The kills are spread over the stages; within its stage each one is at a random step
and a random time after that step began, but every fifth waits for a checkpoint to be half written.
Under mpirun it hits one rank, or mpirun itself. Kills that came after their run's end do not count: others
follow, in a further run.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional

import numpy as np

from nnabla_ofa.system import container as checkpoint
from nnabla_ofa.system.files import write_atomically

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("fullnet", "kernel", "depth1", "depth2", "expand1", "expand2", "finetune")
EPOCHS, STEPS = 2, 11
LARGEST = "K357_E0.6+0.8+1_D123"
SHORT = ["data.calibration_images=64", "data.image_sizes=[12,14,16]", "data.valid_sizes=[16]",
         "data.held_out=0.5", "train.keep_checkpoints=99", "train.batch_size=32", "net.middle_blocks=2",
         "finetune.subnet=XP0.8 5x5 2",
         *(f"stages.{stage}.{key}" for stage in STAGES[:-1]
           for key in (f"epochs={EPOCHS}", "validate=[]")), f"finetune.epochs={EPOCHS}"]
TIMES = ("seconds", "images_per_second", "date", "command")


def plan(kills: int, ranks: int, seed: int, run: int = 0) -> list:
    """Where to kill: stage, epoch and step (from 1), seconds after its start, whom; in order."""
    rng, found = np.random.default_rng([seed, ranks] + [run] * bool(run)), []
    for k in range(kills):
        epoch = int(rng.integers(EPOCHS)) + 1
        step = int(rng.integers(STEPS if epoch < EPOCHS else STEPS // 2)) + 1  # not after its end
        found.append({"place": (k * len(STAGES) // kills, epoch, step), "writing": k % 5 == 4,
                      "delay": float(rng.uniform(0, 1.5)),
                      "whom": int(rng.integers(-1, ranks)) if ranks > 1 else 0})  # -1: mpirun
    return sorted(found, key=lambda kill: kill["place"])


def commands(folder: Path, ranks: int) -> list:
    """The two commands of a run in `folder`: all stages, then fine-tuning."""
    python = [sys.executable, str(ROOT / "scripts/reliability/traced.py"), str(folder / "trace")]
    if ranks > 1:
        launcher = Path(sys.executable).with_name("mpirun")
        python = [str(launcher) if launcher.exists() else "mpirun", "-n", str(ranks), "--oversubscribe",
                  "--bind-to", "none", *(["--allow-run-as-root"] if os.geteuid() == 0 else []), *python]
    shared = ["--recipe", "xception_digits", "--output", str(folder)]
    shared += [part for override in SHORT for part in ("--set", override)]
    return [[*python, "runners/train.py", "--search-space", LARGEST, *shared],
            [*python, "runners/finetune.py", "--weights", str(folder / LARGEST / "weights.h5"), *shared]]


def finished(folder: Path) -> bool:
    return any(folder.glob("finetune-*/subnet.h5"))


def start(folder: Path, ranks: int) -> subprocess.Popen:
    """Start the command that is not done yet."""
    folder.mkdir(parents=True, exist_ok=True)
    first, second = commands(folder, ranks)
    command = second if (folder / LARGEST / "weights.h5").exists() else first
    with open(folder / "log.txt", "ab") as log:
        return subprocess.Popen(command, cwd=str(ROOT), stdin=subprocess.DEVNULL, stdout=log,
                                stderr=log, start_new_session=True)


def run_to_the_end(folder: Path, ranks: int) -> None:
    while not finished(folder):
        process = start(folder, ranks)
        try:
            status = process.wait()
        finally:  # also when this program is stopped: leave no run behind
            stop(process, processes(folder, ranks))
        if status:
            raise SystemExit(f"a run failed with status {status}: see {folder / 'log.txt'}")


def trace(folder: Path, rank: int = 0) -> list:
    path = folder / f"trace.{rank}"
    return path.read_text().splitlines() if path.exists() else []


def processes(folder: Path, ranks: int) -> list:
    """The process of each rank that was started last."""
    return [int(next(line for line in reversed(lines) if line.startswith("pid"))[4:])
            for lines in (trace(folder, rank) for rank in range(ranks)) if lines]


def stop(process: subprocess.Popen, pids: list, whom: Optional[int] = None) -> None:
    """kill -9 of a rank, of the launcher (-1), or of all (None); returns when all are gone."""
    chosen = [process.pid, *pids] if whom is None else [process.pid if whom < 0 else pids[whom]]
    for pid in chosen if process.poll() is None else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(timeout=60)
    end = time.monotonic() + 60
    while any(map(running, pids)):
        if time.monotonic() > end:
            raise SystemExit(f"of the processes {pids} some are left a minute after kill -9 of {whom}")
        time.sleep(0.02)


def running(pid: int) -> bool:
    """Whether a process of these command lines is there; its number may have gone to another since."""
    try:
        return b"traced.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def kill_once(folder: Path, ranks: int, kill: dict) -> dict:
    """Run until the kill's place or beyond it, kill; where that was, and what it tore."""
    known = len(trace(folder))
    process = start(folder, ranks)
    try:
        wait_for(process, lambda: any(reached(line, kill["place"]) for line in trace(folder)[known:]), 0.01)
        if kill["writing"]:
            wait_for(process, lambda: any(folder.glob("*/.checkpoint-*.tmp")), 0.01)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=kill["delay"])
        alive = process.poll() is None
        stop(process, processes(folder, ranks), kill["whom"])
    finally:
        stop(process, processes(folder, ranks))
    last = trace(folder)[-1].split(" = ")[0]
    whom = ("mpirun" if kill["whom"] < 0 else f"rank {kill['whom']}") if alive else "too late"
    return {"killed": whom, "after": last, "half_written": len(list(folder.glob("*/.checkpoint-*.tmp")))}


def reached(line: str, place: tuple) -> bool:
    """Whether a line of a trace tells of a pass at `place` (stage's number, epoch, step) or beyond."""
    words = line.split()
    if len(words) < 4 or words[3] != "pass":
        return False
    return (STAGES.index(words[0]), int(words[1]), int(words[2])) >= tuple(place)


def wait_for(process: subprocess.Popen, ready, interval: float) -> None:
    """Return when `ready()` holds or the process has ended."""
    while process.poll() is None and not ready():
        time.sleep(interval)


def resume(folder: Path, kills: int, ranks: int, seed: int) -> tuple:
    """All of it, from where an earlier call stopped; (a row a kill, what differs, what was compared)."""
    alone = folder / f"alone-{ranks}"
    run_to_the_end(alone, ranks)
    rows, wrong = [], []
    for run in itertools.count():
        if len(rows) >= kills:
            break
        killed = folder / f"killed-{ranks}-{run}"
        done = kills_of(killed, plan(kills - len(rows), ranks, seed, run), ranks)
        found = differences(alone, killed, ranks)
        for text in found:
            print("differs:", text)
        wrong += found
        rows += [{**row, "run": run, "equal": not any(row["after"].split()[0] in text for text in found)}
                 for row in done if row["killed"] != "too late"]
    return rows, wrong, compared(alone)


def kills_of(killed: Path, planned: list, ranks: int) -> list:
    """The kills of one run, which then goes on to its end."""
    notes = killed / "kills.json"
    done = json.loads(notes.read_text()) if notes.exists() else []
    for kill in planned[len(done):]:
        if finished(killed):
            break
        done.append(kill_once(killed, ranks, kill))
        write_atomically(notes, json.dumps(done).encode())
        print(done[-1], flush=True)
    run_to_the_end(killed, ranks)
    return done


# Comparison --------------------------------------------------------------------------------------

def differences(alone: Path, killed: Path, ranks: int) -> list:
    """What of one run is not bit for bit in the other: files, records, draws."""
    stages = {str(path.parent.relative_to(alone)): None for path in alone.glob("*/checkpoint-*.h5")}
    names = {name: stage_name(alone / name) for name in stages}
    files = sorted(path.relative_to(alone) for path in alone.glob("*/*.h5"))
    found = [f"{names[str(path.parent)]}: {path}" for path in files
             if not (killed / path).exists() or content(alone / path) != content(killed / path)]
    if files != sorted(path.relative_to(killed) for path in killed.glob("*/*.h5")):
        found.append("the runs hold different files")
    for path in (alone / "records").rglob("*.json"):
        one, other = (json.loads((run / path.relative_to(alone)).read_text()) for run in (alone, killed))
        if timeless([one["history"], one["results"]]) != timeless([other["history"], other["results"]]):
            found.append(f"{one['stage']}: {path.name}")
    for rank in range(ranks):
        one, other = (steps(trace(run, rank)) for run in (alone, killed))
        found += [f"{place}: {other.get(place)} instead of {values}" for place, values in one.items()
                  if other.get(place) != values]
    return found + [f"left behind: {path}" for path in killed.rglob(".*.tmp")]


def compared(alone: Path) -> dict:
    """How much was compared."""
    files = list(alone.glob("*/*.h5"))
    return {"files": len(files), "arrays": sum(len(checkpoint.load(path)[0]) for path in files),
            "updates": sum("update" in place for place in steps(trace(alone))),
            "passes": sum("pass" in place for place in steps(trace(alone)))}


def stage_name(folder: Path) -> str:
    """The stage of a stage's folder."""
    if folder.name.startswith("finetune"):
        return "finetune"
    return checkpoint.load(folder / "weights.h5")[1]["info"]["stage"]


def steps(lines: list) -> dict:
    """{place: every value that was seen there}: one value each, however often it was computed."""
    found = {}
    for line in lines:
        place, equals, value = line.partition(" = ")
        if equals:
            found.setdefault(place, set()).add(value)
    return found


def content(path: Path):
    """A file's arrays as bytes, and its meta without times."""
    arrays, meta = checkpoint.load(path)
    return {name: array.tobytes() for name, array in arrays.items()}, timeless(meta)


def timeless(value):
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value
