"""Layers as functions of `kernels`. The trunk is (C, H, W, N) here.

In training a function reads the layers' variables; in evaluation it is built on constant weights, BN
folded in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping, Optional, Protocol, Sequence, Tuple

import nnabla as nn
import numpy as np

from .. import kernels
from .activation import activate
from .base import Arrays, Mode, Owner, Single, parameters, read, stored
from .batch_norm import bn_variable, pooled, running


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


def convolution(x: nn.Variable, layer: Single, mode: Mode, constants: Arrays, bn: Optional[int], *,
                residual: Optional[nn.Variable] = None, activation: str = "none", eps: Optional[float] = None,
                **sizes: Any) -> nn.Variable:
    """[convolution, BN, + residual, activation].

    Args:
        x: The trunk.
        layer: Whose arrays are `<name>/conv/W`, perhaps `<name>/conv/b`, and `<name>/bn/*`.
        mode: How the graph is built.
        constants: Of evaluation: the arrays of the stand-alone layer, its BN folded in; else none.
        bn: Stored channels of the BN; None: there is none.
        residual: What is added before the activation, as the output, or None.
        activation: One of `activation.ACTIVATIONS`.
        eps: What BN adds to the variance; None: as all BNs of the network.
        sizes: Further arguments of `kernels.convolution`.
    """
    if not mode.batch_stat:
        sizes.pop("w_out", None)
        return kernels.frozen_convolution(x, constants[f"{layer.name}/conv/W"],
                                          constants.get(f"{layer.name}/conv/b"), residual=residual,
                                          activation=activation, **sizes)
    bias = layer.variable("conv/b") if f"{layer.name}/conv/b" in parameters(layer) else None
    y = kernels.convolution(x, layer.variable("conv/W"), bias, **sizes)
    if bn is not None:
        return normalized(y, layer.name, bn, mode, residual, activation, eps)
    return activate(y if residual is None else y + residual, activation, fast=True)


def normalized(x: nn.Variable, name: str, full: int, mode: Mode, residual: Optional[nn.Variable] = None,
               activation: str = "none", eps: Optional[float] = None) -> nn.Variable:
    """[BN over the first of `full` stored channels, + residual, activation]; arguments of `convolution`."""
    own = mode if eps is None else replace(mode, bn_eps=eps)
    gamma, beta = (read(bn_variable(name, full, key), own) for key in ("gamma", "beta"))
    fixed: Optional[Tuple[np.ndarray, np.ndarray]] = None
    if not own.batch_stat:
        fixed = bn_variable(name, full, "mean").d, bn_variable(name, full, "var").d
    moments: Optional[list] = None if mode.statistics is None else []
    y = kernels.normalize(x, gamma, beta, residual=residual, activation=activation, eps=own.bn_eps,
                          decay=own.bn_decay, running=running(name, full, own), moments=moments, fixed=fixed)
    if mode.statistics is not None and moments:
        before = mode.statistics.get(f"{name}/bn")
        mode.statistics[f"{name}/bn"] = moments[0] if before is None else pooled(before, moments[0])
    return y


def constants(layer: Owner, mode: Mode, of: Optional[Mapping[str, np.ndarray]] = None) -> Arrays:
    """Of evaluation, a layer's arrays, BN folded in; none in training. of: those of its subnet alone."""
    if mode.batch_stat:
        return {}
    return layer.fold(current_values(layer) if of is None else of, mode.bn_eps)


def current_values(layer: Owner) -> Arrays:
    """The layer's stored arrays, float32, as they are in the current parameter scope."""
    return {name: stored(name, lambda p=p: p).d.astype(np.float32)  # type: ignore[misc]
            for name, p in parameters(layer).items()}
