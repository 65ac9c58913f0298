"""Fused CPU functions for the channel-major (C, H, W, N) trunk: one NNabla function a block.

NNabla's own CPU functions run this network about forty times slower than the machine can. These
are compiled on first use, from the C files beside this one, for the CPU at hand.

    block.py       a block of fused layers and its frozen form; layout.py its structures, checked
    convolution.py, depthwise.py, normalization.py, pooling.py, affine.py, activation.py, channels.py
                   functions outside a block
    function.py    what all of them have in common
    build.py       compiles and loads the C code, whose files README.md explains
"""
from __future__ import annotations

from typing import Optional

from ..errors import OfaError
from .activation import activation
from .affine import affine
from .block import block, frozen_block
from .build import library, load
from .channels import global_mean, mean, scale, select, to_chwn
from .convolution import convolution, frozen_convolution
from .depthwise import depthwise, frozen_depthwise
from .layout import Folded, Layer
from .normalization import normalize
from .pooling import pool

__all__ = ["Folded", "Layer", "activation", "affine", "block", "convolution", "depthwise", "frozen_block",
           "frozen_convolution", "frozen_depthwise", "global_mean", "mean", "normalize", "pool", "scale",
           "select", "set_threads", "to_chwn", "unavailable_reason"]


def unavailable_reason() -> Optional[str]:
    """None when the kernels are usable, else why not. The first call compiles them, in some seconds."""
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
