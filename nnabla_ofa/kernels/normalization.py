"""Batch normalisation outside a block as an NNabla function. Activations are (C, H, W, N), float32."""

from __future__ import annotations

import ctypes
from typing import List, Optional, Tuple

import nnabla as nn
import numpy as np

from .activation import kind
from .build import library
from .function import Function, address, gradients, longs, pointers
from .layout import check

Moments = List[Tuple[nn.Variable, nn.Variable]]


class NormalizationStruct(ctypes.Structure):
    """Mirror of `normalization` in normalization.h, which says what the fields mean. A test compares them."""

    _fields_ = (longs("channels full pixels fixed activation add_z add_residual add_gamma add_beta")
                + [("eps", ctypes.c_double), ("decay", ctypes.c_double)]
                + pointers("z gamma beta residual mean variance running_mean running_variance dy y dz "
                           "d_residual d_gamma d_beta"))


class _Normalization(Function):
    """Its inputs are z, gamma, beta and, where there is one, the residual."""

    name = "BatchNormalization"

    def __init__(self, shape, structure: NormalizationStruct, statistics: np.ndarray,
                 running: Optional[Tuple[nn.Variable, nn.Variable]]) -> None:
        super().__init__(shape)
        self._own, self._running = structure, running
        self._statistics = statistics  # mean, variance: (2, C), of the batch or given
        structure.mean, structure.variance = (row.ctypes.data for row in statistics)
        self._moments: Moments = []

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return True

    def moments(self) -> Tuple[nn.Variable, nn.Variable]:
        """Mean and biased variance of the batch, which the forward pass fills."""
        channels = self._own.channels
        self._moments = [(nn.Variable((channels,)), nn.Variable((channels,)))]
        return self._moments[0]

    def _point(self, inputs) -> None:
        """Where the values are now."""
        own = self._own
        own.z, own.gamma, own.beta, own.residual = [*(address(v.data) for v in inputs), None][:4]

    def forward_impl(self, inputs, outputs) -> None:
        own = self._own
        self._point(inputs)
        own.y = address(outputs[0].data, True)
        if self._running:
            own.running_mean, own.running_variance = (address(v.data) for v in self._running)
        library().normalization_forward(ctypes.byref(own))
        for pair in self._moments:
            for variable, values in zip(pair, self._statistics):
                variable.d = values

    def backward_impl(self, inputs, outputs, propagate_down, accum) -> None:
        own = self._own
        self._point(inputs)
        own.dy = address(outputs[0].grad)
        addresses, adds = gradients(inputs, propagate_down, accum, 4)
        own.dz, own.d_gamma, own.d_beta, own.d_residual = addresses
        own.add_z, own.add_gamma, own.add_beta, own.add_residual = adds
        library().normalization_backward(ctypes.byref(own))


def normalize(z: nn.Variable, gamma: nn.Variable, beta: nn.Variable, *,
              residual: Optional[nn.Variable] = None, activation: str = "none", eps: float = 1e-5,
              decay: float = 0.9, running: Optional[Tuple[nn.Variable, nn.Variable]] = None,
              moments: Optional[Moments] = None,
              fixed: Optional[Tuple[np.ndarray, np.ndarray]] = None) -> nn.Variable:
    """y = activation(BN(z) + residual), normalised by the batch's statistics or by given ones.

    Args:
        z: (C, H, W, N).
        gamma, beta: (1, O, 1, 1), BN's scale and shift, O at least C: the first ones are used.
        residual: A Variable shaped as z, or None.
        activation: One of `activation.KINDS`.
        eps: Added to the variance, above 0.
        decay: running = decay * running + (1 - decay) * batch's, with the unbiased variance; 0 to 1.
        running: None, or (mean, variance), Variables (1, O, 1, 1) that the forward pass moves.
        moments: A list that receives (mean, biased variance), Variables (C,) that the forward pass fills.
        fixed: None, or mean and variance, (C,) each, to normalise by instead of the batch's; read now.

    Returns:
        y, shaped as z.

    Raises:
        OfaError: The arguments do not fit, or the library cannot be used.
    """
    check(z.ndim == 4, "z shape", z.shape, "(C, H, W, N)")
    channels, full = z.shape[0], gamma.size
    for name, v in (("gamma", gamma), ("beta", beta), *(("running", v) for v in running or ())):
        check(v.shape == (1, full, 1, 1) and full >= channels, f"{name} shape", v.shape,
              f"(1, {channels} or more, 1, 1), all of one size")
    check(residual is None or residual.shape == z.shape, "residual shape", residual and residual.shape,
          f"{z.shape}")
    library()
    statistics = (np.empty((2, channels), np.float32) if fixed is None else
                  np.array([np.ravel(values)[:channels] for values in fixed], np.float32))
    structure = NormalizationStruct(channels, full, int(np.prod(z.shape[1:])), fixed is not None,
                                    kind(activation), eps=eps, decay=decay)
    function = _Normalization(z.shape, structure, statistics, running)
    if moments is not None:
        moments.append(function.moments())
    return function(z, gamma, beta, *(() if residual is None else (residual,)))
