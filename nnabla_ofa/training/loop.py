"""The one training loop: draws, step, schedule, progress, checkpoints, resumption.

Every random draw comes from a generator of (seed, stage, epoch, step): all ranks draw the same
subnets and image size without talking, and a resumed run draws what it would have. An update sees
`global_batch` images as passes of `batch_size`, numbered over the ranks, so the number of ranks
does not change what is computed but for the rounding of sums.
"""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from tqdm import tqdm

from ..data import Data, Dataset, TrainLoader, normalise
from ..errors import OfaError
from ..model import AnyNetwork
from ..nets import Arch
from ..system.comm import Communicator, require_agreement
from ..system.machine import versions
from ..system.requeue import StopRequested, asked_to_stop
from . import sampling
from .average import Average, Beside
from .checkpoints import newest_checkpoint, save_checkpoint
from .identity import refuse_changes
from .lookahead import Lookahead
from .monitor import SeriesLog
from .optimiser import Optimiser
from .schedule import generator, learning_rate
from .settings import Stage, Train
from .step import LossScale, NotFinite, Pass, Stepper, Teacher, loss_scale


@dataclass(frozen=True)
class Task:
    """What is trained, on what, and where its results go.

    Args:
        net: The network, whose weights change.
        stage: Epochs and learning rates.
        train, data: The recipe's settings.
        seed: Of all draws.
        dataset: The images to learn from.
        folder: Where checkpoints and monitor series go.
        comm: The ranks. Only rank 0 writes.
        validate: network -> top-1 (a fraction) on the held-out images, by which `best.h5` is chosen.
        teachers: Frozen networks by image size, to distil from.
        fingerprint: What must not change in a resumed run, unless `accept_changes`.
        unknown: What checkpoints would say that are older than a part of the fingerprint.
        accept_changes: Whether a changed fingerprint is accepted.
    """

    net: AnyNetwork
    stage: Stage
    train: Train
    data: Data
    seed: int
    dataset: Dataset
    folder: Path
    comm: Communicator
    validate: Callable[[AnyNetwork], float]
    teachers: Mapping[int, Teacher] = field(default_factory=dict)
    fingerprint: Mapping[str, object] = field(default_factory=dict)
    unknown: Mapping[str, object] = field(default_factory=dict)
    accept_changes: bool = False


@dataclass(frozen=True)
class Begun:
    """What of an epoch is done: steps, sums of loss and top-1 over the `taken` ones, seconds."""

    steps: int = 0
    sums: Tuple[float, ...] = (0.0, 0.0)
    taken: int = 0
    seconds: float = 0.0


