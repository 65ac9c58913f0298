"""The regression behind the predictor, by scikit-learn: standardised features, a Gaussian process on them.

The process is a linear part, a smooth part and noise; their sizes are those of largest marginal
likelihood (Rasmussen & Williams, 2006, chapter 5).
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import Iterator

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def fit(features: np.ndarray, top1: np.ndarray) -> Pipeline:
    """A model of top-1 (n,) by features (n, k): its `predict` takes features (m, k) and gives (m,)."""
    with _bounds_reached():
        return make_pipeline(StandardScaler(), _process()).fit(features, top1)


def cross_validated(features: np.ndarray, top1: np.ndarray, folds: int) -> np.ndarray:
    """What models that have not seen a sample predict of it.

    Args:
        features: (n, k). They are standardised over all samples, once: that tells no top-1.
        top1: (n,) fractions.
        folds: Into how many parts the samples are dealt at random, the same on every run. Each is
            predicted by a model of the others.

    Returns:
        (n,) predictions.
    """
    fold = np.random.default_rng(0).permutation(len(top1)) % folds
    standardised = StandardScaler().fit_transform(features)
    with _bounds_reached():
        return cross_val_predict(_process(), standardised, top1, cv=PredefinedSplit(fold))


def _process() -> GaussianProcessRegressor:
    kernel = ConstantKernel(0.1) * DotProduct(1.0) + ConstantKernel(0.5) * RBF(10.0) + WhiteKernel(0.5)
    return GaussianProcessRegressor(kernel, normalize_y=True)


@contextmanager
def _bounds_reached() -> Iterator[None]:
    """No warning of a part that the samples do not need: its size ends at its bound."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
