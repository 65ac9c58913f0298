"""Training on fewer images than the recipe gives to one update.

An update then takes nearly all images, in passes of equal size. A run's first start decides in how many: as
few as the processes can share. Later starts keep them, so that any number of processes that divides them
goes on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Optional

from ..errors import OfaError
from ..system import container
from ..training.settings import Train
from .run import Run


def for_training(run: Run) -> Run:
    """`run` with updates that its images suffice for, said in a line where they are smaller."""
    before, images = run.recipe.train, len(run.lab.train)
    if images >= before.global_batch:
        return run
    train = begun(before, images, run.output) or fitted(before, images, run.lab.comm.size)
    run.say(f"{images} training images are fewer than an update takes (train.global_batch="
            f"{before.global_batch}): it takes {train.global_batch}, in passes of {train.batch_size} "
            "(--set train.global_batch and train.batch_size choose others)")
    return replace(run, lab=replace(run.lab, recipe=replace(run.recipe, train=train)))


def fitted(train: Train, images: int, ranks: int) -> Train:
    """Settings whose updates take no more images than there are; the same where they fit.

    One update then takes nearly all images: in passes of equal size, of at most train.batch_size, a whole
    number of them on each process.

    Args:
        train: The recipe's settings.
        images: How many there are to learn from.
        ranks: Processes that share an update.

    Raises:
        OfaError: There are fewer images than processes.
    """
    if images >= train.global_batch:
        return train
    if images < ranks:
        raise OfaError(f"{images} training images cannot be shared by {ranks} processes: start fewer")
    return in_passes(train, images, ranks * min(-(-images // (train.batch_size * ranks)), images // ranks))


def in_passes(train: Train, images: int, passes: int) -> Train:
    """`train` with updates of nearly all images, in `passes` of equal size."""
    return replace(train, batch_size=images // passes, global_batch=images // passes * passes)


def begun(train: Train, images: int, output: Path) -> Optional[Train]:
    """The settings with which a run in `output` was begun on as few images; None if there is none.

    Args:
        train: The recipe's settings.
        images: How many there are to learn from.
        output: The run's folder, with its stages' folders.
    """
    files = [path for name in ("weights.h5", "checkpoint-*.h5") for path in output.glob(f"*/{name}")]
    for path in sorted(files, reverse=True):
        passes = passes_of(path)
        if 1 <= passes <= images and images // passes <= train.batch_size:
            return in_passes(train, images, passes)
    return None


def passes_of(path: Path) -> int:
    """How many passes an update of a network or a checkpoint had; 0 where its file does not say."""
    try:
        settings = container.load(path)[1]["info"]["recipe"]["train"]
        return int(settings["global_batch"] // settings["batch_size"])
    except (OfaError, LookupError, TypeError, ArithmeticError):  # damaged, or another program's: said later
        return 0