class Loop:
    """A stage's training: epochs of steps, a checkpoint after each.

    history: a row an epoch. restored: how many of these an earlier process trained. average: the moving
    average of the weights or their slow ones, which the network has once `run` is done; None without
    train.ema and train.lookahead.
    """

    def __init__(self, task: Task):
        self.task = task
        self.history: List[Dict[str, Any]] = []
        self.restored = 0
        self.accumulate = passes_per_update(task.train, task.comm.size)
        self.loader = TrainLoader(task.dataset, task.data.augment, task.seed, task.stage.name,
                                  task.train.batch_size, task.comm.rank, task.comm.size,
                                  task.data.workers, task.data.backend)
        self.steps = self.loader.steps_per_epoch(self.accumulate)
        self.stepper = Stepper(task.net, task.train, Optimiser(task.net, task.train), task.comm,
                               task.teachers, loss_scale(task.train.loss_scale))
        self.average = beside(task.net, task.train)
        self._begun = Begun()
        self._saved = time.monotonic()
        if task.train.running_statistics and task.train.checkpoint_minutes and task.comm.size > 1:
            raise OfaError("train.checkpoint_minutes is not possible with train.running_statistics on "
                           "several processes: each follows its own passes until the epoch's end")

    def run(self) -> List[Dict[str, Any]]:
        """Train to the last epoch, from the newest checkpoint if there is one; the epochs' history."""
        task = self.task
        first = self._restore()
        self.restored = len(self.history)
        total, done = task.stage.epochs * self.steps, first * self.steps + self._begun.steps
        log = SeriesLog(task.folder / "monitor") if task.comm.rank == 0 else None
        with tqdm(total=total, initial=done, desc=task.stage.name, unit="step",
                  disable=task.comm.rank != 0, dynamic_ncols=True) as bar, asked_to_stop() as asked:
            for epoch in range(first, task.stage.epochs):
                entry = self._epoch(epoch, bar, asked)
                self._begun = Begun()
                self._share_statistics()
                with self._averaged():
                    entry["valid_top1"] = task.validate(task.net)
                self.history.append(entry)
                self._report(entry, bar, log)
                self._save(epoch + 1)
                if epoch + 1 < task.stage.epochs and self._agreed(asked()):
                    raise StopRequested(f"stopped as asked after epoch {epoch + 1}")
        if log:
            log.close()
        if self.average:
            self.average.swap()
        return self.history

    def _averaged(self) -> ContextManager[None]:
        """Within, the network has the weights that are the result: their average, where there is one."""
        return self.average.in_place() if self.average else nullcontext()

    def _share_statistics(self) -> None:
        """Where BN keeps running statistics: the mean of all ranks', of the average's too."""
        if self.task.train.running_statistics:
            average_statistics(self.task.net, self.task.comm)
            if self.average:
                with self.average.in_place():
                    average_statistics(self.task.net, self.task.comm)

    def _epoch(self, epoch: int, bar: tqdm, asked: Callable[[], bool]) -> dict:
        """One pass over the data, or the rest of one; its mean loss and top-1, its time."""
        task, settings, begun = self.task, self.task.train, self._begun
        start = time.perf_counter() - begun.seconds
        sums, taken = np.array(begun.sums), begun.taken
        images = self.steps * settings.global_batch
        draws = sampling.draws(
            task.net, task.data.image_sizes, settings, self.steps,
            lambda step, purpose: generator(task.seed, task.stage.name, epoch, step, purpose),
            lambda step: (epoch + step / self.steps) / task.stage.epochs)
        batches = self.loader.epoch(epoch, lambda number: draws[number // self.accumulate][0],
                                    begun.steps * self.accumulate, self.accumulate)
        try:
            for step, (size, archs) in list(enumerate(draws))[begun.steps:]:
                lr = learning_rate(task.stage, settings, epoch + step / self.steps)
                passes = (self._pass(epoch, step, i, *next(batches)) for i in range(self.accumulate))
                try:
                    measured = self.stepper.step(passes, archs, lr, self.accumulate)
                except NotFinite as error:
                    raise OfaError(self._diverged(epoch, step, size, archs, lr, error)) from error
                if measured:
                    sums, taken = sums + measured, taken + 1
                    if self.average:
                        self.average.update((epoch + (step + 1) / self.steps) / task.stage.epochs)
                loss, top1 = sums / max(taken, 1)
                rate = (step + 1) * settings.global_batch / (time.perf_counter() - start)
                bar.update()
                bar.set_postfix_str(f"loss {loss:.3f}, top-1 {top1:.1%}, {rate:.0f} images/s"
                                    f"{self.stepper.scale or ''}", refresh=False)
                if step + 1 < self.steps:
                    self._save_within(epoch, Begun(step + 1, tuple(sums.tolist()), taken,
                                                   time.perf_counter() - start), asked())
        finally:
            batches.close()
        if not taken:
            raise OfaError(f"no step of epoch {epoch + 1} of stage {task.stage.name} had finite "
                           "gradients: lower the learning rate, or train in single precision")
        seconds, scale = time.perf_counter() - start, self.stepper.scale
        return {"epoch": epoch + 1, "lr": lr, "loss": loss, "top1": top1, "seconds": seconds,
                "images_per_second": images / seconds,
                **({"loss_scale": scale.value, "skipped_steps": scale.skipped} if scale else {})}

    def _pass(self, epoch: int, step: int, i: int, images: np.ndarray, labels: np.ndarray) -> Pass:
        """One pass's input; its noise is that of its number among all ranks' passes of the epoch."""
        task, augment = self.task, self.task.data.augment
        number = (step * self.accumulate + i) * task.comm.size + task.comm.rank
        return (normalise(images, augment.mean, augment.std), labels,
                partial(noise, task.seed, task.stage.name, epoch, number))

    def _diverged(self, epoch: int, step: int, size: int, archs: Sequence[Arch], lr: float,
                  error: NotFinite) -> str:
        return (f"loss or gradients are not finite at epoch {epoch + 1} step {step + 1} of stage "
                f"{self.task.stage.name} (image size {size}, lr {lr:g}, subnets "
                f"{'; '.join(map(str, archs))}; {error}). The last checkpoint in {self.task.folder} is "
                "good: lower the learning rate or set train.clip_grad, and run again with "
                "--accept-changes")

    def _report(self, entry: dict, bar: tqdm, log: Optional[SeriesLog]) -> None:
        if log is None:
            return
        milliseconds = 1000 * entry["seconds"]
        bar.write(f"epoch: {entry['epoch']} step: {self.steps}, loss is {entry['loss']:.6f}")
        bar.write(f"epoch time: {milliseconds:.3f} ms, per step time: "
                  f"{milliseconds / self.steps:.3f} ms")
        bar.write(f"train top-1: {entry['top1']:.4f}, held-out top-1: {entry['valid_top1']:.4f}")
        sys.stdout.flush()  # into a log file at once
        for name in ("loss", "top1", "valid_top1", "lr", "images_per_second"):
            log.add(name, entry["epoch"], entry[name])

    # Checkpoints -------------------------------------------------------------------------------

    def _agreed(self, asked: bool) -> bool:
        """Whether any rank was asked, on every rank."""
        return asked if self.task.comm.size == 1 else bool(self.task.comm.add(np.array([float(asked)]))[0])

    def _save_within(self, epoch: int, begun: "Begun", asked: bool) -> None:
        """A checkpoint within an epoch where one is due or asked for; StopRequested in the latter case."""
        minutes = self.task.train.checkpoint_minutes
        due = minutes is not None and time.monotonic() - self._saved >= 60 * minutes
        asked = self._agreed(asked)
        if asked or due:
            self._save(epoch, begun)
        if asked:
            raise StopRequested(f"stopped as asked after step {begun.steps} of epoch {epoch + 1}")

    def _save(self, epochs: int, begun: Optional["Begun"] = None) -> None:
        """The state after `epochs` epochs, and `begun` of the next one."""
        task = self.task
        self._saved = time.monotonic()
        if task.comm.rank:
            return
        meta = {**task.net.describe(), "history": self.history, "fingerprint": dict(task.fingerprint),
                "versions": versions(), **({"begun": asdict(begun)} if begun else {})}
        if self.stepper.scale:
            meta["loss_scale"] = asdict(self.stepper.scale)
        arrays = {f"net/{name}": a for name, a in task.net.arrays().items()}
        arrays.update(self.stepper.optimiser.state())
        arrays.update(self.average.state() if self.average else {})
        scores = [entry["valid_top1"] for entry in self.history]
        if not begun and scores[-1] >= max(scores):  # first: a run killed in between comes by here again
            with self._averaged():
                task.net.save(task.folder / "best.h5")
        save_checkpoint(task.folder, epochs, arrays, meta, task.train.keep_checkpoints,
                        begun.steps if begun else 0)

    def _restore(self) -> int:
        """Take up the newest checkpoint; the number of epochs of the schedule that are done."""
        task = self.task
        say = partial(print, flush=True) if task.comm.rank == 0 else lambda text: None
        found = newest_checkpoint(task.folder, say)
        require_agreement(task.comm, "checkpoints", str(found and (found[1]["epoch"], found[1].get("begun"))))
        if found is None:
            return task.stage.finished_epochs
        arrays, meta = found
        if not task.accept_changes:
            refuse_changes(f"{task.folder} was begun", meta["fingerprint"], task.fingerprint, task.unknown)
        task.net.set_arrays({n[len("net/"):]: a for n, a in arrays.items() if n.startswith("net/")},
                            f"checkpoint in {task.folder}")
        self.stepper.optimiser.set_state(arrays)
        if self.average:
            self.average.set_state(arrays)
        if self.stepper.scale and "loss_scale" in meta:
            self.stepper.scale = LossScale(**meta["loss_scale"])
        self.history = list(meta["history"])
        self._begun = Begun(**meta.get("begun", {}))
        place = f" and {self._begun.steps} steps" if self._begun.steps else ""
        say(f"goes on after epoch {meta['epoch']} of {task.stage.epochs}{place}, as {task.folder} has it")
        return meta["epoch"]


def beside(net: AnyNetwork, settings: Train) -> Optional[Beside]:
    """What follows the weights and is the result in their place, as the settings say; None: they are."""
    if settings.lookahead:
        return Lookahead(net, settings)
    return Average(net, settings.ema, settings.running_statistics) if settings.ema else None


def noise(seed: int, stage: str, epoch: int, number: int, purpose: str, shape: Tuple[int, ...]) -> np.ndarray:
    """Uniform numbers in [0, 1), float64, of one purpose in one pass: see `schedule.generator`."""
    return generator(seed, stage, epoch, number, purpose).random(shape)


def average_statistics(net: AnyNetwork, comm: Communicator) -> None:
    """Mean over ranks of the running BN statistics, each rank having followed its own passes."""
    variables = net.variables()
    for name, parameter in net.declared().items():
        if parameter.statistic:
            variables[name].d = comm.add(np.array(variables[name].d)) / comm.size


def passes_per_update(settings: Train, ranks: int) -> int:
    """How many passes each rank makes for one update; OfaError if the ranks do not divide them."""
    passes = settings.global_batch // settings.batch_size
    if passes % ranks:
        fit = [str(n) for n in range(1, passes + 1) if passes % n == 0]
        choices = ", ".join(fit[:-1]) + " or " * (len(fit) > 1) + fit[-1]
        raise OfaError(f"{ranks} processes cannot share the {passes} pass{'es' * (passes > 1)} of an update "
                       f"evenly (train.global_batch={settings.global_batch} in passes of train.batch_size="
                       f"{settings.batch_size}): start {choices}; for a new run you may choose a smaller "
                       "batch_size or a larger global_batch instead")
    return passes // ranks
