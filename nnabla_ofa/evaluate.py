"""What a subnet is worth: BN calibration, then every validation image exactly once.

A subnet is always evaluated as the stand-alone network that extraction gives. Its BN statistics
come from N different training images, the same on every run. Batches are numbered, dealt to the
ranks in turn, and their sums added in the order of their numbers: any number of ranks gives the
same figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import nnabla as nn
import numpy as np

from .arch import Arch
from .comm import Single
from .data import Augment, Dataset, fixed_batches, normalise
from .supernet import Network

Batch = Tuple[int, np.ndarray, np.ndarray]  # number, images (N, 3, H, W) float32, labels (N,)


class Result(NamedTuple):
    """Mean cross-entropy, and top-1 and top-5 accuracy as fractions, over `images` images."""

    loss: float
    top1: float
    top5: float
    images: int

    def line(self) -> str:
        """The line that the runners print."""
        return (f"result: {{'Loss': {self.loss:.6f}, 'Top_1_Acc': {self.top1:.6f}, "
                f"'Top_5_Acc': {self.top5:.6f}}}")


@dataclass(frozen=True)
class Images:
    """A fixed set of images, dealt out in numbered batches."""

    dataset: Dataset
    indices: np.ndarray
    augment: Augment
    batch_size: int
    workers: int = 0
    backend: str = "opencv"

    def count(self) -> int:
        """The number of batches over all ranks, the last one maybe smaller."""
        return -(-len(self.indices) // self.batch_size)

    def batches(self, size: int, comm=Single()) -> Iterable[Batch]:
        """This rank's batches at `size` pixels a side: numbers rank, rank + ranks, ..."""
        for number, images, labels in fixed_batches(
                self.dataset, self.indices, size, self.batch_size, self.augment, comm.rank,
                comm.size, self.workers, self.backend):
            yield number, normalise(images, self.augment), labels


def evaluate_archs(net: Network, archs: Sequence[Optional[Arch]], size: int, calibration: Images,
                   test: Images, comm=Single()) -> List[Result]:
    """Each arch of `net` extracted, calibrated and evaluated at `size` pixels (None: the largest)."""
    subnets = [net.extract(arch) for arch in archs]
    calibrate_subnets(subnets, calibration.batches(size, comm), calibration.count(), comm)
    return evaluate_subnets(subnets, test.batches(size, comm), test.count(), comm)


# Calibration -------------------------------------------------------------------------------------

def calibrate_subnets(subnets: Sequence[Network], batches: Iterable[Batch], total: int,
                      comm=Single()) -> None:
    """Set the BN statistics of one-arch networks to those of the batches, in place.

    A batch is normalised by its own statistics on the way, as in training; a channel's mean and
    (population) variance are then those of all batches pooled. batches: this rank's; total: the
    number over all ranks.
    """
    names = [sorted(n for n in net.declared() if n.endswith("bn/mean")) for net in subnets]
    widths = [[net.declared()[n].shape[1] for n in own] for net, own in zip(subnets, names)]
    sums = [np.zeros((total, 1 + 2 * sum(width))) for width in widths]
    for number, images, _ in batches:
        for net, rows in zip(subnets, sums):
            rows[number] = _batch_moments(net, images)
    for net, own, width, rows in zip(subnets, names, widths, sums):
        rows = comm.add(rows)
        weight = rows[:, :1] / rows[:, 0].sum()
        mean, square = np.split((weight * rows[:, 1:]).sum(axis=0), 2)
        var = np.maximum(square - mean ** 2, 0)
        variables, stops = net.scope_items(), np.cumsum(width)
        for name, start, stop in zip(own, stops - width, stops):
            variables[name].d = mean[start:stop].reshape(1, -1, 1, 1)
            variables[f"{name[:-len('mean')]}var"].d = var[start:stop].reshape(1, -1, 1, 1)


def _batch_moments(net: Network, images: np.ndarray) -> np.ndarray:
    """[number of images, mean of each BN channel, mean square of each BN channel], float64."""
    statistics: Dict[str, Tuple[nn.Variable, nn.Variable]] = {}
    x = nn.Variable.from_numpy_array(images)
    logits, = net.build(x, [net.space.largest()], net.mode(batch_stat=True), statistics)
    pairs = [statistics[name] for name in sorted(statistics)]
    for variable in (v for pair in pairs for v in pair):
        variable.persistent = True
    logits.forward(clear_buffer=True)
    means = np.concatenate([mean.d.ravel() for mean, _ in pairs]).astype(np.float64)
    variances = np.concatenate([var.d.ravel() for _, var in pairs])
    return np.concatenate([[len(images)], means, variances + means ** 2])


# Evaluation --------------------------------------------------------------------------------------

def evaluate_subnets(subnets: Sequence[Network], batches: Iterable[Batch], total: int,
                     comm=Single()) -> List[Result]:
    """Loss, top-1 and top-5 of stand-alone networks; each batch is decoded once for all of them.

    batches: this rank's; total: the number of batches over all ranks.
    """
    sums = np.zeros((total, len(subnets), 4))
    graphs = [Frozen(net) for net in subnets]
    for number, images, labels in batches:
        for i, graph in enumerate(graphs):
            sums[number, i] = score(graph(images), labels)
    return [Result(float(loss / n), float(top1 / n), float(top5 / n), int(n))
            for loss, top1, top5, n in comm.add(sums).sum(axis=0)]


class Frozen:
    """A one-arch network in eval mode as a function; its graph is kept for batches of equal shape.

    Images (N, 3, H, W) float32 -> logits (N, classes), valid until the next call. Nothing in the
    network changes: it can teach, and be judged.
    """

    def __init__(self, net: Network):
        self._net, self._x, self._y = net, None, None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if self._x is None or self._x.shape != images.shape:
            self._x = nn.Variable(images.shape)
            self._y, = self._net.build(self._x, [self._net.space.largest()],
                                       self._net.mode(batch_stat=False))
        self._x.d = images
        self._y.forward(clear_buffer=True)
        return self._y.d


def score(logits: np.ndarray, labels: np.ndarray) -> Tuple[float, int, int, int]:
    """Sums over a batch: cross-entropy, top-1 hits, top-5 hits, images. NaN scores never hit.

    logits: (N, classes); labels: (N,) integers. Of equal scores the lower class goes first.
    """
    logits = logits.astype(np.float64)
    own = logits[np.arange(len(labels)), labels]
    highest = logits.max(axis=1)
    loss = (highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1)) - own).sum()
    before = np.arange(logits.shape[1]) < labels[:, None]
    ahead = ~(logits <= own[:, None]) | ((logits == own[:, None]) & before)
    place = ahead.sum(axis=1)
    return loss, (place < 1).sum(), (place < 5).sum(), len(labels)
