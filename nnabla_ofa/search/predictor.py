"""Accuracy predictor: top-1 of any subnet and image size, learned from a sample of measured ones.

A Gaussian process (Rasmussen & Williams, 2006) on the one-hot choices of the blocks and the cost of
each layer; as in Once-for-All (Cai et al., ICLR 2020, section 3.4) a search then asks it in place of
the images. The file of a predictor is its samples, in the format of evaluation/cache.py: fitting takes
seconds and is deterministic, so loading is fitting again.
"""

from __future__ import annotations

import itertools
import warnings
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from ..cost import Archs, CostModel
from ..errors import OfaError
from ..evaluation import cache
from ..evaluation.statistics import Agreement, agreement
from ..model import Network
from ..nets import Arch, Space
from ..system.files import Location

FOLDS = 5
LEAST_TAU = 0.5
LEAST_SAMPLES = 2 * FOLDS
Pair = Tuple[Arch, int]  # a subnet and an image size in pixels


# Samples -----------------------------------------------------------------------------------------

class Sample(NamedTuple):
    """A subnet, an image size in pixels, and the top-1 measured there, a fraction."""

    arch: Arch
    image_size: int
    top1: float


def draw(space: Space, sizes: Sequence[int], count: int, seed: int) -> List[Pair]:
    """`count` distinct subnets, image sizes in turn; fewer if the space holds no more.

    Of two counts, the smaller draw is the beginning of the larger one.
    """
    archs = space.sample_distinct(count, np.random.default_rng(seed))
    return list(zip(archs, itertools.cycle(sizes)))


def measured(pairs: Sequence[Pair],
             top1_of: Callable[[Sequence[Arch], int], Sequence[float]]) -> List[Sample]:
    """Samples of `pairs`; top1_of: (archs, image size) -> top-1 of each, such as `Evaluations`."""
    found: Dict[Pair, float] = {}
    for size in sorted({size for _, size in pairs}):
        archs = [arch for arch, own in pairs if own == size]
        found.update(((arch, size), float(top1)) for arch, top1 in zip(archs, top1_of(archs, size)))
    return [Sample(*pair, found[pair]) for pair in pairs]


# The predictor -----------------------------------------------------------------------------------

class Predictor:
    """top-1 of any subnet of `net` at the image sizes of its samples, and between them.

    predicted: (n,) what models that have not seen a sample say of it (5-fold cross-validation);
    agreement: that with the measured top-1, its tau that within an image size. A predictor whose
    tau is below 0.5 raises OfaError, unless `accept_poor`: a search would follow its noise.
    """

    def __init__(self, net: Network, samples: Sequence[Sample], accept_poor: bool = False):
        if len(samples) < LEAST_SAMPLES:
            raise OfaError(f"{len(samples)} samples are too few for a predictor: at least {LEAST_SAMPLES}")
        self._sizes = sorted({sample.image_size for sample in samples})
        self._space, self._costs = net.space, CostModel(net, self._sizes[-1])
        self.measured = np.array([sample.top1 for sample in samples])
        sizes = np.array([sample.image_size for sample in samples])
        features = self._features([sample.arch for sample in samples], sizes)
        self._mean, spread = features.mean(axis=0), features.std(axis=0)
        self._scale = np.where(spread > 0, spread, 1)
        features = (features - self._mean) / self._scale
        self.predicted = _cross_validated(features, self.measured)
        self.agreement = _within(sizes, self.predicted, self.measured)
        tau = self.agreement.kendall_tau
        if tau < LEAST_TAU and not accept_poor:
            raise OfaError(f"the accuracy predictor orders held-out subnets with a Kendall tau of {tau:.2f} "
                           f"over {len(samples)} samples, below {LEAST_TAU}: measure more of them, judge "
                           "on more images, or accept a poor one (--accept-poor)")
        self._model = _fit(features, self.measured)

    @classmethod
    def load(cls, path: Location, net: Network, accept_poor: bool = False) -> "Predictor":
        """The predictor of the samples in a file of evaluations (evaluation/cache.py). Raises OfaError."""
        identity, known = cache.read(path)
        for name, value in cache.network_identity(net).items():
            if identity.get(name) != value:
                raise OfaError(f"{path} holds samples of another network (its {name} differs): choose "
                               "another file, or measure this network with runners/predictor.py")
        try:
            samples = [Sample(net.arch(name), size, top1) for (name, size), top1 in known.items()]
        except OfaError as error:
            raise OfaError(f"{path}: {error}") from error
        return cls(net, samples, accept_poor)

    def __call__(self, archs: Archs, image_size: int) -> np.ndarray:
        """(n,) predicted top-1. archs: as `cost.Operations.rows` takes them. OfaError for an image
        size smaller or larger than those of the samples."""
        if not self._sizes[0] <= image_size <= self._sizes[-1]:
            raise OfaError(f"the predictor's samples are of image sizes {self._sizes[0]} to "
                           f"{self._sizes[-1]}, not {image_size}")
        features = self._features(archs, np.full(len(archs), image_size))
        return self._model.predict((features - self._mean) / self._scale)

    def _features(self, archs: Archs, sizes: np.ndarray) -> np.ndarray:
        """(n, features): one-hot choices, parameters, MACs and activations of each layer, image size."""
        rows = self._costs.operations.rows(archs)
        costs = self._costs.by_layer(rows)
        return np.concatenate([self._space.one_hot(rows), costs.parameters, costs.macs, costs.activations,
                               sizes[:, None]], axis=1)


def _fit(features: np.ndarray, top1: np.ndarray):
    """A fitted Gaussian process: a linear part, a smooth one, noise; their sizes by marginal likelihood."""
    from sklearn.exceptions import ConvergenceWarning  # here: scikit-learn takes a second to import
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
    kernel = (ConstantKernel(0.1) * DotProduct(1.0) + ConstantKernel(0.5) * RBF(10.0) + WhiteKernel(0.5))
    with warnings.catch_warnings():  # a part that the samples do not need ends at its bound
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianProcessRegressor(kernel, normalize_y=True).fit(features, top1)


def _cross_validated(features: np.ndarray, top1: np.ndarray) -> np.ndarray:
    """(n,) predictions, each by a model of the other folds."""
    fold = np.random.default_rng(0).permutation(len(top1)) % FOLDS
    predicted = np.zeros(len(top1))
    for i in range(FOLDS):
        predicted[fold == i] = _fit(features[fold != i], top1[fold != i]).predict(features[fold == i])
    return predicted


def _within(sizes: np.ndarray, predicted: np.ndarray, measured: np.ndarray) -> Agreement:
    """`Agreement` with the mean tau within an image size: that larger images win is no skill."""
    taus = [agreement(predicted[sizes == size], measured[sizes == size]).kendall_tau
            for size in np.unique(sizes)]
    return agreement(predicted, measured)._replace(
        kendall_tau=float(np.average(taus, weights=np.unique(sizes, return_counts=True)[1])))
