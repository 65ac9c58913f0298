"""Ranks under mpirun: equal to one process, stopped by a failing rank, refused where they differ.

    python scripts/reliability/ranks.py              # all trials, about 25 minutes on 2 cores
    python scripts/reliability/ranks.py same hosts   # some of them

Each trial writes results/records/reliability_ranks/reliability-<trial>.json; results/ranks.md is made
of these by runners/tables.py. A row says what was tried, how many times, what came out and how often,
and how many times anything was lost. The digits recipe, its first stage, shortened.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]

import hosts
import resume

from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.system import container as checkpoint
from nnabla_ofa.system import records
from nnabla_ofa.system.machine import describe_run
from nnabla_ofa.training.checkpoints import checkpoints

SPACE, EPOCHS = "K7_E1_D3", 3
TRAIN = ["runners/train.py", "--recipe", "xception_digits", "--search-space", SPACE]
for override in (f"stages.fullnet.epochs={EPOCHS}", "data.calibration_images=128",
                 "data.valid_sizes=[20]"):
    TRAIN += ["--set", override]
BROKEN, UPDATES = [*TRAIN, "--set", "train.global_batch=256"], 5  # an epoch
ONE_UPDATE = [*TRAIN, "--set", "train.global_batch=1280"]  # an epoch: rounding has no time to grow
CLOSE = 1e-4  # of an array's largest value: what other orders of summation may change in a few updates
FAILURES = {"exception": ("a rank raises an exception", "this rank was made to fail"),
            "memory": ("a rank reaches the limit of its memory", "Unable to allocate"),
            "kill": ("a rank is killed (kill -9)", "signal 9")}


class Ended:
    """How a command under mpirun ended: status, what it printed, when (seconds since 1970)."""

    def __init__(self, process: subprocess.Popen, limit: float = 400):
        try:
            self.printed, _ = process.communicate(timeout=limit)
            self.status: Optional[int] = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            self.printed, self.status = process.communicate()[0], None  # None: it hung
        self.printed = self.printed.replace("\0", "")  # Open MPI 5 ends its messages with one
        self.at = time.time()


def version() -> int:
    """Open MPI's major version."""
    text = subprocess.run([mpirun()[0], "--version"], stdout=subprocess.PIPE, text=True).stdout
    return int(re.search(r"(\d+)\.\d+", text)[1])


def mpirun() -> List[str]:
    beside = Path(sys.executable).with_name("mpirun")
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return [str(beside) if beside.exists() else "mpirun", "--oversubscribe", "--bind-to", "none", *root]


def start(ranks: int, *arguments, launcher: Optional[List[str]] = None) -> subprocess.Popen:
    """`python *arguments` on that many ranks."""
    command = [*(launcher or mpirun()), "-n", str(ranks), sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, cwd=str(ROOT), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True)


def run(ranks: int, *arguments, **how) -> Ended:
    return Ended(start(ranks, *arguments, **how))


def trained(folder: Path, epochs: int = EPOCHS) -> Dict[str, np.ndarray]:
    """Weights and optimiser state of a run after so many epochs; fails where it did not get there."""
    return checkpoint.load(folder / SPACE / f"checkpoint-{epochs:04d}.h5")[0]


def difference(a: Dict[str, np.ndarray], b: Dict[str, np.ndarray]) -> float:
    """The largest of all arrays' largest differences, each as a part of the array's largest value."""
    return max(np.abs(one - b[name]).max() / max(np.abs(one).max(), 1e-3) for name, one in a.items())


def how_far(differences: List[float]) -> Tuple[Counter, str]:
    """What came out, and the good one of it: all within CLOSE."""
    far = sum(value > CLOSE for value in differences)
    good = f"largest difference {max(differences):.1e} of an array's largest value"
    return Counter({good: len(differences) - far, "of these, too far": far}), good


