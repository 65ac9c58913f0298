"""Progressive shrinking: each stage's network from the one before, trained, calibrated, judged.

A run lives in one folder, a stage in a folder of its own below it:

    <output>/<space>/checkpoint-0007.h5   training states, the newest few
                     best.h5              the network of the epoch with the best held-out top-1
                     weights.h5           the network of the last epoch: the stage is done
    <output>/records/<recipe>/*.json      what the tables are made of
"""

from __future__ import annotations

import copy
import fcntl
import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from . import checkpoint, records
from .arch import Arch
from .comm import barrier, require_agreement
from .data import Key, calibration_indices, open_dataset, split
from .errors import OfaError
from .evaluate import Frozen, Images, Result, calibrate, evaluate_archs
from .ops import is_statistic
from .recipe import Recipe, Stage
from .supernet import Network
from .train import Loop
from .weights import segments


@dataclass
class Lab:
    """A recipe's data, opened: what training, choosing and reporting see.

    train: images to learn from; valid: held out of the training set, for choosing; test: for
    reporting only. calibration: augmented training images that BN statistics come from.
    """

    recipe: Recipe
    seed: int
    comm: object

    def __post_init__(self):
        data = self.recipe.data
        everything, test = open_dataset(data.source, data.max_unreadable)
        self.train, valid = split(everything, data.held_out, self.seed)
        if data.train_images and data.train_images < len(self.train):
            _, self.train = split(self.train, data.train_images / len(self.train), self.seed)
        self.classes = everything.classes
        self.calibration = self._calibration(data.calibration_images)
        self.valid, self.test = self._images(valid), self._images(test)
        require_agreement(self.comm, "recipes, seeds or data", repr((
            replace(self.recipe, data=replace(data, source=None, workers=0)), self.seed, self.classes,
            self.fingerprint(), labels_checksum(test.labels))))

    def _images(self, dataset, indices=None, key: Optional[Key] = None) -> Images:
        indices = np.arange(len(dataset)) if indices is None else indices
        return Images(dataset, indices, self.recipe.data.augment, self.recipe.train.batch_size,
                      self.recipe.data.workers, self.recipe.data.backend, key)

    def _calibration(self, count: int) -> Images:
        indices = calibration_indices(len(self.train), count, self.seed)
        return self._images(self.train, indices, (self.seed, "calibration", 0))

    def with_calibration(self, count: int) -> "Lab":
        """The same data, with BN statistics from `count` images."""
        other = copy.copy(self)
        other.calibration = self._calibration(count)
        return other

    def fingerprint(self) -> Dict[str, object]:
        """The data's part of what must not change in a resumed run."""
        return {"data.images": len(self.train), "data.classes": len(self.classes),
                "data.labels": labels_checksum(self.train.labels)}

    def judge(self, net: Network, archs: Sequence[Optional[Arch]], size: int,
              on: str = "test") -> List[Result]:
        """Results of archs at `size` pixels on the "test" or "valid" images."""
        return evaluate_archs(net, archs, size, self.calibration, getattr(self, on), self.comm)

    def calibrated(self, net: Network, arch: Optional[Arch], size: int) -> Network:
        """The stand-alone subnet with BN statistics of `size` pixels."""
        subnet = net.extract(arch)
        calibrate(subnet, self.calibration.batches(size, self.comm), self.calibration.count(),
                  self.comm)
        return subnet

    def rows(self, net: Network, archs: Sequence[Optional[Arch]], on: str = "test",
             say: Callable[[str], None] = print, sizes: Sequence[int] = ()) -> List[dict]:
        """Record rows of archs at `sizes` (every valid size); says each result as it comes."""
        found = []
        for size in sizes or self.recipe.data.valid_sizes:
            for arch, result in zip(archs, self.judge(net, archs, size, on)):
                cost = net.cost(arch, size)
                found.append({"subnet": str(net.arch(arch)), "image_size": size, "split": on,
                              **result._asdict(), "parameters": cost.parameters, "macs": cost.macs})
                say(f"{short(net.arch(arch))} at {size}: {cost.parameters / 1e6:.2f} M parameters, "
                    f"{cost.macs / 1e6:.1f} M MACs")
                say(result.line())
        return found


def short(arch: Arch) -> str:
    """"8 x XP1 7x7 3" where all blocks are equal, else the whole name."""
    return f"{len(arch.blocks)} x {arch.blocks[0]}" if len(set(arch.blocks)) == 1 else str(arch)


