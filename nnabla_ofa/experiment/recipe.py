"""A recipe: a net, a data set, and the stages that train it. Every value has its type and its range."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Optional, Tuple

from ..data import Data
from ..errors import OfaError, require
from ..nets import Arch, Config, Space
from ..system.record_rules import check_name
from ..training.settings import Stage, Train


@dataclass(frozen=True)
class Finetune:
    """Training of one extracted subnet, without distillation."""

    subnet: Optional[str] = None
    epochs: int = 5
    lr: float = 0.005

    def __post_init__(self) -> None:
        require(self, "finetune", {"epochs": (self.epochs >= 1, "1 or more"),
                                   "lr": (self.lr > 0, "positive")})


@dataclass(frozen=True)
class Recipe:
    """A net, a data set, and the stages that train it."""

    name: str
    net: Config
    data: Data
    train: Train
    stages: Tuple[Stage, ...]
    finetune: Finetune = field(default_factory=Finetune)

    def __post_init__(self) -> None:
        spaces = [stage.space for stage in self.stages]
        check_name("recipe", self.name)
        require(self, self.name, {"stages": (len(self.stages) >= 1, "a list of one or more")})
        for stage in self.stages:
            check_name("stage", stage.name)
            stage.settings(self.train)
            for subnet in stage.validate:
                self.net.space(stage.space).check(self._arch(subnet, f"stages.{stage.name}.validate"))
            if self.train.running_statistics and not self.net.space(stage.space).single():
                raise OfaError("train.running_statistics=True is not possible: BN averages of many subnets "
                               f"serve none of them, and {stage.space} is not one network")
            if stage.steps and self.train.schedule != "steps":
                raise OfaError(f"stages.{stage.name}.steps is not possible with train.schedule="
                               f"{self.train.schedule}: choose train.schedule=steps")
            if stage.start not in [None, *spaces[:spaces.index(stage.space)]]:
                raise OfaError(f"stages.{stage.name}.start={stage.start} is not the space of a stage "
                               "before it")
        if self.finetune.subnet:
            self._arch(self.finetune.subnet, "finetune.subnet")

    def _arch(self, text: str, key: str) -> Arch:
        try:
            return self.net.arch(text)
        except OfaError as error:
            raise OfaError(f"{key}: {error}") from error

    def stage(self, space: str) -> Stage:
        """The stage that trains `space` (any spelling of its name); OfaError names those there are."""
        wanted = self.net.space(space)
        for stage in self.stages:
            if self.net.space(stage.space) == wanted:
                return stage
        raise OfaError(f"recipe {self.name} has no stage for search space {space}; it has "
                       f"{', '.join(stage.space for stage in self.stages)}")

    def chain(self, space: str) -> Tuple[Stage, ...]:
        """The stages that lead to `space`, first one first."""
        stage = self.stage(space)
        before = self.chain(stage.start) if stage.start else ()
        return (*before, stage)

    def validated(self, space: Space) -> List[Arch]:
        """The hand-made subnets in the stages that `space` holds, each network once."""
        every = [self.net.arch(name).canonical() for stage in self.stages for name in stage.validate]
        return [arch for arch in dict.fromkeys(every) if arch in space]

    def settings(self) -> Dict[str, Any]:
        """All values as plain dicts and lists, for records and for comparing."""
        return asdict(self)
