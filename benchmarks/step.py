"""Training step and evaluation of every family: ours, NNabla, nnabla-nas, PyTorch, onnxruntime, the limit.

    python benchmarks/step.py                              # all of the table, about 40 minutes
    python benchmarks/step.py --only big:training:largest  # a piece of it, the others stay recorded
    python benchmarks/step.py --only zoo:training:resnet18 # a network of the zoo at 32 pixels
    python benchmarks/step.py --memory                     # peak memory of a training step
    python benchmarks/step.py --curve batch                # cost as work grows; or all curves
    python benchmarks/step.py --ranks                      # two processes against two threads
    python benchmarks/step.py --overhead                   # what the training loop adds to computing
    python benchmarks/step.py --device cudnn               # the same table on an NVIDIA GPU
    python runners/tables.py                               # the page and its pictures, from the records

Contenders run in processes of their own and take turns; medians are compared. Peers need an
environment of their own (benchmarks/requirements-bench.txt); without it their columns stay empty.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Iterator, List

ROOT = Path(__file__).resolve().parents[1]

import jobs
import limit
import ranks
import store
from turns import summary, take_turns
from worker import Failed, Worker

CPU = {"ours": "ours:fast", "NNabla": "ours:nnabla", "nnabla-nas": "nas",
       "PyTorch": "peers:eager", "PyTorch channels_last": "peers:channels_last",
       "PyTorch bf16": "peers:bf16", "onnxruntime": "peers:onnxruntime"}
CUDA = {"ours": "ours:cudnn", "ours, half": "ours:cudnn:half", "nnabla-nas": "nas:cudnn",
        "PyTorch AMP channels_last": "peers:amp"}
UNITS = {f"{way}{', half' if half else ''}": f"unit:{way}@cudnn{':half' if half else ''}"
         for half in (False, True) for way in ("grouped", "depthwise", "channel_last")}
RATES = {"product": "limit:product", "product of PyTorch": "peers:product", "copy": "limit:copy"}
RECIPE = "benchmark_step"
SLOW = ("NNabla", "nnabla-nas")  # measured on Xception alone
CHANNELS, KERNEL = 728, 7  # as in unit.py, which must not initialise NNabla here


def main(args) -> None:
    if args.ranks:
        parts, name, key = iter([ranks.measure(args)]), "ranks", ("setting", "processes")
    elif args.overhead:
        import overhead  # initialises NNabla here
        parts, name, key = iter([overhead.measure(args)]), "overhead", ("setting",)
    elif args.memory:
        parts, name, key = memory(args), "memory", ("setting", "subnet", "contender")
    elif args.curve is not None:
        parts, name, key = curves(args), "curve", ("axis", "value")
    else:
        parts, name, key = table(args), "step", ("setting", "task", "subnet")
    name, where = name if args.device == "cpu" else f"{name}-cudnn", limit.where(args.device)
    settings = {name: asdict(job) for name, job in jobs.SETTINGS.items()}
    versions = store.peer_versions(args.peers, ["torch", "onnxruntime"])
    start, path = time.time(), None
    for rows in parts:  # each is recorded at once: who stops the rest keeps it
        path = store.save(args.records, RECIPE, name, rows, key, time.time() - start, settings, versions,
                          2 if args.ranks else 1, where)
        start = time.time()
    if path is None:
        raise Failed("nothing was measured: check --only, and what the contenders said above")
    print(f"record: {path}")


@contextlib.contextmanager
def started(names: dict, args):
    """Workers of the contenders that can run here, ended afterwards."""
    workers = {}
    try:
        for name, contender in names.items():
            python = args.peers if contender.startswith("peers") else sys.executable
            if Path(python).exists():
                environment = limit.environment() if contender.startswith("limit") else None
                workers[name] = Worker(contender, python, environment)
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def table(args) -> Iterator[List[dict]]:
    """Rows of the table, a list a piece: a contender's seconds, and the limit's."""
    for piece, job in jobs.pieces(args.only, args.quick).items():
        names, found = contenders(job, args.device), []
        print(":".join(piece), flush=True)
        with started({**names, **(RATES if args.device == "cpu" else {})}, args) as workers:
            seconds = take_turns(workers, job.request(), args.rounds, args.budget)
        place = dict(zip(("setting", "task", "subnet"), piece), name=job.subnet,
                     batch=job.batch, macs=job.cost().macs)
        rates = {name: summary(seconds.pop(name)) for name in RATES if name in seconds}
        for name, calls in seconds.items():
            found.append({**place, "contender": name, **summary(calls)})
            print(f"  {name:24s} {1000 * found[-1]['median']:10.2f} ms", flush=True)
        if rates:
            found.append({**place, "contender": "limit", **the_limit(job, rates)})
        if found:
            yield found
    if args.device == "cudnn":
        found = units(args)
        if found:
            yield found


def contenders(job, device: str = "cpu") -> dict:
    """Those that do this job on this machine."""
    missing = [*([] if job.net["family"] == "xception" else SLOW),
               *([] if job.task == "evaluation" else ["onnxruntime"]),
               *([] if limit.has_bfloat16() else ["PyTorch bf16"])]
    return {name: way for name, way in (CPU if device == "cpu" else CUDA).items() if name not in missing}


def units(args) -> list:
    """Rows of one separable layer, in each of NNabla's ways to compute it on a GPU."""
    job = jobs.SETTINGS["big"]
    with started(UNITS, args) as workers:
        seconds = take_turns(workers, job.request(), args.rounds, args.budget)
    macs = (job.image_size // 16) ** 2 * CHANNELS * (KERNEL ** 2 + CHANNELS)
    return [{"setting": "big", "task": "one layer", "subnet": "separable", "contender": name,
             "name": f"{CHANNELS} channels {KERNEL}x{KERNEL}", "batch": job.batch, "macs": macs,
             **summary(calls)} for name, calls in seconds.items()]


def the_limit(job, measured: dict) -> dict:
    """The limit's seconds at the rates measured beside the contenders."""
    products = [row["median"] for name, row in measured.items() if name != "copy"]
    rates = limit.Rates(limit.PRODUCT_FLOPS / min(products),
                        limit.COPY_BYTES / measured["copy"]["median"])
    parts = limit.seconds(job.cost(), job.batch, job.task == "training", rates)
    total = sum(parts.values())
    print(f"  limit {1000 * parts['flops']:.2f} + {1000 * parts['memory']:.2f} ms at "
          f"{rates.flops / 1e9:.0f} GFLOP/s, {rates.bytes / 1e9:.1f} GB/s")
    figures = {"median": total, **parts, "gflops": rates.flops / 1e9, "gbytes": rates.bytes / 1e9}
    return {name: round(value, 6) for name, value in figures.items()}


def memory(args) -> Iterator[List[dict]]:
    """Rows of the peak memory of a process that makes training steps, each started afresh."""
    for (setting, task, subnet), job in jobs.pieces(args.only, args.quick).items():
        if task != "training" or setting != "zoo" and subnet != "largest":
            continue
        for name, contender in contenders(job).items():
            with started({name: contender}, args) as workers:
                for worker in workers.values():
                    worker.ask(do="prepare", job=job.request())
                    peak = worker.ask(do="memory", repeats=2)["peak"]
                    print(f"{setting} {subnet} {name:24s} {peak / 2 ** 20:8.0f} MiB", flush=True)
                    yield [{"setting": setting, "subnet": subnet, "contender": name, "peak": peak}]


def curves(args) -> Iterator[List[dict]]:
    """Rows of the training step's seconds as one field of the job grows, a list a point."""
    names = {name: CPU[name] for name in ("ours", "PyTorch channels_last")}
    for axis in [args.curve] if args.curve else jobs.CURVES:
        for value, job in jobs.curve(axis, args.quick):
            with started({**names, **RATES}, args) as workers:
                seconds = take_turns(workers, job.request(), args.rounds, args.budget)
            rates = {name: summary(seconds.pop(name)) for name in RATES if name in seconds}
            place = {"axis": axis, "value": value, "batch": job.batch, "macs": job.cost().macs}
            print(f"{axis} {value}", flush=True)
            yield [*({**place, "contender": name, **summary(calls)} for name, calls in seconds.items()),
                   {**place, "contender": "limit", **the_limit(job, rates)}]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="SETTING[:TASK[:SUBNET]]",
                        help="big, cifar, mobilenetv3-big and so on, or zoo; training or evaluation; "
                             "largest, middle, smallest, or a network of the zoo")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--memory", action="store_true", help="peak memory instead of time")
    what.add_argument("--curve", nargs="?", const="", choices=("", *jobs.CURVES), metavar="AXIS",
                      help="cost as one of batch, image size, width, subnet grows")
    what.add_argument("--overhead", action="store_true", help="what the training loop adds")
    what.add_argument("--ranks", action="store_true", help="two processes against one")
    parser.add_argument("--device", choices=("cpu", "cudnn"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="tiny networks: does it work at all?")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contender")
    parser.add_argument("--budget", type=float, default=10, metavar="SECONDS",
                        help="of one contender a piece; it then stops early")
    parser.add_argument("--records", type=Path, default=store.FOLDER)
    parser.add_argument("--peers", default=str(ROOT / ".venv-bench/bin/python"), metavar="PYTHON",
                        help="of the peers' environment (default: .venv-bench)")
    try:
        main(parser.parse_args())
    except Failed as error:
        sys.exit(f"error: {error}")
