"""How well predictions agree with measurements."""

from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np

from .ranking import correlations


class Agreement(NamedTuple):
    """kendall_tau: tau-b in [-1, 1], 0 where one side is constant; rmse: in the unit of the values;
    mean_relative_error: mean of |predicted - measured| / measured; count: pairs."""

    kendall_tau: float
    rmse: float
    mean_relative_error: float
    count: int


def agreement(predicted: Sequence[float], measured: Sequence[float]) -> Agreement:
    """`Agreement` of predictions (n,) with positive measurements (n,), n >= 2."""
    predicted, measured = np.asarray(predicted, float), np.asarray(measured, float)
    error = predicted - measured
    tau = correlations(predicted, measured)["kendall"]
    return Agreement(0.0 if np.isnan(tau) else tau, float(np.sqrt(np.mean(error ** 2))),
                     float(np.mean(np.abs(error) / measured)), len(error))
