"""Training states on disk: the newest few of a stage, whole or absent, and which of them serves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Callable, List, Mapping, Optional, Tuple

import numpy as np

from ..errors import OfaError
from ..layers import Arrays
from ..system import container
from ..system.files import Location

_CHECKPOINT = re.compile(r"checkpoint-(\d+)(?:-step-(\d+))?\.h5")


def checkpoints(folder: Location) -> List[Tuple[int, Path]]:
    """(finished epochs, path) of the training checkpoints of a run, newest first."""
    found = [(int(m[1]), int(m[2] or 0), p) for p in Path(folder).glob("checkpoint-*.h5")
             for m in [_CHECKPOINT.fullmatch(p.name)] if m]
    return [(epoch, path) for epoch, _, path in sorted(found, reverse=True)]


def save_checkpoint(folder: Location, epoch: int, arrays: Arrays, meta: Mapping[str, Any],
                    keep: int = 5, step: int = 0) -> None:
    """Write a state, and delete all but the newest `keep` after whole epochs.

    Args:
        folder: Of the stage.
        epoch: How many epochs are finished.
        arrays, meta: The state.
        keep: How many states after whole epochs stay.
        step: How many steps of the next epoch are done. Of states within an epoch only the newest stays.

    Raises:
        OfaError: the state is not finite; nothing is written, nobody could go on from it.
    """
    bad = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if bad:
        raise OfaError(f"{bad[0]} (and {len(bad) - 1} more) is not finite after epoch {epoch}: the "
                       f"checkpoints in {folder} are good; lower the learning rate or set "
                       "train.clip_grad, and run again with --accept-changes")
    written = Path(folder) / f"checkpoint-{epoch:04d}{f'-step-{step:06d}' if step else ''}.h5"
    container.save(written, arrays, {**meta, "kind": "checkpoint", "epoch": epoch})
    whole = [path for _, path in checkpoints(folder) if "-step-" not in path.name]
    within = [path for _, path in checkpoints(folder) if "-step-" in path.name and path != written]
    for path in (*whole[keep:], *within):
        path.unlink()


def newest_checkpoint(folder: Location, log: Callable[[str], None] = print) -> Optional[Tuple[Arrays, dict]]:
    """The newest whole checkpoint of a run, None if there is none; says which it passed over.

    OfaError if there are some and none is whole: a run that began anew would delete them.
    """
    found = checkpoints(folder)
    for _, path in found:
        try:
            arrays, meta = container.load(path)
            container.require_kind(path, meta, "checkpoint")
            return arrays, meta
        except OfaError as error:
            log(f"{error}; falling back to the checkpoint before it")
    if found:
        raise OfaError(f"none of the {len(found)} checkpoints in {folder} can be read: mend the disk, "
                       "bring a copy back, or delete them to begin this stage anew")
    return None
