"""What a place in a run decides: its random draws and its learning rate."""

from __future__ import annotations

import zlib

import numpy as np

from .settings import Stage, Train


def generator(seed: int, stage: str, epoch: int, step: int, purpose: str) -> np.random.Generator:
    """The generator of one purpose at one place of a run.

    All ranks and a resumed run draw from it what an uninterrupted run of one rank draws.

    Args:
        seed: The run's.
        stage: Its name.
        epoch, step: From 0.
        purpose: What is drawn, so that draws do not depend on each other.
    """
    key = zlib.crc32(f"{stage}/{purpose}".encode())
    return np.random.default_rng([seed, key, epoch, step])


def learning_rate(stage: Stage, settings: Train, epoch: float) -> float:
    """The rate in force `epoch` (a real number of) epochs after the stage's start.

    exponential  lr * lr_decay ^ floor(epoch / decay_epochs)
    cosine       lr_end + (lr - lr_end) * (1 + cos(pi * epoch / epochs)) / 2 (Loshchilov & Hutter, ICLR 2017)
    polynomial   lr_end + (lr - lr_end) * (1 - p) ^ power, p from 0 after the warm-up to 1 at the stage's end
    linear       the polynomial of power 1
    steps        lr, then that of the last of the stage's steps that is reached

    Before them `warmup_epochs` of a straight rise from lr_init to lr. Of a warm-up from 0 the first update
    has the rate of a thousandth of an epoch, since it would do nothing else. Where lr_batch is set, all
    rates are multiplied by global_batch / lr_batch (Goyal et al., arXiv 1706.02677, section 2.1).

    Args:
        stage: Its lr, epochs and steps.
        settings: The form.
        epoch: From 0 to the stage's epochs.
    """
    scale = settings.global_batch / settings.lr_batch if settings.lr_batch else 1.0
    return scale * _unscaled(stage, settings, epoch)


def _unscaled(stage: Stage, settings: Train, epoch: float) -> float:
    warmup, init, end = settings.warmup_epochs, settings.lr_init, settings.lr_end
    if epoch < warmup:
        return init + (stage.lr - init) * (epoch + (0.0 if init else 1e-3)) / warmup
    if settings.schedule == "exponential":
        return stage.lr * settings.lr_decay ** int(epoch // settings.decay_epochs)
    if settings.schedule == "steps":
        return [stage.lr, *(step.lr for step in stage.steps if step.epoch <= epoch)][-1]
    if settings.schedule == "cosine":
        return end + (stage.lr - end) * 0.5 * (1 + np.cos(np.pi * epoch / stage.epochs))
    left = (stage.epochs - epoch) / (stage.epochs - warmup) if epoch > warmup else 1.0
    return end + (stage.lr - end) * left ** (1.0 if settings.schedule == "linear" else settings.power)
