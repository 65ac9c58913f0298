"""The one training loop: draws, step, schedule, progress, checkpoints, resumption.

Every random draw comes from a generator of (seed, stage, epoch, step): all ranks draw the same
subnets and image size without talking, and a resumed run draws what it would have. An update sees
`global_batch` images as passes of `batch_size`, numbered over the ranks, so the number of ranks
does not change what is computed but for the rounding of sums.
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable, List, Mapping, Optional, Tuple

import numpy as np
from tqdm import tqdm

from . import checkpoint, sampling
from .comm import require_agreement
from .data import Dataset, TrainLoader, normalise
from .errors import OfaError
from .monitor import SeriesLog
from .optimiser import Optimiser
from .recipe import Recipe, Stage, Train
from .step import LossScale, NotFinite, Pass, Stepper, Teacher, loss_scale
from .supernet import Network


def generator(seed: int, stage: str, epoch: int, step: int, purpose: str) -> np.random.Generator:
    """The generator of one purpose at one place of a run."""
    key = zlib.crc32(f"{stage}/{purpose}".encode())
    return np.random.default_rng([seed, key, epoch, step])


def dropout_mask(rate: float, shape: Tuple[int, int], rng: np.random.Generator):
    """Factors 0 or 1 / (1 - rate), float32; None at rate 0."""
    return None if rate == 0 else ((rng.random(shape) >= rate) / (1 - rate)).astype(np.float32)


def learning_rate(stage: Stage, settings: Train, epoch: float) -> float:
    """The rate in force `epoch` (a real number of) epochs after the stage's start."""
    if epoch < settings.warmup_epochs:
        return stage.lr * (epoch + 1e-3) / settings.warmup_epochs
    if settings.schedule == "cosine":
        return stage.lr * 0.5 * (1 + np.cos(np.pi * epoch / stage.epochs))
    return stage.lr * settings.lr_decay ** int(epoch // settings.decay_epochs)


# Loop --------------------------------------------------------------------------------------------

@dataclass
class Loop:
    """A stage's training: epochs of steps, a checkpoint after each.

    validate: network -> top-1 (a fraction) on the held-out images, by which `best.h5` is chosen.
    folder: where checkpoints and monitor series go. fingerprint: what must not change in a resumed
    run, unless `accept_changes`. Only rank 0 writes.
    """

    net: Network
    stage: Stage
    recipe: Recipe
    seed: int
    dataset: Dataset
    folder: Path
    comm: object
    validate: Callable[[Network], float]
    teachers: Mapping[int, Teacher] = field(default_factory=dict)
    fingerprint: Mapping[str, object] = field(default_factory=dict)
    accept_changes: bool = False
    history: List[dict] = field(default_factory=list)
    restored: int = 0  # epochs of the history that an earlier process trained

    def run(self) -> List[dict]:
        """Train to the last epoch, from the newest checkpoint if there is one; the epochs' history."""
        settings, comm = self.recipe.train, self.comm
        self.accumulate = passes_per_update(settings, comm.size)
        self.loader = TrainLoader(self.dataset, self.recipe.data.augment, self.seed, self.stage.name,
                                  settings.batch_size, comm.rank, comm.size,
                                  self.recipe.data.workers, self.recipe.data.backend)
        self.steps = self.loader.steps_per_epoch(self.accumulate)
        self.stepper = Stepper(self.net, settings, Optimiser(self.net, settings), comm, self.teachers,
                               loss_scale())
        self.restored = self._restore()
        total = self.stage.epochs * self.steps
        log = SeriesLog(self.folder / "monitor") if comm.rank == 0 else None
        with tqdm(total=total, initial=self.restored * self.steps, desc=self.stage.name, unit="step",
                  disable=comm.rank != 0, dynamic_ncols=True) as bar:
            for epoch in range(self.restored, self.stage.epochs):
                entry = self._epoch(epoch, bar)
                entry["valid_top1"] = self.validate(self.net)
                self.history.append(entry)
                self._report(entry, bar, log)
                self._save(epoch + 1)
        if log:
            log.close()
        return self.history

    def _epoch(self, epoch: int, bar: tqdm) -> dict:
        """One pass over the data; its mean loss and top-1, its time."""
        settings, start, sums, taken = self.recipe.train, time.perf_counter(), np.zeros(2), 0
        images = self.steps * settings.global_batch
        draws = sampling.draws(
            self.net, self.recipe.data.image_sizes, settings, self.steps,
            lambda step, purpose: generator(self.seed, self.stage.name, epoch, step, purpose))
        batches = self.loader.epoch(epoch, lambda number: draws[number // self.accumulate][0],
                                    accumulate=self.accumulate)
        try:
            for step, (size, archs) in enumerate(draws):
                lr = learning_rate(self.stage, settings, epoch + step / self.steps)
                passes = (self._pass(epoch, step, i, *next(batches)) for i in range(self.accumulate))
                try:
                    measured = self.stepper.step(passes, archs, lr, self.accumulate)
                except NotFinite as error:
                    raise OfaError(self._diverged(epoch, step, size, archs, lr, error)) from error
                if measured:
                    sums, taken = sums + measured, taken + 1
                loss, top1 = sums / max(taken, 1)
                rate = (step + 1) * settings.global_batch / (time.perf_counter() - start)
                bar.update()
                bar.set_postfix_str(f"loss {loss:.3f}, top-1 {top1:.1%}, {rate:.0f} images/s"
                                    f"{self.stepper.scale or ''}", refresh=False)
        finally:
            batches.close()
        if not taken:
            raise OfaError(f"no step of epoch {epoch + 1} of stage {self.stage.name} had finite "
                           "gradients: lower the learning rate, or train in single precision")
        seconds, scale = time.perf_counter() - start, self.stepper.scale
        return {"epoch": epoch + 1, "lr": lr, "loss": loss, "top1": top1, "seconds": seconds,
                "images_per_second": images / seconds,
                **({"loss_scale": scale.value, "skipped_steps": scale.skipped} if scale else {})}

    def _pass(self, epoch: int, step: int, i: int, images: np.ndarray, labels: np.ndarray) -> Pass:
        number = (step * self.accumulate + i) * self.comm.size + self.comm.rank
        rng = generator(self.seed, self.stage.name, epoch, number, "dropout")
        width = self.net.layers()[-1].w_in
        mask = dropout_mask(self.net.config.dropout, (len(labels), width), rng)
        return normalise(images, self.recipe.data.augment), labels, mask

    def _diverged(self, epoch, step, size, archs, lr, error) -> str:
        return (f"loss or gradients are not finite at epoch {epoch + 1} step {step + 1} of stage "
                f"{self.stage.name} (image size {size}, lr {lr:g}, subnets "
                f"{'; '.join(map(str, archs))}; {error}). The last checkpoint in {self.folder} is "
                "good: lower the learning rate or set train.clip_grad, and run again with "
                "--accept-changes")

    def _report(self, entry: dict, bar: tqdm, log: Optional[SeriesLog]) -> None:
        if self.comm.rank:
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

    def _save(self, epochs: int) -> None:
        if self.comm.rank:
            return
        meta = {**checkpoint.network_meta(self.net), "history": self.history,
                "fingerprint": dict(self.fingerprint), "versions": checkpoint.versions()}
        if self.stepper.scale:
            meta["loss_scale"] = asdict(self.stepper.scale)
        arrays = {f"net/{name}": a for name, a in self.net.arrays().items()}
        arrays.update(self.stepper.optimiser.state())
        scores = [entry["valid_top1"] for entry in self.history]
        if scores[-1] >= max(scores):  # first: a run killed in between comes by here again
            self.net.save(self.folder / "best.h5")
        checkpoint.save_checkpoint(self.folder, epochs, arrays, meta, self.recipe.train.keep_checkpoints)

    def _restore(self) -> int:
        """Take up the newest checkpoint; the number of epochs that are done."""
        say = partial(print, flush=True) if self.comm.rank == 0 else lambda text: None
        found = checkpoint.newest_checkpoint(self.folder, say)
        require_agreement(self.comm, "checkpoints", str(found and found[1]["epoch"]))
        if found is None:
            return 0
        arrays, meta = found
        if not self.accept_changes:
            refuse_changes(self.folder, meta["fingerprint"], self.fingerprint)
        self.net.set_arrays({n[len("net/"):]: a for n, a in arrays.items() if n.startswith("net/")},
                            f"checkpoint in {self.folder}")
        self.stepper.optimiser.set_state(arrays)
        if self.stepper.scale and "loss_scale" in meta:
            self.stepper.scale = LossScale(**meta["loss_scale"])
        self.history[:] = meta["history"]
        say(f"goes on after epoch {meta['epoch']} of {self.stage.epochs}, as {self.folder} has it")
        return meta["epoch"]


def refuse_changes(folder: Path, before: Mapping[str, object], now: Mapping[str, object]) -> None:
    """OfaError with the differing keys if the run in `folder` was begun with other settings."""
    now = json.loads(json.dumps(now))  # as `before` was: tuples become lists
    changed = [f"{key}: {before.get(key)} -> {now.get(key)}" for key in {**before, **now}
               if before.get(key) != now.get(key)]
    if changed:
        raise OfaError(f"{folder} was begun with other settings ({'; '.join(changed)}): undo the "
                       "change, choose another --output, or say --accept-changes")


def passes_per_update(settings: Train, ranks: int) -> int:
    """How many passes each rank makes for one update; OfaError if the ranks do not divide them."""
    passes = settings.global_batch // settings.batch_size
    if passes % ranks:
        raise OfaError(f"{ranks} processes cannot share the {passes} passes of an update evenly "
                       f"(train.global_batch={settings.global_batch} in passes of train.batch_size="
                       f"{settings.batch_size}): choose a smaller batch_size, a larger global_batch or "
                       "another number of processes")
    return passes // ranks