def equal(a: Dict[str, np.ndarray], b: Dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def row(what: str, ranks: int, came_out: Counter, good: str, seconds: Optional[float] = None) -> dict:
    """One row; all that is not `good` counts as lost."""
    times = sum(came_out.values())
    return {"what": what, "ranks": ranks, "times": times, "came_out": dict(came_out),
            "lost": times - came_out[good], **({"seconds": round(seconds, 1)} if seconds else {})}


# Trials ------------------------------------------------------------------------------------------

def same(folder: Path, rng: np.random.Generator) -> List[dict]:
    """One process against 2 and 4 ranks: an update, and evaluation."""
    one_update = [*ONE_UPDATE, "--set", "stages.fullnet.epochs=1"]
    weights, figures = {}, {}
    for ranks in (1, 2, 4):
        output = folder / str(ranks)
        run(ranks, *one_update, "--output", output)
        weights[ranks] = checkpoint.load(output / SPACE / "checkpoint-0001.h5")[0]
        run(ranks, "runners/evaluate.py", "--weights", folder / "1" / SPACE / "weights.h5",
            "--set", "train.batch_size=320", "--set", "train.global_batch=320", "--output", output)
        [path] = output.rglob("evaluate-*.json")
        figures[ranks] = json.loads(path.read_text())["results"]
    rows = []
    for ranks in (2, 4):
        rows.append(row("one update: weights and momentum against one process", ranks,
                        *how_far([difference(weights[1], weights[ranks])])))
        alike = "identical" if figures[ranks] == figures[1] else "different"
        rows.append(row("evaluation in batches of 320 and 40 images: figures, against one process",
                        ranks, Counter([alike]), "identical"))
    return rows


def stop(ranks: int, folder: Path, rng: np.random.Generator) -> List[dict]:
    """One run, in which a rank fails in each way, an epoch later each time; then it is left to end."""
    good, tried, broken = "stopped, said why once", [], folder / "broken"
    run(ranks, *BROKEN, "--output", folder / "whole")
    for (how, (what, message)), first in zip(FAILURES.items(), (UPDATES, UPDATES, 0)):
        ended = run(ranks, "tests/failing_rank.py", how, rng.integers(ranks),
                    first + rng.integers(UPDATES), *BROKEN, "--output", broken)
        failed_at = float(re.search(r"failing at ([\d.]+)", ended.printed)[1])
        shown = message in ended.printed and ended.printed.count("Traceback") == (how != "kill")
        came_out = good if ended.status and shown else f"status {ended.status}, {shown=}"
        tried.append(row(what, ranks, Counter([came_out]), good, ended.at - failed_at))
        print(tried[-1], flush=True)
    run(ranks, *BROKEN, "--output", broken)
    alike = "the same bits" if equal(trained(folder / "whole"), trained(broken)) else "different"
    return tried + [row("that run, gone on with after each, against one left alone", ranks,
                        Counter([alike]), "the same bits")]


DIFFERENT = """
import os, runpy, sys
rank = os.environ["OMPI_COMM_WORLD_RANK"]
sys.argv = [a.replace("RANK", rank) for a in sys.argv[1:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def refuse(folder: Path, rng: np.random.Generator) -> List[dict]:
    """What must not start: ranks that differ, too few images, a folder in use."""
    small = folder / "small"
    write_images(small, per_class=1)
    for name in "0123":
        write_images(folder / f"data{name}", per_class=4 + (name == "1"))
    cases = {"ranks with different recipes": ["--set", "train.momentum=0.RANK"],
             "ranks with different seeds": ["--seed", "RANK"],
             "ranks with different data": ["--data", folder / "dataRANK"],
             "ranks that see different output folders": ["--output", folder / "outputRANK"],
             "ranks that cannot share the passes of an update": ["--set", "train.batch_size=64"],
             "fewer training images than ranks": ["--set", "data.held_out=0.5", "--data", small]}
    begun = folder / "output1"
    run(1, *TRAIN, "--set", "stages.fullnet.epochs=1", "--output", begun)
    rows = []
    for ranks in (2, 4):
        for what, arguments in cases.items():
            output = folder / f"{ranks} {what}"
            ended = run(ranks, "-c", DIFFERENT, *TRAIN, "--output", output, *arguments)
            rows.append(refused(what, ranks, ended))
        first = start(ranks, *TRAIN, "--output", folder / f"used{ranks}")
        wait_for(folder / f"used{ranks}" / SPACE / "checkpoint-0001.h5")
        second = run(ranks, *TRAIN, "--output", folder / f"used{ranks}")
        rows.append(refused("a second run in the output folder of a running one", ranks, second))
        if Ended(first).status:
            rows[-1]["lost"] += 1
    return rows


def refused(what: str, ranks: int, ended: Ended) -> dict:
    errors = re.findall("^error: (.*)", ended.printed, re.MULTILINE)
    good = "refused with one error" if ended.status and len(errors) == 1 else ""
    print(f"  {what}: {errors}")
    return row(what, ranks, Counter([good or f"status {ended.status}, errors: {errors}"]), good)


def write_images(folder: Path, per_class: int) -> None:
    """A data set of two classes of grey images."""
    import cv2
    for split in ("train", "val"):
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True)
            for i in range(per_class):
                cv2.imwrite(str(folder / split / name / f"{i}.png"), np.full((28, 28, 3), 8 * i, np.uint8))


def wait_for(path: Path, limit: float = 60) -> None:
    end = time.time() + limit
    while not path.exists() and time.time() < end:
        time.sleep(0.1)


def two_hosts(folder: Path, rng: np.random.Generator) -> List[dict]:
    """One rank on each of two hosts; the cable between them is pulled. Then both go on, or one alone."""
    reason = hosts.unavailable()
    if reason:
        raise SystemExit(f"hosts: skipped, {reason}")
    run(2, *ONE_UPDATE, "--output", folder / "one")
    with hosts.two_hosts():
        launcher = hosts.launch(mpirun(), version())
        run(2, *ONE_UPDATE, "--output", folder / "two", launcher=launcher)
        alike = equal(trained(folder / "one"), trained(folder / "two"))
        rows = [row("one rank on each of two hosts, against two ranks on one host", 2,
                    Counter(["the same bits" if alike else "different"]), "the same bits")]
        came_out, alone, slowest = Counter(), [], 0.0
        for k in range(3):
            output = folder / f"cut{k}"
            process = start(2, *ONE_UPDATE, "--output", output, launcher=launcher)
            wait_for(output / SPACE / "checkpoint-0001.h5")
            time.sleep(rng.uniform(0, 1))
            hosts.cut()
            cut_at = time.time()
            ended = Ended(process)
            while running(output) and time.time() < cut_at + 120:  # on the host that mpirun lost
                time.sleep(0.1)
            slowest = max(slowest, time.time() - cut_at)
            hosts.mend()
            shutil.copytree(str(output), str(folder / f"first{k}"))
            said = "lost communication" in ended.printed
            broken_off = not (output / SPACE / "weights.h5").exists()
            run(2, *ONE_UPDATE, "--output", output, launcher=launcher)
            resumed = equal(trained(folder / "two"), trained(output))
            begun = checkpoints(folder / f"first{k}" / SPACE)[0][0]
            run(1, *ONE_UPDATE, "--output", folder / f"first{k}")
            alone.append(difference(*(trained(folder / name, begun + 1) for name in ("two", f"first{k}"))))
            good = ended.status is not None and said and broken_off and resumed
            print(f"  stopped after {time.time() - cut_at:.1f} s with status {ended.status}")
            came_out["stopped, said why, resumed to the same bits" if good else
                     f"status {ended.status}, {said=}, {broken_off=}, {resumed=}"] += 1
    return rows + [row("the network between two hosts is cut", 2, came_out,
                       "stopped, said why, resumed to the same bits", slowest),
                   row("the first host alone goes on: its first update, against that of both", 1,
                       *how_far(alone))]


def change(folder: Path, rng: np.random.Generator) -> List[dict]:
    """Every stage, each from the same start: killed before update 2, which another number of ranks makes.

    More updates would say less: a network this small makes of a difference of 1e-7 one of 1e-2 in two.
    """
    shared = ["--recipe", "xception_digits"]
    for override in (*resume.SHORT, "train.batch_size=16", "train.global_batch=640"):
        shared += ["--set", override]
    spaces = {stage.name: stage.space for stage in load_recipe("xception_digits").stages}

    def command(name: str, output: Path) -> list:
        weights = output / resume.LARGEST / "weights.h5"
        chosen = (["runners/train.py", "--only", "--search-space", spaces[name]] if name in spaces else
                  ["runners/finetune.py", "--weights", weights])
        return [*chosen, *shared, "--output", output]

    def last(name: str, output: Path) -> Path:
        [path] = output.glob(f"{spaces.get(name, 'finetune-*')}/checkpoint-*2.h5")
        return path

    rows = []
    for before, after in ((2, 1), (1, 2)):
        alone, found = folder / f"alone{before}", []
        for name in resume.STAGES:
            run(before, *command(name, alone))
        for name in resume.STAGES:
            output, stage = folder / f"{name}{before}", last(name, alone).parent.name
            shutil.copytree(str(alone), str(output))
            shutil.rmtree(str(output / stage))
            run(before, "tests/failing_rank.py", "kill", rng.integers(before), 1, *command(name, output))
            if len(list(output.glob(f"{stage}/checkpoint-*.h5"))) != 1:
                raise SystemExit(f"the kill in stage {name} took no effect")
            run(after, *command(name, output))
            found.append(difference(*(checkpoint.load(last(name, run))[0] for run in (alone, output))))
            print(f"  {name} {before} -> {after}: {found[-1]:.1e}", flush=True)
        what = f"a kill in each stage on {before}, then the same command on {after}: weights and momentum"
        rows.append(row(f"{what} against a run left alone on {before}", before, *how_far(found)))
    return rows


def messages(folder: Path, rng: np.random.Generator) -> List[dict]:
    """Small gradients a message each, or together: in shared memory, and over TCP."""
    rows, tcp = [], ["--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "lo"]
    for options, where in (([], "in shared memory"), (tcp, "over TCP")):
        for recipe, ranks in (("xception_digits", 2), ("xception_digits", 4), ("xception_imagenet", 2)):
            ended = run(ranks, "scripts/reliability/messages.py", recipe, launcher=mpirun() + options)
            found = json.loads(re.search(r"^{.*}$", ended.printed, re.MULTILINE)[0])
            came_out = f"{found['apart']:.2f} ms one by one, {found['packed']:.2f} ms with small ones packed"
            rows.append(row(f"{found['gradients']} gradients of `{recipe}`, {found['values'] / 1e6:.2f} M "
                            f"values, {where}: fastest of 30", ranks, Counter([came_out]), came_out))
    return rows


def running(output: Path) -> bool:
    """Whether a process is left that writes to `output`."""
    lines = subprocess.run(["ps", "-eo", "args"], stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return any(str(output) in line and "runners/train.py" in line for line in lines)


TRIALS: Dict[str, Callable[[Path, np.random.Generator], List[dict]]] = {
    "same": same, "stop2": partial(stop, 2), "stop4": partial(stop, 4), "refuse": refuse, "hosts": two_hosts,
    "change": change, "messages": messages}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=f"of {', '.join(TRIALS)} (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of what is random in them")
    parser.add_argument("--records", type=Path, default=ROOT / "results/records")
    args = parser.parse_args()
    lost = 0
    for name in args.trials or TRIALS:
        begun = time.time()
        print(f"trial {name}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows = TRIALS[name](Path(folder), np.random.default_rng(args.seed))
        command = " ".join(["python scripts/reliability/ranks.py", shlex.quote(name)])
        record = {**describe_run(command, args.seed, max(r["ranks"] for r in rows)),
                  "kind": "reliability",
                  "recipe": "reliability_ranks", "stage": name, "space": SPACE, "settings": {},
                  "seconds": round(time.time() - begun, 1), "results": rows}
        print(f"record: {records.write(args.records, record)}")
        for result in rows:
            print(result)
        lost += sum(result["lost"] for result in rows)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
