"""Batch normalisation after a convolution: parameters, graph, slices, folding.

After an elastic convolution it is elastic in its width: a subnet uses the first channels, or all of them
in an order of its own.
"""

from __future__ import annotations

from typing import Dict, Mapping, Optional, Tuple

import nnabla as nn
import nnabla.functions as F
import numpy as np

from .base import Arrays, Index, Mode, Parameter, read, rows, stored

KEYS = ("gamma", "beta", "mean", "var")


def bn_parameters(name: str, width: int) -> Dict[str, Parameter]:
    """The stored arrays of the BN of layer `name`, each (1, width, 1, 1)."""
    shape = (1, width, 1, 1)
    return {f"{name}/bn/gamma": Parameter(shape, "ones"),
            f"{name}/bn/beta": Parameter(shape, "zeros"),
            f"{name}/bn/mean": Parameter(shape, "zeros", "mean"),
            f"{name}/bn/var": Parameter(shape, "ones", "variance")}


def bn_variable(name: str, width: int, key: str) -> nn.Variable:
    """The variable of one of these arrays; key: one of KEYS."""
    full = f"{name}/bn/{key}"
    return stored(full, lambda: bn_parameters(name, width)[full])


def running(name: str, width: int, mode: Mode) -> Optional[Tuple[nn.Variable, nn.Variable]]:
    """Mean and variance that follow the batches; None where the mode has none follow."""
    return (bn_variable(name, width, "mean"), bn_variable(name, width, "var")) if mode.track else None


def batch_normalization(x: nn.Variable, name: str, full: int, width: int, mode: Mode,
                        order: Optional[np.ndarray] = None) -> nn.Variable:
    """BN over the first `width` of `full` stored channels, or all of them taken in `order`.

    Args:
        x: (N, width, H, W).
        name: Of the layer that owns the BN.
        full, width: Stored and active channels.
        mode: Which statistics normalise, and who receives those of the batch.
        order: Integers (full,), the stored channel of each output channel; None for the first ones.
    """
    gamma, beta = (rows(read(bn_variable(name, full, key), mode), width, order, axis=1)
                   for key in ("gamma", "beta"))
    if not mode.batch_stat:
        mean, var = (_constant(bn_variable(name, full, key), width, order) for key in ("mean", "var"))
        return F.batch_normalization(x, beta, gamma, mean, var, eps=mode.bn_eps, batch_stat=False)
    mean, var = running(name, full, mode) or (None, None)
    found = F.batch_normalization(x, beta, gamma, mean, var, decay_rate=mode.bn_decay, eps=mode.bn_eps,
                                  batch_stat=True, output_stat=mode.statistics is not None)
    if mode.statistics is None:  # nobody asks for the moments: cuDNN has no function that gives them
        return found
    y, *moments = found
    before = mode.statistics.get(f"{name}/bn")
    mode.statistics[f"{name}/bn"] = tuple(moments) if before is None else pooled(before, tuple(moments))
    return y


def pooled(one: Tuple[nn.Variable, nn.Variable], other: Tuple[nn.Variable, nn.Variable]
            ) -> Tuple[nn.Variable, nn.Variable]:
    """(mean, variance) of two inputs of one size together: the BN of a layer that serves twice sees both."""
    half = (one[0] - other[0]) * 0.5
    return (one[0] + other[0]) * 0.5, (one[1] + other[1]) * 0.5 + half * half


def _constant(variable: nn.Variable, width: int, order: Optional[np.ndarray]) -> nn.Variable:
    """As `rows`, of what BN refuses to take from another function: a copy, or itself if it is whole."""
    if order is None and variable.shape[1] == width:
        return variable
    return nn.Variable.from_numpy_array(variable.d[:, :width] if order is None else variable.d[:, order])


def slice_bn(arrays: Mapping[str, np.ndarray], name: str, active: Index) -> Arrays:
    """The BN's arrays of a stand-alone layer; active: index of the channels that it uses."""
    return {f"{name}/bn/{key}": arrays[f"{name}/bn/{key}"][:, active] for key in KEYS}


def permute_bn(arrays: Arrays, name: str, order: np.ndarray) -> None:
    """Give the BN's channels in `order`; changes `arrays`."""
    for key in KEYS:
        arrays[f"{name}/bn/{key}"] = arrays[f"{name}/bn/{key}"][:, order]


def folded_convolution(arrays: Mapping[str, np.ndarray], name: str, convolution: str, eps: float
                       ) -> Tuple[np.ndarray, np.ndarray]:
    """Weights and bias of a convolution with its BN: W' x + b = BN(W x).

    Args:
        arrays: Those of a stand-alone layer.
        name, convolution: Of the layer, and of the convolution in it that its BN follows.
        eps: What BN adds to the variance.
    """
    gamma, beta, mean, var = (arrays[f"{name}/bn/{key}"].ravel().astype(np.float64) for key in KEYS)
    scale = gamma / np.sqrt(var + eps)
    weight = arrays[f"{name}/{convolution}/W"] * scale.astype(np.float32).reshape(-1, 1, 1, 1)
    return weight, (beta - mean * scale).astype(np.float32)
