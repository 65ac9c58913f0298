"""What a result of a stage must share with a run that takes it up."""

from __future__ import annotations

from dataclasses import asdict
from typing import Dict

from ..data import Augment, Data
from ..model import AnyNetwork
from ..nets import ResNet20
from ..training.settings import Stage, Train
from .lab import Lab
from .parse import from_settings
from .recipe import Recipe

# Settings that are younger than some results, as those were trained.
ADDED = {
    **{f"train.{key}": getattr(Train, key) for key in (
        "sorting", "running_statistics", "optimiser", "nesterov", "rms_decay", "betas", "eps", "decay_all",
        "lr_init", "lr_end", "power", "lr_batch", "label_smoothing_to", "ema", "only_head",
        "lookahead", "lookahead_rate", "lookahead_power", "zero_last_bn", "identity_convolutions",
        "whitening", "growing_sizes")},
    "data.augment.alternating_flip": Augment.alternating_flip,
    **{f"net.{key}": getattr(ResNet20, key) for key in ("widths", "width_step", "stem_stride")},
    **{f"data.{key}": getattr(Data, key) for key in ("test_fraction", "balance")},
    **{f"stage.{key}": getattr(Stage, key) for key in ("steps", "finished_epochs")}}
# What may differ, since it leaves the draws alone, or has a checksum beside it (the teacher).
HARMLESS = ("data.workers", "data.source", "data.valid_sizes", "data.max_unreadable",
            "train.keep_checkpoints", "train.checkpoint_minutes", "train.loss_scale", "train.teacher")


def identity(lab: Lab, stage: Stage) -> Dict[str, object]:
    """Settings, seed, classes and images, by name."""
    return {**settings_that_matter(lab.recipe, stage), **lab.fingerprint(), "seed": lab.seed}


def unknown(lab: Lab) -> Dict[str, object]:
    """Of names that are younger than some results: what those would say."""
    return {**ADDED, **lab.fingerprint()}


def trained_as(net: AnyNetwork, stage: Stage) -> Dict[str, object]:
    """The identity that a result carries; of an older one, what its recipe says."""
    if "identity" in net.info:
        return net.info["identity"]
    recipe = from_settings(net.info["recipe"], source="the recipe in the weights file")
    return {**settings_that_matter(recipe, stage), "data.classes": len(net.info["classes"]),
            "seed": net.info["seed"]}


def settings_that_matter(recipe: Recipe, stage: Stage) -> Dict[str, object]:
    """The settings by name, those of one stage among them; `train` as it is in that stage."""
    settings = {**recipe.settings(), "train": asdict(stage.settings(recipe.train))}
    found = {f"{group}.{key}": value for group in ("net", "data", "train")
             for key, value in settings[group].items() if f"{group}.{key}" not in HARMLESS}
    found.update({f"stage.{key}": getattr(stage, key) for key in ("space", "epochs", "lr", "start",
                                                                  "finished_epochs")})
    found["stage.steps"] = [[step.epoch, step.lr] for step in stage.steps]
    return found
