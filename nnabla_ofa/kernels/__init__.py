"""Fused CPU functions for the channel-major (C, H, W, N) trunk: one NNabla function a block.

NNabla's own CPU functions run this network about forty times slower than the machine can. These
are compiled on first use, from the C files beside this one, for the CPU at hand.
"""
from __future__ import annotations

from typing import Optional

from ..errors import OfaError
from . import aliases
from .build import library, load
from .functions import Folded, Layer, block, frozen_block, global_mean, to_chwn

__all__ = ["Folded", "Layer", "aliases", "block", "frozen_block", "global_mean", "set_threads",
           "to_chwn", "unavailable_reason"]


def unavailable_reason() -> Optional[str]:
    """None when the kernels are usable (the first call compiles them, 4 s), else why not."""
    return load()[1]


def set_threads(n: int) -> None:
    """Run on ``n`` threads; the default is OMP_NUM_THREADS or the cores of this process.

    The results do not depend on it.

    Raises:
        OfaError: ``n`` is not a positive integer.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise OfaError("threads: {!r} is not a positive integer".format(n))
    library().set_threads(n)


aliases.install()
