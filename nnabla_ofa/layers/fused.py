"""What is fused on the CPU: layers as functions of `kernels`, one where it can be.

Activations are (C, H, W, N) here. In training a function reads the layers' variables; in evaluation
it is built on constant weights, BN folded in.
"""

from __future__ import annotations

from typing import Any, Optional, Protocol, Sequence

import nnabla as nn
import numpy as np

from .. import kernels
from .base import Arrays, Mode, Owner, parameters, stored


class Fusable(Owner, Protocol):
    """A layer that `kernels` can compute."""

    def kernel_layer(self, mode: Mode) -> kernels.Layer:
        """Its variables, as `kernels.block` takes them."""

    def constant_layer(self, mode: Mode) -> kernels.Folded:
        """Its weights as they are now, those of its subnet alone, BN folded in."""

    def active_order(self) -> Optional[np.ndarray]:
        """The stored row of each output row, None where they are the same."""


def block(x: nn.Variable, units: Sequence[Fusable], skip: Optional[Fusable], mode: Mode,
          **shape: Any) -> nn.Variable:
    """One function of `kernels`.

    Args:
        x: (C, H, W, N).
        units, skip: The layers in a row, and the convolution beside them; see `kernels.block`.
        mode: Trained or frozen, the settings of BN, and who receives the batch's statistics.
        shape: Further arguments of `kernels.block` and `kernels.frozen_block`.
    """
    if not mode.batch_stat:
        return kernels.frozen_block(x, [unit.constant_layer(mode) for unit in units],
                                    skip.constant_layer(mode) if skip else None, **shape)
    moments: Optional[list] = None if mode.statistics is None else []
    y = kernels.block(x, [unit.kernel_layer(mode) for unit in units],
                      skip.kernel_layer(mode) if skip else None,
                      order=units[-1].active_order() if units else None, eps=mode.bn_eps,
                      decay=mode.bn_decay, moments=moments, **shape)
    if mode.statistics is not None:
        for part, pair in zip((*units, *((skip,) if skip else ())), moments or ()):
            mode.statistics[f"{part.name}/bn"] = tuple(pair)
    return y


def current_values(layer: Owner) -> Arrays:
    """The layer's stored arrays, float32, as they are in the current parameter scope."""
    return {name: stored(name, lambda p=p: p).d.astype(np.float32)  # type: ignore[misc]
            for name, p in parameters(layer).items()}
