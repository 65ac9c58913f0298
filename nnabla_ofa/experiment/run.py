"""A run: stages trained one after the other, subnets fine-tuned, each with its record.

A run lives in one folder, a stage in a folder of its own below it:

    <output>/<space>/checkpoint-0007.h5   training states, the newest few
                     best.h5              the network of the epoch with the best held-out top-1
                     weights.h5           the network of the last epoch: the stage is done
    <output>/records/<recipe>/*.json      what the tables are made of
"""

from __future__ import annotations

import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..errors import OfaError
from ..evaluation import Evaluations
from ..evaluation.cache import checksum, network_identity
from ..model import AnyNetwork, create
from ..nets import Arch
from ..system import records
from ..system.comm import barrier, require_agreement
from ..system.files import lock
from ..system.machine import describe_run
from ..training.loop import Loop, Task
from ..training.settings import Stage, Train
from ..training.step import Teacher
from .lab import Lab
from .recipe import Recipe
from .shrinking import start_network, teachers_of

Row = Dict[str, Any]


@dataclass(frozen=True)
class Run:
    """Stages of one recipe in one output folder.

    Args:
        lab: The recipe and its data.
        output: The folder.
        command: As records name it.
        kernels: "fast", "nnabla" or "auto".
        accept_changes: Whether a stage goes on although recipe or data changed since its checkpoint.
    """

    lab: Lab
    output: Path
    command: str
    kernels: str = "auto"
    accept_changes: bool = False

    @property
    def recipe(self) -> Recipe:
        """What is run."""
        return self.lab.recipe

    def folder(self, stage: Stage) -> Path:
        """Where a stage's files are."""
        return self.output / stage.space

    def weights(self, stage: Stage) -> Path:
        """The file whose presence means that the stage is done."""
        return self.folder(stage) / "weights.h5"

    def say(self, text: str) -> None:
        """Print a line, on the first of several processes."""
        if self.lab.comm.rank == 0:
            print(text, flush=True)

    # Stages -----------------------------------------------------------------------------------

    def up_to(self, space: str, only: bool = False) -> None:
        """Train every stage up to that of `space` whose result is not there yet.

        only: just that stage; OfaError says which file it misses.
        """
        for stage in (self.recipe.stage(space),) if only else self.recipe.chain(space):
            done = self.weights(stage).exists()
            require_agreement(self.lab.comm, "output folders or search spaces", f"{stage.space} {done}")
            if done:
                self.say(f"stage {stage.name} ({stage.space}) is done: {self.weights(stage)} (to train it "
                         "with other settings, delete its folder or choose another --output)")
            else:
                self.train(stage)

    def train(self, stage: Stage) -> None:
        """One stage from its start to its weights and its record."""
        start = time.time()
        net = start_network(self.lab, stage, self.weights)
        net.kernels = self.kernels
        self.say(f"stage {stage.name}: {stage.space}, {stage.epochs} epochs, lr {stage.lr:g}, "
                 f"from {stage.start or 'new weights'}")
        with lock(self.folder(stage), self.lab.comm):
            teachers = teachers_of(self.lab, stage, self.weights, self.kernels)
            history, before = self.fit(net, stage, self.folder(stage), teachers)
            rows = self.lab.rows(net, [net.arch(s) for s in stage.validate] or [None], say=self.say)
            largest = net.space.largest()
            alone = self.lab.calibrated(net, None, max(self.recipe.data.valid_sizes))
            net.adopt_statistics(alone.arrays(), largest)
            self.record("train", stage.name, stage.space, history, rows, before + time.time() - start)
            if self.lab.comm.rank == 0:
                net.save(self.weights(stage))
        barrier(self.lab.comm)  # the next stage, on every rank, starts from that file

    def fit(self, net: AnyNetwork, stage: Stage, folder: Path, teachers: Mapping[int, Teacher]
            ) -> Tuple[List[Row], float]:
        """Run the training loop of `stage`.

        Args:
            net: Whose weights change.
            stage: Epochs and learning rate.
            folder: Of its checkpoints.
            teachers: Frozen full networks by image size, to distil from.

        Returns:
            Its history, and the seconds of the epochs in it that an earlier process trained.
        """
        fingerprint = {**settings_that_matter(self.recipe, stage), **self.lab.fingerprint(),
                       "seed": self.lab.seed, "start weights": checksum(net)}
        require_agreement(self.lab.comm, "recipes, seeds or data", repr(sorted(fingerprint.items())))
        archs = list(dict.fromkeys([net.space.largest(), net.space.smallest()]))
        size = max(self.recipe.data.valid_sizes)

        def validate(net: AnyNetwork) -> float:
            return float(np.mean([r.top1 for r in self.lab.judge(net, archs, size, on="valid")]))

        loop = Loop(Task(net, stage, self.recipe.train, self.recipe.data, self.lab.seed, self.lab.train,
                         folder, self.lab.comm, validate, teachers, fingerprint, ADDED, self.accept_changes))
        history = loop.run()
        return history, sum(epoch["seconds"] for epoch in history[:loop.restored])

    # One subnet -------------------------------------------------------------------------------

    def finetune(self, net: AnyNetwork, subnet: Optional[str], save: Optional[Path] = None,
                 scratch: bool = False, name: Optional[str] = None) -> Tuple[Path, List[Row]]:
        """Extract a subnet, train it alone, judge it before and after.

        Args:
            net: Whose subnet it is.
            subnet: Its text.
            save: Where it goes (default: in its folder below the output).
            scratch: From new weights instead, to compare with.
            name: Of the record.

        Returns:
            Its file, and the record's rows.
        """
        if subnet is None:
            raise OfaError('name a subnet: --subnet "XP1 7x7 2, ..." (the recipe names none)')
        start, settings, kind = time.time(), self.recipe.finetune, "scratch" if scratch else "finetune"
        arch = net.arch(subnet)
        stage = Stage(kind, str(arch.canonical()), settings.epochs, settings.lr)
        alone = net.extract(arch)
        if scratch:
            alone.set_arrays(create(alone.config, alone.space, self.lab.seed).arrays())
        alone.kernels = self.kernels
        folder = self.output / f"{kind}-{zlib.crc32(stage.space.encode()):08x}"
        rows = [] if scratch else self._finetuned(alone, arch, "before")
        with lock(folder, self.lab.comm):
            history, before = self.fit(alone, stage, folder, {})
            alone = self.lab.calibrated(alone, None, max(self.recipe.data.valid_sizes))
            rows += self._finetuned(alone, arch, "scratch" if scratch else "after")
            self.record("finetune", kind, net.info.get("space", ""), history, rows,
                        before + time.time() - start, name)
            path = save or folder / "subnet.h5"
            if self.lab.comm.rank == 0:
                alone.save(path)
        self.say(f"saved: {path}")
        return path, rows

    def _finetuned(self, alone: AnyNetwork, arch: Arch, when: str) -> List[Row]:
        """Rows of a subnet "before" or "after" fine-tuning, or trained from "scratch"."""
        self.say(f"trained from scratch, {arch}:" if when == "scratch" else f"{when} fine-tuning, {arch}:")
        names = {"subnet": str(arch), "canonical": str(arch.canonical()), "short": arch.short()}
        return [{**row, **names, "when": when}
                for row in self.lab.rows(alone, [None], say=self.say)]

    # What is kept -----------------------------------------------------------------------------

    def record(self, kind: str, stage: str, space: str, history: Sequence[Row], rows: Sequence[Row],
               seconds: float, name: Optional[str] = None, **more: Any) -> Optional[Row]:
        """Write the run's record and return it (rank 0); `name` tells several of one stage apart.

        more: further keys of the record.
        """
        comm = self.lab.comm
        if comm.rank:
            return None
        record = {**describe_run(self.command, self.lab.seed, comm.size), "kind": kind,
                  "recipe": self.recipe.name, "stage": stage, "space": space,
                  "seconds": round(seconds, 1), "settings": self.recipe.settings(),
                  "history": history, "results": rows, **({"name": name} if name else {}), **more}
        self.say(f"record: {records.write(self.output / 'records', record)}")
        return record

    @contextmanager
    def evaluations(self, net: AnyNetwork) -> Iterator[Evaluations]:
        """Top-1 of subnets of `net` on the held-out images, each measured once; holds the folder."""
        lab = self.lab
        data = {key: value for key, value in self.recipe.settings()["data"].items()
                if key not in ("source", "workers", "image_sizes", "valid_sizes")}
        identity = {**network_identity(net), "seed": lab.seed, "data": data,
                    "batch_size": self.recipe.train.batch_size, **lab.fingerprint()}

        def measure(archs: Sequence[Arch], image_size: int) -> List[float]:
            self.say(f"evaluating {len(archs)} subnets on the held-out images at {image_size} pixels")
            return [result.top1 for result in lab.judge(net, archs, image_size, on="valid")]

        with lock(self.output / "search", lab.comm):
            yield Evaluations(self.output / "search", identity, measure, lab.comm)


# Settings that are younger than some checkpoints, as those were trained.
ADDED = {f"train.{key}": getattr(Train, key) for key in ("sorting", "running_statistics")}


def settings_that_matter(recipe: Recipe, stage: Stage) -> Dict[str, object]:
    """The settings, flat, that a resumed run must share with its beginning."""
    settings = recipe.settings()
    kept = {"net": settings["net"], "data": settings["data"], "train": settings["train"]}
    flat = {f"{group}.{key}": value for group, values in kept.items() for key, value in values.items()}
    for harmless in ("data.workers", "data.source", "data.valid_sizes", "data.max_unreadable",
                     "train.keep_checkpoints"):
        flat.pop(harmless)
    flat.update({f"stage.{key}": getattr(stage, key) for key in ("space", "epochs", "lr", "start")})
    return flat
