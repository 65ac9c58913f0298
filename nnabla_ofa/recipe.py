"""Recipes: a YAML file under args/ as frozen values, checked key by key.

Every key has a default here or is required; an unknown key, a wrong type or a value out of range is
an `OfaError` that names it. Any value can be overridden: "train.momentum=0.8", "stages.kernel.lr=0.1".
"""

from __future__ import annotations

import copy
import difflib
import math
import reprlib
import typing
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import yaml

from . import sampling
from .data import BACKENDS, Augment
from .errors import OfaError, require
from .nets import NetConfig, family
from .records import check_name

ARGS = Path(__file__).resolve().parents[1] / "args"


@dataclass(frozen=True)
class Data:
    """Which images, at which sizes.

    source: "digits" or a folder; None: the user names it (--data or OFA_DATA).
    image_sizes: sides in pixels that training draws from; valid_sizes: those reported on.
    held_out: fraction of the training set kept for choosing. train_images: how many of the others to
    learn from, drawn by the seed, classes evenly; None: all. calibration_images: for BN statistics.
    max_unreadable: fraction of the images that may be unreadable before a run stops.
    """

    source: Optional[str] = None
    image_sizes: Tuple[int, ...] = (128, 160, 192, 224)
    valid_sizes: Tuple[int, ...] = (160, 224)
    held_out: float = 0.01
    train_images: Optional[int] = None
    calibration_images: int = 2048
    augment: Augment = field(default_factory=Augment)
    workers: int = 2
    max_unreadable: float = 0.001
    backend: str = "opencv"

    def __post_init__(self):
        require(self, "data", {
            "image_sizes": (min(self.image_sizes, default=0) >= 1, "one or more positive integers"),
            "valid_sizes": (min(self.valid_sizes, default=0) >= 1, "one or more positive integers"),
            "held_out": (0 < self.held_out < 1, "between 0 and 1"),
            "train_images": (self.train_images is None or self.train_images >= 1, "1 or more"),
            "calibration_images": (self.calibration_images >= 1, "1 or more"),
            "workers": (self.workers >= 0, "0 or more"),
            "max_unreadable": (0 <= self.max_unreadable < 1, "in [0, 1)"),
            "backend": (self.backend in BACKENDS, f"one of {', '.join(BACKENDS)}")})


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
    clip_grad: largest L2 norm of the whole gradient, None for no limit.
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

    def __post_init__(self):
        require(self, "train", {
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "global_batch": (self.global_batch >= 1 and self.global_batch % self.batch_size == 0,
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
            "sampling": (self.sampling in sampling.RULES, f"one of {', '.join(sampling.RULES)}"),
            "inplace_distill": (self.sandwich or not self.inplace_distill,
                                "possible without train.sandwich=true"),
            "clip_grad": (self.clip_grad is None or self.clip_grad > 0, "positive"),
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


@dataclass(frozen=True)
class Finetune:
    """Training of one extracted subnet, without distillation."""

    subnet: Optional[str] = None
    epochs: int = 5
    lr: float = 0.005

    def __post_init__(self):
        require(self, "finetune", {"epochs": (self.epochs >= 1, "1 or more"),
                                   "lr": (self.lr > 0, "positive")})


@dataclass(frozen=True)
class Recipe:
    """A net, a data set, and the stages that train it."""

    name: str
    net: NetConfig
    data: Data
    train: Train
    stages: Tuple[Stage, ...]
    finetune: Finetune = field(default_factory=Finetune)

    def __post_init__(self):
        spaces = [stage.space for stage in self.stages]
        check_name("recipe", self.name)
        require(self, self.name, {"stages": (len(self.stages) >= 1, "a list of one or more")})
        for stage in self.stages:
            check_name("stage", stage.name)
            for subnet in stage.validate:
                self.net.space(stage.space).check(self.net.arch(subnet))
            if stage.start not in [None, *spaces[:spaces.index(stage.space)]]:
                raise OfaError(f"stages.{stage.name}.start={stage.start} is not the space of a stage "
                               "before it")
        if self.finetune.subnet:
            self.net.arch(self.finetune.subnet)

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

    def settings(self) -> Dict[str, Any]:
        """All values as plain dicts and lists, for records and for comparing."""
        return asdict(self)


def recipe_names() -> List[str]:
    """The recipes under args/."""
    return sorted(path.stem for path in ARGS.glob("*.yaml"))


def load_recipe(name, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a name under args/ or of a YAML file, with "key.key=value" overrides."""
    path = Path(name) if str(name).endswith((".yaml", ".yml")) else ARGS / f"{name}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise OfaError(f"cannot read recipe {path}: {error.strerror}; the recipes here are "
                       f"{', '.join(recipe_names())}, or give the path of a .yaml file") from error
    except ValueError as error:  # not UTF-8
        raise OfaError(f"recipe {path} is not text: {error}") from error
    values = _parse(text, f"recipe {path}")
    if not isinstance(values, dict):
        raise OfaError(f"recipe {path} is not a mapping with the keys net, data, train, stages")
    values.setdefault("name", path.stem)
    return from_settings(values, overrides, str(path))


def from_settings(values: Dict[str, Any], overrides: Sequence[str] = (),
                  source: str = "recipe") -> Recipe:
    """A `Recipe` of plain values (as `Recipe.settings` gives them), with overrides."""
    values = copy.deepcopy(values)
    for override in overrides:
        _override(values, override)
    try:
        return _convert(values, Recipe, "", source)
    except OfaError as error:
        if str(error).startswith(source):
            raise
        raise OfaError(f"{source}: {error}") from error


def _parse(text: str, source: str) -> Any:
    """The plain values of a YAML text; OfaError names its `source`."""
    try:
        return yaml.safe_load(text)
    except Exception as error:  # PyYAML lets through what int(), date() and the like raise
        raise OfaError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error


def _override(values: Dict[str, Any], text: str) -> None:
    """Set the value that "a.b.c=value" names; stages are named by their names."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise OfaError(f"override {_shown(text)} is not of the form key.key=value, "
                       "for example train.momentum=0.8")
    node: Any = values
    for key in keys[:-1]:
        if isinstance(node, list):
            named = [item for item in node if isinstance(item, dict) and item.get("name") == key]
            if not named:
                raise OfaError(f"override {_shown(text)}: there is no stage named {_shown(key)}")
            node = named[0]
        else:
            node = node.setdefault(key, {})
        if not isinstance(node, (dict, list)):
            raise OfaError(f"override {_shown(text)}: {_shown(key)} holds no further keys")
    if not isinstance(node, dict):
        raise OfaError(f"override {_shown(text)}: name a key of one stage, as in stages.kernel.lr=0.1")
    node[keys[-1]] = _parse(value, f"override {_shown(text)}")


def _convert(value: Any, kind: Any, where: str, source: str) -> Any:
    """`value` as the annotated type `kind`; OfaError names the key `where` it is not."""
    if kind is NetConfig and isinstance(value, dict):
        kind = family(value.get("family", "xception"))
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        return _convert_mapping(value, kind, where, source)
    if origin is typing.Union:
        return None if value is None else _convert(value, inner[0], where, source)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise OfaError(f"{source}: {where}={_shown(value)} is not a list")
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise OfaError(f"{source}: {where}={_shown(value)} does not have {len(inner)} values")
        return tuple(_convert(v, inner[0], f"{where}[{i}]", source) for i, v in enumerate(value))
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:  # YAML reads 1e-5 as text, and a fraction, as 320/299
            number, _, denominator = str(value).partition("/")
            number = float(number) / float(denominator or 1)
        except (ValueError, OverflowError, ZeroDivisionError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    allowed = "a finite number" if kind is float else kind.__name__
    raise OfaError(f"{source}: {where}={_shown(value)} is not {allowed}")


# Short, however large and deep a value is: YAML's aliases make a few lines into gigabytes.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120
_shown = _SHORT.repr


def _convert_mapping(value: Any, kind: Any, where: str, source: str) -> Any:
    prefix = f"{where}." if where else ""
    if not isinstance(value, dict):
        raise OfaError(f"{source}: {where or 'the file'} is not a mapping of keys to values")
    types, known = typing.get_type_hints(kind), [f.name for f in fields(kind)]
    for key in value:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise OfaError(f"{source}: unknown key {prefix}{str(key)[:80]}; {hint}")
    for f in fields(kind):
        if f.name not in value and f.default is MISSING and f.default_factory is MISSING:
            raise OfaError(f"{source}: {prefix}{f.name} is missing")
    return kind(**{key: _convert(v, types[key], f"{prefix}{key}", source) for key, v in value.items()})
