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
    """The rate in force `epoch` (a real number of) epochs after the stage's start."""
    if epoch < settings.warmup_epochs:
        return stage.lr * (epoch + 1e-3) / settings.warmup_epochs
    if settings.schedule == "cosine":
        return stage.lr * 0.5 * (1 + np.cos(np.pi * epoch / stage.epochs))
    return stage.lr * settings.lr_decay ** int(epoch // settings.decay_epochs)
