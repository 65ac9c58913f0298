"""How a network is trained, as settings: a recipe's `train`, and one training run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import frexp
from typing import Optional, Tuple

from ..errors import OfaError, require

# Which subnets an update trains; see sampling.py.
RULES = ("uniform", "fair", "cost")
SORTINGS = ("exact", "bare", "none")
# How the rate falls, and which of these forms end at `lr_end`; see schedule.py.
SCHEDULES = ("exponential", "cosine", "linear", "polynomial", "steps")
ENDING = ("cosine", "linear", "polynomial")
# What follows the gradient; see optimiser.py.
OPTIMISERS = ("sgd", "rmsprop", "adamw")
SMOOTHINGS = ("all", "others")


@dataclass(frozen=True)
class Train:
    """How every stage trains.

    batch_size: images of one pass on one process, over which BN takes its statistics;
    global_batch: images of one update, a multiple of batch_size times the processes.

    The optimiser (optimiser.py): sgd, rmsprop or adamw. momentum: of sgd and rmsprop; nesterov: of sgd.
    rms_decay: of rmsprop's mean square. betas: decay of adamw's two means. eps: what rmsprop and adamw
    add to the divisor, None for the usual one. weight_decay: on the arrays that declare it; decay_all: on
    all, biases and BN too. clip_grad: largest L2 norm of the whole gradient, None for no limit.
    loss_scale: the first factor of the loss in half precision, a power of two.

    The learning rate (schedule.py): schedule: exponential, lr times lr_decay every `decay_epochs` epochs;
    cosine, linear or polynomial (of `power`) down to `lr_end` at the stage's end; or steps, those of the
    stage. Before it a linear warm-up over `warmup_epochs` from `lr_init`. lr_batch: the images of one
    update for which the rates are meant: they are multiplied by global_batch / lr_batch; None: used as
    they are.

    The targets (losses.py): label_smoothing: their weight that goes to all classes alike, or to the others
    than the label (label_smoothing_to). distill: weight of a frozen network's soft targets: of the full
    network in stages that start from another one, or of `teacher`, a weights file, in every stage.
    inplace_distill: with sandwich, the largest subnet teaches the others.

    The subnets: subnets_per_step: of one update, drawn by the rule `sampling`: uniform, fair or cost (see
    sampling.py). sandwich: the largest and the smallest among them always. sorting: of channels before
    narrower widths join: exact, bare (a permutation that forgets where shorter blocks end, as peers have
    it) or none.

    What new weights begin with (model/initial.py): zero_last_bn: the last BN of every residual branch at
    scale 0. identity_convolutions: convolutions larger than 1x1 as identities. whitening: the first
    convolution with filters that whiten patches of so many pixels a side, which stay as they are in every
    stage; None: random ones, which are trained.

    growing_sizes: the share of a stage in which the sizes of images grow through all of `data.image_sizes`
    but the largest, which serves after it (sampling.grown); None: each update draws one of them.

    only_head: only the arrays that have a value a class move, the classifier; all others stay as they are.

    What is kept: ema: decay of a moving average of the weights, which then is the result (average.py);
    None: the last weights are. lookahead: after every so many updates the weights go back to slow ones, which
    go a part of the way towards them and are the result (lookahead.py); None: they do not. lookahead_rate:
    that part, at the stage's end; lookahead_power: by which power of the share of the stage it falls to there
    from 1; 0: it is the same throughout. running_statistics: BN keeps running averages, which then serve in
    place of calibration; only where every stage has one network. keep_checkpoints: the newest so many stay.
    checkpoint_minutes: a checkpoint within an epoch whenever so many minutes have passed since the last
    one; None: only after each epoch.
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
    optimiser: str = "sgd"
    nesterov: bool = False
    rms_decay: float = 0.9
    betas: Tuple[float, float] = (0.9, 0.999)
    eps: Optional[float] = None
    decay_all: bool = False
    loss_scale: float = 1024.0
    lr_init: float = 0.0
    lr_end: float = 0.0
    power: float = 2.0
    lr_batch: Optional[int] = None
    label_smoothing_to: str = "all"
    teacher: Optional[str] = None
    ema: Optional[float] = None
    only_head: bool = False
    lookahead: Optional[int] = None
    lookahead_rate: float = 0.5
    lookahead_power: float = 0.0
    zero_last_bn: bool = False
    identity_convolutions: bool = False
    whitening: Optional[int] = None
    growing_sizes: Optional[float] = None

    def __post_init__(self):
        ending = self.schedule in ENDING
        require(self, "train", {
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "global_batch": (self.global_batch >= 1 and self.global_batch % max(self.batch_size, 1) == 0,
                             f"a multiple of train.batch_size={self.batch_size}"),
            "optimiser": (self.optimiser in OPTIMISERS, f"one of {', '.join(OPTIMISERS)}"),
            "momentum": (0 <= self.momentum < 1, "in [0, 1)"),
            "nesterov": (self.optimiser == "sgd" or not self.nesterov,
                         f"possible with train.optimiser={self.optimiser}"),
            "rms_decay": (0 <= self.rms_decay < 1, "in [0, 1)"),
            "betas": (all(0 <= beta < 1 for beta in self.betas), "two numbers in [0, 1)"),
            "eps": (self.eps is None or self.eps > 0, "positive"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "clip_grad": (self.clip_grad is None or self.clip_grad > 0, "positive"),
            "loss_scale": (self.loss_scale >= 1 and frexp(self.loss_scale)[0] == 0.5,
                           "a power of two, 1 or more"),
            "schedule": (self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
            "lr_decay": (0 < self.lr_decay <= 1, "in (0, 1]"),
            "decay_epochs": (self.decay_epochs > 0, "positive"),
            "warmup_epochs": (self.warmup_epochs >= 0, "0 or more"),
            "lr_init": (self.lr_init >= 0, "0 or more"),
            "lr_end": (self.lr_end >= 0 and (ending or not self.lr_end),
                       "0 or more" if ending else f"possible with train.schedule={self.schedule}, which has "
                       "no end"),
            "power": (self.power > 0, "positive"),
            "lr_batch": (self.lr_batch is None or self.lr_batch >= 1, "1 or more"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "in [0, 1)"),
            "label_smoothing_to": (self.label_smoothing_to in SMOOTHINGS,
                                   f"one of {', '.join(SMOOTHINGS)}"),
            "distill": (self.distill >= 0, "0 or more"),
            "teacher": (self.distill > 0 or self.teacher is None, "possible with train.distill=0"),
            "subnets_per_step": (self.subnets_per_step >= (2 if self.sandwich else 1),
                                 "1 or more, 2 or more with train.sandwich"),
            "sampling": (self.sampling in RULES, f"one of {', '.join(RULES)}"),
            "inplace_distill": (self.sandwich or not self.inplace_distill,
                                "possible without train.sandwich=true"),
            "sorting": (self.sorting in SORTINGS, f"one of {', '.join(SORTINGS)}"),
            "ema": (self.ema is None or 0 < self.ema < 1, "in (0, 1)"),
            "lookahead": (self.lookahead is None or (self.lookahead >= 1 and self.ema is None),
                          "1 or more, without train.ema"),
            "lookahead_rate": (0 < self.lookahead_rate <= 1, "in (0, 1]"),
            "lookahead_power": (self.lookahead_power >= 0, "0 or more"),
            "growing_sizes": (self.growing_sizes is None or 0 <= self.growing_sizes <= 1, "0 to 1"),
            "whitening": (self.whitening is None or self.whitening >= 1, "1 or more"),
            "checkpoint_minutes": (self.checkpoint_minutes is None or self.checkpoint_minutes > 0,
                                   "positive"),
            "keep_checkpoints": (self.keep_checkpoints >= 2, "2 or more")})


# What a stage may have of its own.
OF_A_STAGE = ("subnets_per_step", "warmup_epochs", "weight_decay", "only_head", "growing_sizes")


@dataclass(frozen=True)
class LrStep:
    """A learning rate, and the epoch of its stage (from 0) from which on it holds."""

    epoch: float
    lr: float


@dataclass(frozen=True)
class Stage:
    """One training run.

    Args:
        name: For records, random draws and overrides.
        space: The search space that is trained.
        epochs: Passes over the images.
        lr: The learning rate where the schedule begins, after the warm-up.
        start: The space whose weights it starts from; None: new ones.
        validate: Subnets that are reported at its end.
        steps: With the schedule "steps", the later rates.
        finished_epochs: So many epochs of the schedule lie behind the weights that it starts from:
            training begins after them.
        subnets_per_step, warmup_epochs, weight_decay, only_head, growing_sizes: Of this stage, in place of
            `Train`'s; None: as there.
    """

    name: str
    space: str
    epochs: int
    lr: float
    start: Optional[str] = None
    validate: Tuple[str, ...] = ()
    steps: Tuple[LrStep, ...] = ()
    finished_epochs: int = 0
    subnets_per_step: Optional[int] = None
    warmup_epochs: Optional[float] = None
    weight_decay: Optional[float] = None
    only_head: Optional[bool] = None
    growing_sizes: Optional[float] = None

    def __post_init__(self):
        places = [0.0, *(step.epoch for step in self.steps)]
        require(self, f"stages.{self.name}", {
            "epochs": (self.epochs >= 1, "1 or more"),
            "lr": (self.lr > 0, "positive"),
            "steps": (all(a < b for a, b in zip(places, places[1:])) and all(s.lr > 0 for s in self.steps),
                      "a list of positive rates, their epochs positive and in ascending order"),
            "finished_epochs": (0 <= self.finished_epochs < self.epochs,
                                f"from 0 to below stages.{self.name}.epochs={self.epochs}")})

    def settings(self, train: Train) -> Train:
        """How this stage trains: `train`, with what the stage has of its own.

        Raises OfaError, naming the stage, where the two do not go together.
        """
        own = {key: getattr(self, key) for key in OF_A_STAGE if getattr(self, key) is not None}
        try:
            return replace(train, **own)
        except OfaError as error:
            raise OfaError(f"stages.{self.name}: {error}") from error