@dataclass
class Run:
    """Stages of one recipe in one output folder."""

    lab: Lab
    output: Path
    command: str
    kernels: str = "auto"
    accept_changes: bool = False

    @property
    def recipe(self) -> Recipe:
        return self.lab.recipe

    def folder(self, stage: Stage) -> Path:
        return self.output / stage.space

    def weights(self, stage: Stage) -> Path:
        """The file whose presence means that the stage is done."""
        return self.folder(stage) / "weights.h5"

    def say(self, text: str) -> None:
        if self.lab.comm.rank == 0:
            print(text, flush=True)

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
        net = self._start(stage)
        self.say(f"stage {stage.name}: {stage.space}, {stage.epochs} epochs, lr {stage.lr:g}, "
                 f"from {stage.start or 'new weights'}")
        with lock(self.folder(stage), self.lab.comm):
            history, before = self.fit(net, stage, self.folder(stage), self._teachers(stage))
            rows = self.lab.rows(net, [net.arch(s) for s in stage.validate] or [None], say=self.say)
            size = max(self.recipe.data.valid_sizes)
            net.adopt_statistics(self.lab.calibrated(net, None, size), net.space.largest())
            self.record("train", stage.name, stage.space, history, rows, before + time.time() - start)
            if self.lab.comm.rank == 0:
                net.save(self.weights(stage))
        barrier(self.lab.comm)  # the next stage, on every rank, starts from that file

    def fit(self, net: Network, stage: Stage, folder: Path, teachers: dict) -> Tuple[List[dict], float]:
        """Run the training loop of `stage` on `net` in `folder`.

        Returns its history and the seconds of the epochs in it that an earlier process trained.
        """
        fingerprint = {**settings_that_matter(self.recipe, stage), **self.lab.fingerprint(),
                       "seed": self.lab.seed, "start weights": checksum(net)}
        require_agreement(self.lab.comm, "recipes, seeds or data", repr(sorted(fingerprint.items())))
        archs = list(dict.fromkeys([net.space.largest(), net.space.smallest()]))
        size = max(self.recipe.data.valid_sizes)

        def validate(net: Network) -> float:
            return float(np.mean([r.top1 for r in self.lab.judge(net, archs, size, on="valid")]))

        loop = Loop(net, stage, self.recipe, self.lab.seed, self.lab.train, folder, self.lab.comm,
                    validate, teachers, fingerprint, self.accept_changes)
        history = loop.run()
        return history, sum(epoch["seconds"] for epoch in history[:loop.restored])

    def finetune(self, net: Network, subnet: Optional[str], save: Optional[Path] = None,
                 scratch: bool = False, name: Optional[str] = None) -> Tuple[Path, List[dict]]:
        """Extract a subnet, train it alone, judge it before and after; (its file, the record's rows).

        scratch: from new weights instead, to compare with. name: of the record.
        """
        if subnet is None:
            raise OfaError('name a subnet: --subnet "XP1 7x7 2, ..." (the recipe names none)')
        start, settings, kind = time.time(), self.recipe.finetune, "scratch" if scratch else "finetune"
        arch = net.arch(subnet)
        stage = Stage(kind, str(arch.canonical()), settings.epochs, settings.lr)
        alone = net.extract(arch)
        if scratch:
            alone.set_arrays(Network.create(alone.config, alone.space, self.lab.seed).arrays())
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

    def _finetuned(self, alone: Network, arch: Arch, when: str) -> List[dict]:
        """Rows of a subnet "before" or "after" fine-tuning, or trained from "scratch"."""
        self.say(f"trained from scratch, {arch}:" if when == "scratch" else f"{when} fine-tuning, {arch}:")
        return [{**row, "subnet": str(arch), "when": when}
                for row in self.lab.rows(alone, [None], say=self.say)]

    def record(self, kind: str, stage: str, space: str, history, rows, seconds: float,
               name: Optional[str] = None, **more) -> Optional[dict]:
        """Write the run's record and return it (rank 0); `name` tells several of one stage apart.

        more: further keys of the record.
        """
        comm = self.lab.comm
        if comm.rank:
            return None
        record = {**records.describe_run(self.command, self.lab.seed, comm.size), "kind": kind,
                  "recipe": self.recipe.name, "stage": stage, "space": space,
                  "seconds": round(seconds, 1), "settings": self.recipe.settings(),
                  "history": history, "results": rows, **({"name": name} if name else {}), **more}
        self.say(f"record: {records.write(self.output / 'records', record)}")
        return record

    def _start(self, stage: Stage) -> Network:
        """The network that a stage begins with: new, or the start's, sorted and widened."""
        data = self.recipe.data
        info = {"classes": list(self.lab.classes), "mean": list(data.augment.mean),
                "std": list(data.augment.std), "image_sizes": list(data.image_sizes),
                "recipe": self.recipe.settings(), "stage": stage.name, "space": stage.space,
                "seed": self.lab.seed}
        if stage.start is None:
            config = replace(self.recipe.net, classes=len(self.lab.classes))
            net = Network.create(config, stage.space, self.lab.seed)
        else:
            path = self.weights(self.recipe.stage(stage.start))
            if not path.exists():
                raise OfaError(f"stage {stage.name} starts from {path}, which is not there: run the "
                               f"same command without --only, or with --search-space {stage.start}")
            net = checkpoint.load_network(path)
            space = net.config.space(stage.space)
            if segments(net.config.layers(space, space.largest())) != segments(net.layers()):
                net.sort_channels()  # narrower widths join: let the important channels come first
            net = net.widened(space)
        net.info, net.kernels = info, self.kernels
        return net

    def _teachers(self, stage: Stage) -> Dict[int, Frozen]:
        """Per image size the frozen full network, where the stage distils from it."""
        first = self.recipe.chain(stage.space)[0]
        if first == stage or not self.recipe.train.distill:
            return {}
        teacher = checkpoint.load_network(self.weights(first))
        teacher.kernels = self.kernels
        return {size: Frozen(self.lab.calibrated(teacher, None, size))
                for size in self.recipe.data.image_sizes}


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


def labels_checksum(labels: np.ndarray) -> int:
    """CRC-32 of the labels of images, in their order."""
    return zlib.crc32(np.ascontiguousarray(labels).tobytes())


def checksum(net: Network) -> int:
    """CRC-32 of all that training reads: a stage must resume from the start it was begun with."""
    crc = 0
    for name, array in net.arrays().items():
        if not is_statistic(name):
            crc = zlib.crc32(array, crc)
    return crc


@contextmanager
def lock(folder: Path, comm):
    """Hold `folder` for this run; OfaError if another process is writing there."""
    folder.mkdir(parents=True, exist_ok=True)
    if comm.rank:
        yield
        return
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OfaError(f"another run is writing to {folder}: wait for it, or choose another "
                           "--output") from error
        checkpoint.remove_leftovers(folder)
        yield
