"""What a subnet is worth: BN calibration, then every validation image exactly once.

A subnet is always evaluated as the stand-alone network that extraction gives. Its BN statistics
come from N different training images, the same on every run, augmented as in training: those are the
statistics that its weights were trained with (plain images' cost 2 to 4 points on CIFAR-10). Batches
are numbered, dealt to the ranks in turn, and their sums added in the order of their numbers: any
number of ranks gives the same figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, List, NamedTuple, Optional, Sequence, Tuple

import nnabla as nn
import numpy as np

from .arch import Arch
from .comm import Single
from .data import Augment, Dataset, Key, fixed_batches, normalise
from .population import Population
from .supernet import Network

Batch = Tuple[int, np.ndarray, np.ndarray]  # number, images (N, 3, H, W) float32, labels (N,)
MOST_TOGETHER = 32  # subnets: their statistics of every calibration batch are in memory until the end


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
    """A fixed set of images, dealt out in numbered batches; with a key, augmented (`fixed_batches`)."""

    dataset: Dataset
    indices: np.ndarray
    augment: Augment
    batch_size: int
    workers: int = 0
    backend: str = "opencv"
    key: Optional[Key] = None

    def count(self) -> int:
        """The number of batches over all ranks, the last one maybe smaller."""
        return -(-len(self.indices) // self.batch_size)

    def batches(self, size: int, comm=Single()) -> Iterable[Batch]:
        """This rank's batches at `size` pixels a side: numbers rank, rank + ranks, ..."""
        for number, images, labels in fixed_batches(
                self.dataset, self.indices, size, self.batch_size, self.augment, comm.rank,
                comm.size, self.workers, self.backend, self.key):
            yield number, normalise(images, self.augment), labels


def evaluate_archs(net: Network, archs: Sequence[Optional[Arch]], size: int, calibration: Images,
                   test: Images, comm=Single()) -> List[Result]:
    """Each arch of `net` calibrated and evaluated at `size` pixels (None: the largest).

    Archs are worked on together, MOST_TOGETHER at a time: see `Population`.
    """
    archs = [net.arch(arch).canonical() for arch in archs]
    waiting, found = sorted(set(archs), key=str), {}  # names with equal beginnings: layers shared
    while waiting:
        group, waiting = waiting[:MOST_TOGETHER], waiting[MOST_TOGETHER:]
        population = Population(net, group)
        pool_statistics(population, calibration.batches(size, comm), calibration.count(), comm)
        found.update(zip(group, judge(population, test.batches(size, comm), test.count(), comm)))
    return [found[arch] for arch in archs]


def calibrate(net: Network, batches: Iterable[Batch], total: int, comm=Single()) -> None:
    """Set the BN statistics of a stand-alone subnet to those of the batches, in place.

    batches: this rank's; total: the number over all ranks.
    """
    population = Population(net, [net.space.largest()])
    pool_statistics(population, batches, total, comm)
    variables = net.scope_items()
    for name, array in population.statistics(0).items():
        variables[name].d = array


def pool_statistics(population: Population, batches: Iterable[Batch], total: int,
                    comm=Single()) -> None:
    """Set a population's BN statistics to those of the batches.

    A batch is normalised by its own statistics on the way, as in training; a channel's mean and
    (population) variance are then those of all batches pooled.
    """
    sums = np.zeros((total, 1 + 2 * population.channels()))
    for number, images, _ in batches:
        sums[number] = population.moments(images)
    sums = comm.add(sums)
    weight = sums[:, :1] / sums[:, 0].sum()
    mean, square = np.split((weight * sums[:, 1:]).sum(axis=0), 2)
    population.set_statistics(mean, np.maximum(square - mean ** 2, 0))


def judge(population: Population, batches: Iterable[Batch], total: int,
          comm=Single()) -> List[Result]:
    """Loss, top-1 and top-5 of each subnet; each batch is decoded once for all of them."""
    sums = np.zeros((total, len(population), 4))
    for number, images, labels in batches:
        sums[number] = [score(logits, labels) for logits in population.logits(images)]
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
