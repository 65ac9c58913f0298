"""How a network is trained, as settings: a recipe's `train`, and one training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from ..errors import require

# Which subnets an update trains; see sampling.py.
RULES = ("uniform", "fair", "cost")
SORTINGS = ("exact", "bare", "none")


@dataclass(frozen=True)
class Train:
    """How every stage trains.

    batch_size: images of one pass on one process, over which BN takes its statistics;
    global_batch: images of one update, a multiple of batch_size times the processes.
    schedule: "exponential", lr times lr_decay every `decay_epochs` epochs, or "cosine", down to 0 at
    the stage's end; both after a linear warm-up over `warmup_epochs`. distill: weight of the frozen
    full network's soft targets, in stages that start from another one. subnets_per_step: archs of
    one update, drawn by the rule `sampling`: uniform, fair or cost (see sampling.py). sandwich: the
    largest and the smallest among them always; inplace_distill: the largest teaches the others.
    clip_grad: largest L2 norm of the whole gradient, None for no limit. sorting: of channels before
    narrower widths join: exact, bare (a permutation that forgets where shorter blocks end, as peers
    have it) or none. running_statistics: BN keeps running averages, which then serve in place of
    calibration; only where every stage has one network. checkpoint_minutes: a checkpoint within an
    epoch whenever so many minutes have passed since the last one; None: only after each epoch.
    """

    batch_size: int = 64
    global_batch: int = 512
    momentum: float = 0.9
    weight_decay: float = 1e-5
    schedule: str = "exponential"
    lr_decay: float = 0.94
    decay_epochs: float = 2.0
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.1
    distill: float = 1.0
    subnets_per_step: int = 1
    sampling: str = "uniform"
    sandwich: bool = False
    inplace_distill: bool = False
    clip_grad: Optional[float] = None
    keep_checkpoints: int = 5
    sorting: str = "exact"
    running_statistics: bool = False
    checkpoint_minutes: Optional[float] = None

    def __post_init__(self):
        require(self, "train", {
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "global_batch": (self.global_batch >= 1 and self.global_batch % max(self.batch_size, 1) == 0,
                             f"a multiple of train.batch_size={self.batch_size}"),
            "momentum": (0 <= self.momentum < 1, "in [0, 1)"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "schedule": (self.schedule in ("exponential", "cosine"), "exponential or cosine"),
            "lr_decay": (0 < self.lr_decay <= 1, "in (0, 1]"),
            "decay_epochs": (self.decay_epochs > 0, "positive"),
            "warmup_epochs": (self.warmup_epochs >= 0, "0 or more"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "in [0, 1)"),
            "distill": (self.distill >= 0, "0 or more"),
            "subnets_per_step": (self.subnets_per_step >= (2 if self.sandwich else 1),
                                 "1 or more, 2 or more with train.sandwich"),
            "sampling": (self.sampling in RULES, f"one of {', '.join(RULES)}"),
            "inplace_distill": (self.sandwich or not self.inplace_distill,
                                "possible without train.sandwich=true"),
            "clip_grad": (self.clip_grad is None or self.clip_grad > 0, "positive"),
            "sorting": (self.sorting in SORTINGS, f"one of {', '.join(SORTINGS)}"),
            "checkpoint_minutes": (self.checkpoint_minutes is None or self.checkpoint_minutes > 0,
                                   "positive"),
            "keep_checkpoints": (self.keep_checkpoints >= 2, "2 or more")})


@dataclass(frozen=True)
class Stage:
    """One training run: a search space, the space whose weights it starts from (None: new ones)."""

    name: str
    space: str
    epochs: int
    lr: float
    start: Optional[str] = None
    validate: Tuple[str, ...] = ()

    def __post_init__(self):
        require(self, f"stages.{self.name}", {"epochs": (self.epochs >= 1, "1 or more"),
                                              "lr": (self.lr > 0, "positive")})
