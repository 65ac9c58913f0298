"""What a subnet is worth: BN calibration, then every validation image exactly once.

A subnet is always evaluated as the stand-alone network that extraction gives. Its BN statistics come from
N different training images, the same on every run, augmented as in training: its weights were trained
with such statistics (those of plain images cost 2 to 4 points on CIFAR-10). Batches are numbered, dealt
to the ranks in turn, and their sums added in the order of their numbers. Any number of ranks therefore
gives the same figures.
"""

from __future__ import annotations

from typing import Dict, Iterable, List, NamedTuple, Optional, Protocol, Sequence, Tuple

import numpy as np

from ..model import AnyNetwork
from ..model.population import Batch
from ..nets import Arch
from ..system.comm import Communicator, Single
from .images import Images, Labelled

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


def evaluate_archs(net: AnyNetwork, archs: Sequence[Optional[Arch]], size: int,
                   calibration: Optional[Images], test: Images, comm: Communicator = Single()
                   ) -> List[Result]:
    """Each arch calibrated and judged; MOST_TOGETHER at a time are worked on together.

    Args:
        net: Whose subnets they are.
        archs: None stands for the largest.
        size: Pixels a side.
        calibration: Images that BN statistics come from; None: the stored ones serve.
        test: Images that are counted.
        comm: The ranks, which share the work.

    Returns:
        A result an arch, in their order.
    """
    wanted = [net.arch(arch).canonical() for arch in archs]
    waiting = sorted(set(wanted), key=str)  # names with equal beginnings: layers shared
    found: Dict[Arch, Result] = {}
    while waiting:
        group, waiting = waiting[:MOST_TOGETHER], waiting[MOST_TOGETHER:]
        population = net.population(group)
        if calibration is not None:
            population.calibrate(calibration.batches(size, comm), calibration.count(), comm)
        found.update(zip(group, judge(population, test.batches(size, comm), test.count(), comm)))
    return [found[arch] for arch in wanted]


def calibrate(net: AnyNetwork, batches: Iterable[Batch], total: int, comm: Communicator = Single()) -> None:
    """Set the BN statistics of a stand-alone subnet to those of the batches, in place.

    Args:
        net: The subnet.
        batches: This rank's, as `Images.batches` numbers them.
        total: The number over all ranks.
        comm: The ranks.
    """
    arch = net.space.largest()
    population = net.population([arch])
    population.calibrate(batches, total, comm)
    net.adopt_statistics(population.statistics(0), arch)


class Judged(Protocol):
    """Networks that are judged together: a `model.Population`, or files that other programs run."""

    def __len__(self) -> int:
        """How many they are."""

    def logits(self, images: np.ndarray) -> Sequence[np.ndarray]:
        """Of each, (N, classes); images (N, 3, H, W) float32."""


def judge(population: Judged, batches: Iterable[Labelled], total: int,
          comm: Communicator = Single()) -> List[Result]:
    """Loss, top-1 and top-5 of each network; each batch is decoded once for all of them.

    Args:
        population: The networks, calibrated.
        batches: This rank's, as `Images.batches` numbers them.
        total: The number over all ranks.
        comm: The ranks.
    """
    sums = np.zeros((total, len(population), 4))
    for number, images, labels in batches:
        sums[number] = [score(logits, labels) for logits in population.logits(images)]
    return [Result(float(loss / n), float(top1 / n), float(top5 / n), int(n))
            for loss, top1, top5, n in comm.add(sums).sum(axis=0)]


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
