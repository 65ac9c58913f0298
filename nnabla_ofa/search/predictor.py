"""Accuracy predictor: the top-1 of any subnet at any image size, learned from a sample of measured ones.

A search then asks the predictor instead of the images, as in Once-for-All (Cai et al., ICLR 2020,
section 3.4). What it learns from are the choices of the blocks and the cost of each layer; how it learns
is in regression.py. A predictor's file holds its samples, in the format of evaluation/cache.py. Learning
takes seconds and always gives the same, so a file is loaded by learning again.
"""

from __future__ import annotations

import itertools
import sys
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from ..cost import Archs, CostModel
from ..errors import OfaError
from ..evaluation import cache
from ..evaluation.statistics import Agreement, agreement
from ..model import Network
from ..nets import Arch, Space
from ..system.files import Location

FOLDS = 5                  # of cross-validation
LEAST_TAU = 0.5            # of a predictor that a search may follow
LEAST_SAMPLES = 2 * FOLDS
Pair = Tuple[Arch, int]    # a subnet and an image size in pixels


# Samples -----------------------------------------------------------------------------------------

class Sample(NamedTuple):
    """A subnet, an image size in pixels, and the top-1 measured there, a fraction."""

    arch: Arch
    image_size: int
    top1: float


def draw(space: Space, sizes: Sequence[int], count: int, seed: int) -> List[Pair]:
    """What to measure: subnets drawn uniformly, each at one image size.

    Args:
        space: The subnets to draw from.
        sizes: Image sizes in pixels, which the subnets get in turn.
        count: How many distinct subnets. Of two counts, the smaller draw is the beginning of the
            larger one.
        seed: Of the draw.

    Returns:
        `count` pairs; fewer if the space holds no more subnets.
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
    """The top-1 of any subnet of a network, at the image sizes of its samples and between them.

    Args:
        net: The network; its weights are not read.
        samples: `LEAST_SAMPLES` or more.
        accept_poor: Whether to serve although tau is below `LEAST_TAU`: a search would follow noise.

    Attributes:
        measured: (n,) top-1 of the samples.
        predicted: (n,) what models that have not seen a sample say of it (5-fold cross-validation).
        agreement: Of those two; its tau is the mean of those within an image size.

    Raises:
        OfaError: There are too few samples, or the predictor is poor.
    """

    def __init__(self, net: Network, samples: Sequence[Sample], accept_poor: bool = False):
        if len(samples) < LEAST_SAMPLES:
            raise OfaError(f"{len(samples)} samples are too few for a predictor: at least {LEAST_SAMPLES}")
        from . import regression  # here: scikit-learn takes a second to import
        self._sizes = sorted({sample.image_size for sample in samples})
        self._space, self._costs = net.space, CostModel(net, self._sizes[-1])
        self.measured = np.array([sample.top1 for sample in samples])
        sizes = np.array([sample.image_size for sample in samples])
        features = self._features([sample.arch for sample in samples], sizes)
        self.predicted = regression.cross_validated(features, self.measured, FOLDS)
        self.agreement = _within(sizes, self.predicted, self.measured)
        tau = self.agreement.kendall_tau
        if tau < LEAST_TAU and not accept_poor:
            raise OfaError(f"the accuracy predictor orders held-out subnets with a Kendall tau of {tau:.2f} "
                           f"over {len(samples)} samples, below {LEAST_TAU}: measure more of them, judge "
                           "on more images, or accept a poor one (--accept-poor)")
        self._model = regression.fit(features, self.measured)

    @classmethod
    def load(cls, path: Location, net: Network, accept_poor: bool = False) -> "Predictor":
        """The predictor of the samples in a file.

        Args:
            path: A file of evaluations (evaluation/cache.py).
            net: The network that the samples were measured on.
            accept_poor: As of `Predictor`.

        Raises:
            OfaError: The file is missing or damaged or holds samples of another network; or as of
                `Predictor`.
        """
        identity, known, damaged, _ = cache.read(path)
        if damaged:
            print(cache.warning(path, damaged), file=sys.stderr, flush=True)
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
        return self._model.predict(self._features(archs, np.full(len(archs), image_size)))

    def _features(self, archs: Archs, sizes: np.ndarray) -> np.ndarray:
        """(n, features): one-hot choices, parameters, MACs and activations of each layer, image size."""
        rows = self._costs.operations.rows(archs)
        costs = self._costs.by_layer(rows)
        return np.concatenate([self._space.one_hot(rows), costs.parameters, costs.macs, costs.activations,
                               sizes[:, None]], axis=1)


def _within(sizes: np.ndarray, predicted: np.ndarray, measured: np.ndarray) -> Agreement:
    """`Agreement` with the mean tau within an image size: that larger images win is no skill.

    Args:
        sizes: (n,) image sizes in pixels.
        predicted: (n,) top-1.
        measured: (n,) top-1.
    """
    taus = [agreement(predicted[sizes == size], measured[sizes == size]).kendall_tau
            for size in np.unique(sizes)]
    return agreement(predicted, measured)._replace(
        kendall_tau=float(np.average(taus, weights=np.unique(sizes, return_counts=True)[1])))
