"""Accuracy predictor: top-1 of any subnet and image size, learned from a sample of measured ones.

A Gaussian process (Rasmussen & Williams, 2006) on the one-hot choices of the blocks and the cost of
each layer; as in Once-for-All (Cai et al., ICLR 2020, section 3.4) a search then asks it in place of
the images. The file of a predictor is its samples: fitting takes seconds and is deterministic, so
loading is fitting again.
"""

from __future__ import annotations

import itertools
import json
import warnings
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from .agreement import Agreement, agreement
from .arch import Arch, Space
from .checkpoint import write_atomically
from .comm import Single
from .cost import Archs, CostModel
from .errors import OfaError
from .supernet import Network

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


def evaluated(path, net: Network, pairs: Sequence[Pair],
              top1_of: Callable[[Sequence[Arch], int], Sequence[float]], judged_on: str,
              comm=Single(), chunk: int = 25, say: Callable[[str], None] = print) -> List[Sample]:
    """Samples of `pairs`, kept in the file `path` after every `chunk`: what is there is not redone.

    top1_of: (archs, image size) -> top-1 of each, the same on every rank. judged_on: the images, in
    words. Raises OfaError if the file is damaged, or holds samples of other weights or images.
    """
    about = _about(net, judged_on)
    kept = _read(path, net, about) if comm.rank == 0 and Path(path).exists() else {}
    known = np.array([kept.get(pair, -1.0) for pair in pairs]) if comm.rank == 0 else np.zeros(len(pairs))
    known = comm.add(known)  # what rank 0 has read, the same on every rank
    due = [i for i in range(len(pairs)) if known[i] < 0]
    for size in sorted({pairs[i][1] for i in due}):
        same = [i for i in due if pairs[i][1] == size]
        for start in range(0, len(same), chunk):
            some = same[start:start + chunk]
            known[some] = top1_of([pairs[i][0] for i in some], size)
            kept.update((pairs[i], float(known[i])) for i in some)
            if comm.rank == 0:
                _write(path, about, kept)
                say(f"{size} pixels: {start + len(some)} of {len(same)} subnets, top-1 "
                    f"{known[some].min():.4f} to {known[some].max():.4f}")
    return [Sample(*pair, float(top1)) for pair, top1 in zip(pairs, known)]


def measured(path, lab, net: Network, pairs: Sequence[Pair],
             say: Callable[[str], None] = print) -> List[Sample]:
    """`evaluated` on the images that a `stages.Lab` holds out of training."""
    judged_on = (f"{len(lab.valid.indices)} images held out, seed {lab.seed}, "
                 f"{len(lab.calibration.indices)} for calibration")
    return evaluated(path, net, pairs, lambda archs, size: [
        result.top1 for result in lab.judge(net, archs, size, on="valid")], judged_on, lab.comm, say=say)


def _about(net: Network, judged_on: str) -> dict:
    crc = 0
    for array in net.arrays().values():
        crc = zlib.crc32(array, crc)
    return {"kind": "accuracy samples", "space": str(net.space), "weights": crc,
            "config": json.loads(json.dumps(asdict(net.config))), "judged_on": judged_on}


def _write(path, about: dict, kept: Dict[Pair, float]) -> None:
    lines = [about] + [{"subnet": str(arch), "image_size": size, "top1": top1}
                       for (arch, size), top1 in kept.items()]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines).encode())


def _read(path, net: Network, about: dict) -> Dict[Pair, float]:
    """The samples of a file, which must be `about` the same."""
    try:
        head, *lines = [json.loads(line) for line in
                        Path(path).read_text(encoding="utf-8").splitlines()]
        for name in about:
            if head[name] != about[name]:
                raise _Foreign(f"{path} holds samples of another network or other images (its {name} "
                               "differs): choose another file")
        return {(net.arch(line["subnet"]).canonical(), int(line["image_size"])): _fraction(line["top1"])
                for line in lines}
    except _Foreign:
        raise
    except OSError as error:
        raise OfaError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:  # OfaError is a ValueError
        raise OfaError(f"{path} is no file of accuracy samples, or it is damaged ({error!r}): delete "
                       "it, and they are measured anew") from error


class _Foreign(OfaError):
    """Samples that are whole, but of something else."""


def _fraction(top1: float) -> float:
    if not 0 <= top1 <= 1:
        raise ValueError(f"top1={top1}")
    return float(top1)


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
        self._costs = CostModel(net, self._sizes[-1])
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
                           "on more images, or accept a poor predictor explicitly")
        self._model = _fit(features, self.measured)

    @classmethod
    def load(cls, path, net: Network, accept_poor: bool = False) -> "Predictor":
        """The predictor of the samples that `evaluated` kept in a file. Raises OfaError."""
        about = _about(net, "")
        del about["judged_on"]
        kept = _read(path, net, about)
        return cls(net, [Sample(*pair, top1) for pair, top1 in kept.items()], accept_poor)

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
        one_hot = [np.eye(len(own))[column] for own, column in zip(self._costs.operations.choices, rows.T)]
        costs = self._costs.by_layer(rows)
        return np.concatenate([*one_hot, costs.parameters, costs.macs, costs.activations,
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
