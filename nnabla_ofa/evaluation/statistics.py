"""How figures of subnets agree, and which subnets no other one beats. Pure functions of numbers."""

from __future__ import annotations

from typing import Callable, Dict, List, NamedTuple, Sequence, TypeVar

import numpy as np
from scipy.stats import kendalltau, pearsonr

T = TypeVar("T")


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


def correlations(predicted: Sequence[float], actual: Sequence[float]) -> Dict[str, float]:
    """Pearson's and Kendall's (tau-b) coefficient of two figures of subnets; NaN if one is constant."""
    if len(set(predicted)) < 2 or len(set(actual)) < 2:
        return {"pearson": float("nan"), "kendall": float("nan")}
    return {"pearson": float(pearsonr(predicted, actual)[0]),
            "kendall": float(kendalltau(predicted, actual)[0])}


def front(items: Sequence[T], cost: Callable[[T], float], top1: Callable[[T], float]) -> List[T]:
    """The items that no other one beats in `cost` and `top1`, by ascending cost; the first of equals."""
    kept: List[T] = []
    for item in sorted(items, key=lambda item: (cost(item), -top1(item))):
        if not kept or top1(item) > top1(kept[-1]):
            kept.append(item)
    return kept
