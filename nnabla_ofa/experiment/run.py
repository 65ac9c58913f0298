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
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..errors import OfaError
from ..evaluation import Evaluations
from ..evaluation.cache import checksum, network_identity
from ..formats import load
from ..model import AnyNetwork, Frozen, create, load_network
from ..model.heads import N
from ..nets import Arch
from ..system import records
from ..system.comm import barrier, require_agreement
from ..system.container import is_container
from ..system.files import lock
from ..system.machine import ROOT, commit, describe_run
from ..training.checkpoints import checkpoints
from ..training.identity import refuse_changes
from ..training.loop import Loop, Task
from ..training.settings import Stage
from ..training.step import Teacher
from .identity import identity, trained_as, unknown
from .lab import Lab
from .quantised import Quantisation, top1_of
from .recipe import Recipe
from .shrinking import begin, new_network, taken_up, widened
from .teachers import frozen, load_teacher
from .transfer import adapted, known, same_classes

Row = Dict[str, Any]


@dataclass(frozen=True)
class Run:
    """Stages of one recipe in one output folder.

    Args:
        lab: The recipe and its data.
        output: The folder.
        command: As records name it.
        kernels: "fast", "nnabla" or "auto".
        accept_changes: Whether earlier results are taken up although recipe or data have changed.
        new_head: Whether a network of other classes gets a new classifier (`model.heads`).
        start: A weights file that a stage starts from, in place of the recipe's start.
        code: The commit that runs, of which records tell. It is taken now: until the end of a long run a
            checkout may have moved on.
    """

    lab: Lab
    output: Path
    command: str
    kernels: str = "auto"
    accept_changes: bool = False
    new_head: bool = False
    start: Optional[Path] = None
    code: Optional[str] = field(default_factory=partial(commit, ROOT))

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
            done = self.weights(stage).exists() and not self._lacks_record(stage)
            require_agreement(self.lab.comm, "output folders or search spaces", f"{stage.space} {done}")
            if done:
                self.earlier(stage)
                self.say(f"stage {stage.name} ({stage.space}) is done: {self.weights(stage)} (to train it "
                         "with other settings, delete its folder or choose another --output)")
            else:
                self.train(stage)

    def _lacks_record(self, stage: Stage) -> bool:
        """Whether a stage was killed between its weights and its record: training it writes that again."""
        epochs = [epoch for epoch, _ in checkpoints(self.folder(stage))]
        record = {"recipe": self.recipe.name, "kind": "train", "stage": stage.name, "seed": self.lab.seed}
        return epochs[:1] == [stage.epochs] and not (
            self.output / "records" / records.relative_path(record)).exists()

    def train(self, stage: Stage) -> None:
        """One stage from its start to its weights and its record."""
        start = time.time()
        net = self._start(stage)
        self.say(f"stage {stage.name}: {stage.space}, {stage.epochs} epochs, lr {stage.lr:g}, "
                 f"from {self.start or stage.start or 'new weights'}")
        with lock(self.folder(stage), self.lab.comm):
            history, before = self.fit(net, stage, self.folder(stage), self._teachers(stage))
            rows = self.lab.rows(net, [net.arch(s) for s in stage.validate] or [None], say=self.say)
            largest = net.space.largest()
            alone = self.lab.calibrated(net, None, max(self.recipe.data.valid_sizes))
            net.adopt_statistics(alone.arrays(), largest)
            net.info.update({key: alone.info[key] for key in ("calibrated",) if key in alone.info})
            if self.lab.comm.rank == 0:
                net.save(self.weights(stage))  # before the record: what took hours first
            self.record("train", stage.name, stage.space, history, rows, before + time.time() - start)
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
        net.info = {key: value for key, value in net.info.items() if key != "calibrated"}  # once it learns
        fingerprint = {**self.identity(stage), "start weights": checksum(net)}
        require_agreement(self.lab.comm, "recipes, seeds or data", repr(sorted(fingerprint.items())))
        archs = list(dict.fromkeys([net.space.largest(), net.space.smallest()]))
        size = max(self.recipe.data.valid_sizes)

        def validate(net: AnyNetwork) -> float:
            return float(np.mean([r.top1 for r in self.lab.judge(net, archs, size, on="valid")]))

        loop = Loop(Task(net, stage, stage.settings(self.recipe.train), self.recipe.data, self.lab.seed,
                         self.lab.train, folder, self.lab.comm, validate, teachers, fingerprint,
                         unknown(self.lab), self.accept_changes))
        history = loop.run()
        return history, sum(epoch["seconds"] for epoch in history[:loop.restored])

    def _start(self, stage: Stage) -> AnyNetwork:
        """The network that a stage begins with: new, or an earlier one, sorted and widened."""
        net: AnyNetwork
        if stage.finished_epochs and self.start is None and stage.start is None:
            raise OfaError(f"stages.{stage.name}.finished_epochs={stage.finished_epochs} is for weights that "
                           "have these epochs behind them: name their file by --start, with --only")
        if self.start is not None:
            given = load(self.start, net=None if is_container(self.start) else self.recipe.net.family)
            net = taken_up(self.adapted(given, self.start), self.lab, stage, self.start)
        elif stage.start is None:
            net = new_network(self.lab, stage)
        else:
            net = widened(self.earlier(self.recipe.stage(stage.start), stage.name), stage,
                          self.recipe.train.sorting)
        net.info = {**self.lab.info(), "stage": stage.name, "space": stage.space,
                    "identity": self.identity(stage)}
        net.kernels = self.kernels
        return net

    def _teachers(self, stage: Stage) -> Dict[int, Frozen]:
        """Per image size the frozen network that the stage distils from: the recipe's, or the full one."""
        if self.teacher is not None:
            self.say(f"it distils from {self.recipe.train.teacher}, {self.teacher.space}")
            return frozen(self.lab, self.teacher, self.kernels)
        first = self.recipe.chain(stage.space)[0]
        if first == stage or not self.recipe.train.distill:
            return {}
        if self.start is not None and not self.weights(first).exists():
            self.say(f"there is no full network in {self.output}: the stage is trained without distillation")
            return {}
        stored = self._stored(first, stage.name)
        teacher = self.adapted(stored, self.weights(first))
        if known(stored, self.lab) < len(self.lab.classes):
            self.say("the full network does not know these classes: this stage trains without distillation")
            return {}
        teacher.kernels = self.kernels
        return {size: Frozen(self.lab.calibrated(teacher, None, size))
                for size in self.recipe.data.image_sizes}

    @cached_property
    def teacher(self) -> Optional[AnyNetwork]:
        """The network that the recipe names as every stage's teacher, None where it names none."""
        path = self.recipe.train.teacher
        return load_teacher(self.lab, path) if path else None

    def identity(self, stage: Stage) -> Dict[str, object]:
        """What a result of a stage, or of fine-tuning, must share with a run that takes it up."""
        found = identity(self.lab, stage)
        if stage in self.recipe.stages and self.teacher is not None:  # fine-tuning has no teacher
            found["teacher"] = checksum(self.teacher)
        return found

    # Earlier results ----------------------------------------------------------------------------

    def earlier(self, stage: Stage, wanted_by: str = "") -> AnyNetwork:
        """The result of a stage, for the classes of the data.

        Args:
            stage: Whose result it is.
            wanted_by: The name of the stage that takes it up.

        Raises:
            OfaError: It is absent, or was trained on other data or settings.
        """
        return self.adapted(self._stored(stage, wanted_by), self.weights(stage))

    def _stored(self, stage: Stage, wanted_by: str) -> AnyNetwork:
        """See `earlier`; as its file has it."""
        path = self.weights(stage)
        if not path.exists():
            raise OfaError(f"stage {wanted_by} starts from {path}, which is not there: run the "
                           f"same command without --only, or with --search-space {stage.space}")
        net = load_network(path)
        if not self.accept_changes:
            refuse_changes(f"{path} was trained", trained_as(net, stage), self.identity(stage),
                           unknown(self.lab))
        return net

    def adapted(self, net: N, path: Path, needs_known: bool = False) -> N:
        """`net` for the classes of the data: see `transfer.adapted`. A line says so where they are others, or
        where the file is another program's and names none.
        """
        if self.new_head and not same_classes(net, self.lab):
            self.say(f"{path}: a new classifier for {len(self.lab.classes)} classes, "
                     f"{known(net, self.lab)} of which it knows by name")
        elif not {"classes", "recipe"} & set(net.info) and same_classes(net, self.lab):
            self.say(f"{path} names no classes: they are taken for those of the data, "
                     f"{', '.join(self.lab.classes[:3])}, ..., in this order")
        return adapted(net, self.lab, path, self.new_head, needs_known)

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
            begin(alone, self.lab)
        alone.kernels = self.kernels
        alone.info = {**alone.info, **self.lab.info()}  # its file says how it was fine-tuned
        folder = self.output / f"{kind}-{zlib.crc32(stage.space.encode()):08x}"
        rows = [] if scratch else self._finetuned(alone, arch, "before")
        with lock(folder, self.lab.comm):
            history, before = self.fit(alone, stage, folder, {})
            alone = self.lab.calibrated(alone, None, max(self.recipe.data.valid_sizes))
            rows += self._finetuned(alone, arch, "scratch" if scratch else "after")
            path = save or folder / "subnet.h5"
            if self.lab.comm.rank == 0:
                alone.save(path)
            self.record("finetune", kind, net.info.get("space", ""), history, rows,
                        before + time.time() - start, name)
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
        record = {**describe_run(self.command, self.lab.seed, comm.size), "commit": self.code, "kind": kind,
                  "recipe": self.recipe.name, "stage": stage, "space": space,
                  "seconds": round(seconds, 1), "settings": self.recipe.settings(),
                  "history": history, "results": rows, **({"name": name} if name else {}), **more}
        self.say(f"record: {records.write(self.output / 'records', record)}")
        return record

    @contextmanager
    def evaluations(self, net: AnyNetwork, int8: Optional[Quantisation] = None) -> Iterator[Evaluations]:
        """Top-1 of subnets of `net` on the held-out images, each measured once; holds the folder.

        int8: How they are quantised before they are judged; None: they are not.
        """
        lab = self.lab
        data = {key: value for key, value in self.recipe.settings()["data"].items()
                if key not in ("source", "workers", "image_sizes", "valid_sizes")}
        del data["augment"]["alternating_flip"]  # no image that is evaluated or calibrated on depends on it
        identity = {**network_identity(net), "seed": lab.seed, "data": data,
                    "batch_size": self.recipe.train.batch_size, **lab.fingerprint(),
                    **(int8.identity() if int8 else {})}

        def measure(archs: Sequence[Arch], image_size: int) -> List[float]:
            self.say(f"evaluating {len(archs)} subnets on the held-out images at {image_size} pixels"
                     + ", quantised" * bool(int8))
            if int8:
                return top1_of(net, archs, image_size, lab, int8)
            return [result.top1 for result in lab.judge(net, archs, image_size, on="valid")]

        with lock(self.output / "search", lab.comm):
            yield Evaluations(self.output / "search", identity, measure, lab.comm)
