"""How figures of subnets agree (errors, correlations), and which subnets no other one beats (the front).

Pure functions of numbers.
"""

from __future__ import annotations

from typing import Callable, Dict, List, NamedTuple, Sequence, TypeVar, Union

import numpy as np
from scipy.stats import kendalltau, pearsonr

T = TypeVar("T")
Figures = Union[Sequence[float], np.ndarray]  # (n,)


class Agreement(NamedTuple):
    """How predictions agree with measurements.

    kendall_tau: tau-b in [-1, 1], 0 where one side is constant. rmse: in the unit of the values.
    mean_relative_error: mean of |predicted - measured| / measured. count: pairs.
    """

    kendall_tau: float
    rmse: float
    mean_relative_error: float
    count: int  # type: ignore[assignment]  # a field of records; hides the method of tuples


def agreement(predicted: Figures, measured: Figures) -> Agreement:
    """`Agreement` of predictions (n,) with positive measurements (n,), n >= 2."""
    predicted, measured = np.asarray(predicted, float), np.asarray(measured, float)
    error = predicted - measured
    tau = correlations(predicted, measured)["kendall"]
    return Agreement(0.0 if np.isnan(tau) else tau, float(np.sqrt(np.mean(error ** 2))),
                     float(np.mean(np.abs(error) / measured)), len(error))


def correlations(predicted: Figures, actual: Figures) -> Dict[str, float]:
    """Pearson's and Kendall's (tau-b) coefficient of two figures of subnets; NaN if one is constant."""
    if len(set(predicted)) < 2 or len(set(actual)) < 2:
        return {"pearson": float("nan"), "kendall": float("nan")}
    return {"pearson": float(pearsonr(predicted, actual)[0]),
            "kendall": float(kendalltau(predicted, actual)[0])}


def front(items: Sequence[T], cost: Callable[[T], float], top1: Callable[[T], float]) -> List[T]:
    """The items that no other one beats. An item is beaten by one that costs no more and scores no less.

    Args:
        items: Subnets, in any form.
        cost: Of an item.
        top1: Of an item.

    Returns:
        Those items, by ascending cost; of equal ones the first.
    """
    kept: List[T] = []
    for item in sorted(items, key=lambda item: (cost(item), -top1(item))):
        if not kept or top1(item) > top1(kept[-1]):
            kept.append(item)
    return kept
