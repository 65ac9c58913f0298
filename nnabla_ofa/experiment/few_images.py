"""Training on fewer images than the recipe gives to one update."""

from __future__ import annotations

from dataclasses import replace

from ..errors import OfaError
from ..training.settings import Train
from .run import Run


def for_training(run: Run) -> Run:
    """`run` with updates that its images suffice for, said in a line where they are smaller."""
    before, images = run.recipe.train, len(run.lab.train)
    train = fitted(before, images, run.lab.comm.size)
    if train == before:
        return run
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
    passes = ranks * min(-(-images // (train.batch_size * ranks)), images // ranks)
    batch_size = images // passes
    return replace(train, batch_size=batch_size, global_batch=batch_size * passes)
