"""What a training step spends beside computing: the training loop itself, its parts timed as it runs."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Callable, List
from unittest import mock

import jobs

from nnabla_ofa import Network
from nnabla_ofa.data import TrainLoader
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.system.comm import Single, connect
from nnabla_ofa.training import loop as train
from nnabla_ofa.training import sampling
from nnabla_ofa.training.settings import Stage

PLACES = (("drawing subnets and sizes", sampling, "draws"), ("normalisation, dropout", train.Loop, "_pass"),
          ("building the graph", Network, "forward"), ("progress bar", train.tqdm, "set_postfix_str"),
          ("progress bar", train.tqdm, "update"), ("step", train.Loop, "_epoch"))
WAITING = "waiting for images"
EPOCHS = 6  # of which the first warms up


def measure(args) -> List[dict]:
    """Rows of seconds a step of each part and of the whole: medians over epochs of random subnets."""
    connect("cpu")
    found = []
    for setting in ("quick",) if args.quick else ("big", "cifar"):
        epochs = train_epochs(jobs.SETTINGS[setting], steps=4 if args.quick else 20)
        for part in epochs[0]:
            found.append({"setting": setting, "part": part,
                          "median": median(epoch[part] for epoch in epochs)})
            print(f"{setting} {part:28s} {1000 * found[-1]['median']:8.2f} ms a step", flush=True)
    return found


def train_epochs(job: jobs.Job, steps: int) -> List[Counter]:
    """Per epoch but the first, the seconds of a step by part, and in all ("step")."""
    recipe = load_recipe("xception_digits", [
        f"net.width_mult={job.net['width_mult']}", f"net.stem_stride={job.net['stem_stride']}",
        f"net.classes={job.net['classes']}", f"train.batch_size={job.batch}",
        f"train.global_batch={job.batch}",
        f"data.train_images={steps * job.batch}", "train.subnets_per_step=1",
        f"data.image_sizes=[{job.image_size}]", f"data.valid_sizes=[{job.image_size}]"])
    lab = Lab.open(recipe, 0, Single())
    net = Network.create(recipe.net, jobs.SPACE)
    stage = Stage("expand2", jobs.SPACE, EPOCHS, 0.01)
    clock, epochs = Counter(), []

    def end_of_epoch(_) -> float:
        epochs.append({part: seconds / steps for part, seconds in clock.items()})
        clock.clear()
        return 0.0

    with ExitStack() as patches, tempfile.TemporaryDirectory() as folder:
        for part, owner, name in PLACES:
            patches.enter_context(mock.patch.object(owner, name, timed(getattr(owner, name), clock, part)))
        patches.enter_context(mock.patch.object(
            TrainLoader, "epoch", timed_iterator(TrainLoader.epoch, clock)))
        train.Loop(train.Task(net, stage, recipe.train, recipe.data, 0, lab.train, Path(folder), Single(),
                              end_of_epoch)).run()
    return epochs[1:]


def timed(function: Callable, clock: Counter, part: str) -> Callable:
    """`function`, its time added to the clock's `part`."""
    def timing(*args, **kwargs):
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            clock[part] += time.perf_counter() - start
    return timing


def timed_iterator(function: Callable, clock: Counter) -> Callable:
    """A function that gives an iterator, the time of each step of which is added to WAITING."""
    def timing(*args, **kwargs):
        iterator = function(*args, **kwargs)
        try:
            while True:
                start = time.perf_counter()
                item = next(iterator, None)
                clock[WAITING] += time.perf_counter() - start
                if item is None:
                    return
                yield item
        finally:
            iterator.close()
    return timing
