"""Two processes of one thread each against one of two threads: the same update, the same images.

    mpirun -n 2 python benchmarks/ranks.py JOB     # as step.py --ranks starts it; prints JSON
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import List

import launch
import numpy as np

PROCESSES = (1, 2)
SUBNET = "largest"


def measure(args) -> List[dict]:
    """Rows of images a second and of the gradients' all-reduce, for one process and for two."""
    import jobs
    found = []
    for (setting, task, subnet), job in jobs.pieces(args.only, args.quick).items():
        if (task, subnet) != ("training", SUBNET):
            continue
        turns = {n: [] for n in PROCESSES}
        for _ in range(3 if not args.quick else 1):
            for n in PROCESSES:
                turns[n].append(run(n, job.request()))
        for n, replies in turns.items():
            steps = [s for reply in replies for s in reply["steps"]]
            reduces = [s for reply in replies for s in reply["reduces"]]
            images = max(PROCESSES) * job.batch
            found.append({"setting": setting, "processes": n, "threads": max(PROCESSES) // n,
                          "images": images, "median": median(steps),
                          "images_per_second": images / median(steps),
                          "all_reduce": median(reduces) if n > 1 else 0.0})
            print(f"{setting}: {n} x {max(PROCESSES) // n}: {found[-1]['images_per_second']:.1f} "
                  f"images/s, all-reduce {1000 * found[-1]['all_reduce']:.1f} ms", flush=True)
    return found


def run(processes: int, job: dict) -> dict:
    """Run this file on `processes` ranks that share the cores; what rank 0 prints."""
    command = launch.command(processes, Path(__file__).resolve(), json.dumps(job))
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(PROCESSES) // processes)}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
                          env=environment, universal_newlines=True)
    return json.loads(done.stdout.splitlines()[-1])


def rank_main(job: dict) -> None:
    """One rank: updates of as many passes as make the same number of images, each timed."""
    import ours
    from worker import timed

    from nnabla_ofa.system.comm import barrier, connect
    comm = connect("cpu")
    net = ours.network(job)
    images, labels = ours.data(job)
    step = ours.training_step(net, job, images, labels, comm, max(PROCESSES) // comm.size)
    for _ in range(2):
        step()
    steps = []
    for _ in range(10):
        barrier(comm)
        steps.append(timed(step))
    touched = [v for v in net.variables().values() if v.need_grad and not v.grad.zeroing]
    reduces = []
    for _ in range(10):
        barrier(comm)
        reduces.append(timed(lambda: comm.average_gradients(touched)))
    slowest = comm.add(np.array(steps)) / comm.size
    if comm.rank == 0:
        print(json.dumps({"steps": list(slowest), "reduces": reduces}), flush=True)


if __name__ == "__main__":
    rank_main(json.loads(sys.argv[1]))
