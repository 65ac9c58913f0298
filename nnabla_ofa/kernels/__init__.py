"""Fused CPU functions for the channel-major (C, H, W, N) trunk: one NNabla function a block.

NNabla's own CPU functions run this network about forty times slower than the machine can. These
are compiled on first use, from the C files beside this one, for the CPU at hand.

    functions.py   the NNabla functions of a block, their forward and backward passes
    depthwise.py, elementwise.py   functions outside a block
    layout.py      a block's layers, checked, as the structures that the C code reads
    build.py       compiles and loads the C code
    fused.c        blocks of layers; gemm.h matrix products, depthwise.h, pool.h
    channels.h, elementwise.h   what depthwise.py and elementwise.py call
"""
from __future__ import annotations

from typing import Optional

from ..errors import OfaError
from .build import library, load
from .depthwise import depthwise
from .elementwise import hard_swish, scale
from .functions import block, frozen_block, global_mean, to_chwn
from .layout import Folded, Layer

__all__ = ["Folded", "Layer", "block", "depthwise", "frozen_block", "global_mean", "hard_swish", "scale",
           "set_threads",
           "to_chwn", "unavailable_reason"]


def unavailable_reason() -> Optional[str]:
    """None when the kernels are usable, else why not. The first call compiles them, in about 4 s."""
    return load()[1]


def set_threads(n: int) -> None:
    """Run on `n` threads; the default is OMP_NUM_THREADS, else this process's share of the cores.

    The results do not depend on it.

    Raises:
        OfaError: `n` is not a positive integer, or the library cannot be used.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise OfaError(f"threads: {n!r} is not a positive integer")
    library().set_threads(n)
