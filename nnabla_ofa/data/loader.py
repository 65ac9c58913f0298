"""Batches of images, decoded ahead by threads, in an order that depends on the seed alone.

Workers are threads and not processes. OpenCV releases Python's global lock while it decodes and resizes,
so threads are enough. Nothing is forked under MPI or CUDA, and a killed process leaves no shared memory.
"""

from __future__ import annotations

import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import (
    Callable,
    Deque,
    Generator,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

import numpy as np

from ..errors import OfaError
from .augment import Augment
from .backends import open_backend
from .balance import balanced_order
from .datasets import Dataset, Indices
from .decode import UnreadableImage
from .mix import MIX_UNIFORMS, mix, one_hot
from .opencv_state import ONE_THREAD
from .transforms import FLIP, N_UNIFORM, further
from .unreadable import readable
from .views import train_images, valid_images

Key = Tuple[int, Union[int, str], int]  # (seed, stage, epoch): what random numbers depend on
_ORDER, _UNIFORMS, _CALIBRATION = 1, 2, 3  # numbers of independent random streams
_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class TrainLoader:
    """Training data for one rank. Each epoch depends on nothing but the fields here and its own number.

    An epoch shuffles the data set by (seed, stage, epoch). With `dataset.balance` above 0, images of rare
    classes come several times, and some of the others not at all (balance.py). Place p of the shuffled
    order holds an image and row p of a table of random numbers, which decide how the image is augmented. A
    micro-batch is what one rank puts through the network at once. The micro-batches of number g of all
    ranks together take the places from g * batch_size * ranks on, each rank `batch_size` of them in turn.
    Mixup and CutMix pair images within one rank's micro-batch.

    So a step gets the same images, augmented alike, however it is divided into ranks and accumulated
    micro-batches, and an epoch can start at any step. Images that do not fill a micro-batch are left
    out; in the next epoch these are others.

    Args:
        dataset: the training images.
        augment: the settings of augmentation.
        seed: the seed of the order and of augmentation.
        stage: the number or name of the stage of training. Each stage has random numbers of its own.
        batch_size: the number of images in one rank's micro-batch, from 1.
        rank: the number of this rank, from 0.
        ranks: the number of ranks that train together.
        workers: the number of threads that decode. 0: the calling thread does.
        backend: the name of the back end that decodes files (backends.py).

    Raises:
        OfaError: the data set does not fill one micro-batch, or the back end lacks what it needs.
    """

    dataset: Dataset
    augment: Augment
    seed: int
    stage: Union[int, str]
    batch_size: int
    rank: int = 0
    ranks: int = 1
    workers: int = 2
    backend: str = "opencv"

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.ranks:
            raise OfaError(f"rank: {self.rank} is not within 0 to {self.ranks - 1}")
        if self.batch_size < 1:
            raise OfaError(f"batch_size: {self.batch_size} is not 1 or more")
        self.steps_per_epoch()
        open_backend(self.backend)

    def steps_per_epoch(self, accumulate: int = 1) -> int:
        """How many steps of `accumulate` micro-batches an epoch has.

        Raises:
            OfaError: it has none.
        """
        steps = len(self.dataset) // (self.batch_size * self.ranks * accumulate)
        if steps < 1:
            raise OfaError(f"batch_size: {self.batch_size} x {self.ranks} ranks x {accumulate} "
                           f"accumulated is more than the {len(self.dataset)} training images; "
                           "make it smaller")
        return steps

    def epoch(self, epoch: int, sizes: Callable[[int], int], start_step: int = 0,
              accumulate: int = 1) -> Generator[Tuple[np.ndarray, np.ndarray], None, None]:
        """This rank's micro-batches of one epoch.

        An unreadable image is replaced (unreadable.py). The threads end with the iterator: at its
        end, when it is closed, or when it raises an error.

        Args:
            epoch: the epoch's number, from 0.
            sizes: a function of a micro-batch's number that returns the size of its images, in pixels
                a side.
            start_step: the number of the micro-batch to begin with.
            accumulate: the number of micro-batches in a step. Those that do not fill a last step are
                left out.

        Returns:
            An iterator over (images, labels): uint8 (batch_size, size, size, 3), RGB, and int32
            (batch_size,). With Mixup or CutMix on, targets float32 (batch_size, classes) instead of
            labels.

        Raises:
            OfaError: more images cannot be read than the data set allows.
        """
        order = _shuffled(self.dataset, _generator(_ORDER, *self._key(epoch)))
        backend = open_backend(self.backend)
        steps = range(start_step, self.steps_per_epoch(accumulate) * accumulate)

        def batch(step: int) -> Tuple[np.ndarray, np.ndarray]:
            start = (step * self.ranks + self.rank) * self.batch_size
            indices, size = order[start:start + self.batch_size], sizes(step)
            rows = self._rows(indices, epoch, start).tolist()

            def look(chosen: Indices, numbers: Sequence[Sequence[float]]) -> np.ndarray:
                return _stack(train_images(self.dataset, chosen, size, self.augment, numbers, backend),
                              len(chosen), size)

            def one(row: Sequence[float], index: int) -> np.ndarray:
                return look([index], [row])[0]

            try:
                images = look(indices, rows)
            except UnreadableImage:  # again, one by one, with another image in the place of such a one
                images = _stack((readable(self.dataset, index, partial(one, row))
                                 for index, row in zip(indices, rows)), len(indices), size)
            return self._mixed(images, self.dataset.labels[indices], epoch, start)

        return _ahead(batch, steps, self.workers)

    def _rows(self, indices: np.ndarray, epoch: int, start: int) -> np.ndarray:
        """The random numbers of the images at the places from `start` on (`draw_rows`)."""
        rows = draw_rows(self.augment, self._key(epoch), start, self.batch_size)
        if self.augment.alternating_flip:
            first = _table("flip", self._key(0), 0, len(self.dataset), 1)[indices, 0]
            rows[:, FLIP] = first if epoch % 2 == 0 else 1 - first
        return rows

    def _mixed(self, images: np.ndarray, labels: np.ndarray, epoch: int, start: int
               ) -> Tuple[np.ndarray, np.ndarray]:
        """The micro-batch whose images are at the places from `start` on, mixed if the settings say so."""
        if not self.augment.mixes():
            return images, labels
        u = _table("mix", self._key(epoch), start // self.batch_size, 1, MIX_UNIFORMS)[0]
        return mix(images, one_hot(labels, len(self.dataset.classes)), self.augment, u)

    def _key(self, epoch: int) -> Key:
        return self.seed, self.stage, epoch


def draw_rows(augment: Augment, key: Key, start: int, count: int) -> np.ndarray:
    """The random numbers that decide how images are augmented (see transforms.py).

    Args:
        augment: the settings, which say how many numbers an image needs.
        key: (seed, stage, epoch).
        start: the first image's place in the epoch's order.
        count: the number of images.

    Returns:
        float64 (count, row_length(augment)), in [0, 1).
    """
    streams: List[Tuple[Union[int, str], int]] = [(_UNIFORMS, N_UNIFORM)]
    streams += [(one.name, one.uniforms) for one in further(augment)]
    return np.hstack([_table(stream, key, start, count, columns) for stream, columns in streams])


def _table(stream: Union[int, str], key: Key, start: int, rows: int, columns: int) -> np.ndarray:
    """Rows `start` and on of a stream's table of uniform numbers: (rows, columns) in [0, 1)."""
    bits = _bits(stream, *key)
    bits.advance(start * columns)  # one state of PCG64 gives one number
    return np.random.Generator(bits).random((rows, columns))


def fixed_batches(dataset: Dataset, indices: Indices, size: int, batch_size: int,
                  augment: Augment, rank: int = 0, ranks: int = 1, workers: int = 2,
                  backend: str = "opencv", key: Optional[Key] = None
                  ) -> Iterator[Tuple[int, np.ndarray, np.ndarray]]:
    """Each image exactly once, in a fixed order, for evaluation or for BN calibration.

    Batch number n goes to rank n % ranks, so a batch is the same under any number of ranks. Unreadable
    images are left out (unreadable.py).

    Args:
        dataset: the images.
        indices: the images to take, in this order.
        size: the size of the images, in pixels a side.
        batch_size: the number of images in a batch, from 1. The last batch may have fewer.
        augment: the settings of augmentation.
        rank: the number of this rank, from 0.
        ranks: the number of ranks that share the batches.
        workers: the number of threads that decode. 0: the calling thread does.
        backend: the name of the back end that decodes files (backends.py).
        key: None: images come as evaluation sees them. (seed, stage, epoch): they come as training
            sees them, but not mixed, and the same every time.

    Returns:
        An iterator over this rank's (number, images uint8 (B, size, size, 3), RGB, labels int32 (B,)).

    Raises:
        OfaError: more images cannot be read than the data set allows.
    """
    order, decoder = np.asarray(indices, np.int64), open_backend(backend)
    rows = None if key is None else draw_rows(augment, key, 0, len(order))

    def look(places: np.ndarray) -> np.ndarray:
        chosen = order[places]
        images = valid_images(dataset, chosen, size, augment, decoder) if rows is None else train_images(
            dataset, chosen, size, augment, rows[places].tolist(), decoder)
        return _stack(images, len(chosen), size)

    def tried(place: int) -> List[np.ndarray]:
        """The image alone, or nothing if it cannot be read."""
        try:
            return list(look(np.array([place])))
        except UnreadableImage as error:
            dataset.unreadable.note(error)
            return []

    def batch(number: int) -> Tuple[int, np.ndarray, np.ndarray]:
        places = np.arange(number * batch_size, min((number + 1) * batch_size, len(order)))
        try:
            return number, look(places), dataset.labels[order[places]]
        except UnreadableImage:  # again, one by one
            found = [(order[place], image) for place in places for image in tried(place)]
            chosen = [index for index, _ in found]
            return number, _stack((image for _, image in found), len(found), size), dataset.labels[chosen]

    batches = _ahead(batch, range(rank, -(-len(order) // batch_size), ranks), workers)
    return filter(lambda one: len(one[2]), batches)


def calibration_indices(n_total: int, count: int, seed: int) -> np.ndarray:
    """Different images, drawn at random, for BN calibration.

    Args:
        n_total: the number of images to draw from.
        count: the number of images to draw. If there are fewer, all are drawn.
        seed: the seed of the draw.

    Returns:
        Indices below `n_total` in random order, int64.
    """
    return _generator(_CALIBRATION, seed).permutation(n_total)[:count]


def calibration_draw(dataset: Dataset, count: int, seed: int) -> np.ndarray:
    """The images for BN calibration, in the proportions of classes that training sees.

    Args:
        dataset: the training images.
        count: the number of images to draw. There are no more than the data set has. They are different
            ones, but where `dataset.balance` makes those of rare classes come several times.
        seed: the seed of the draw.

    Returns:
        Indices of images in random order, int64.
    """
    if not dataset.balance:
        return calibration_indices(len(dataset), count, seed)
    return _shuffled(dataset, _generator(_CALIBRATION, seed))[:count]


def _shuffled(dataset: Dataset, rng: np.random.Generator) -> np.ndarray:
    """The images of an epoch, as many as the data set has, in random order."""
    if not dataset.balance:
        return rng.permutation(len(dataset))
    return balanced_order(dataset.labels, dataset.balance, rng)


def _stack(images: Iterable[np.ndarray], count: int, size: int) -> np.ndarray:
    """One array of `count` images, uint8 (count, size, size, 3), filled as they come."""
    batch = np.empty((count, size, size, 3), np.uint8)
    for row, image in enumerate(images):
        batch[row] = image
    return batch


def _ahead(function: Callable[[_Item], _Made], items: Iterable[_Item], workers: int
           ) -> Generator[_Made, None, None]:
    """`map(function, items)`, computed ahead by `workers` threads. 0: by the calling thread when asked."""
    with ONE_THREAD:
        yield from map(function, items) if workers == 0 else _by_threads(function, items, workers)


def _by_threads(function: Callable[[_Item], _Made], items: Iterable[_Item], workers: int
                ) -> Generator[_Made, None, None]:
    """`map(function, items)`, computed by threads up to two items a thread ahead."""
    pool = ThreadPoolExecutor(workers)
    pending: Deque[Future[_Made]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also when the iterator is closed early, or at Ctrl-C: what has not begun never does
        for future in pending:
            future.cancel()
        pool.shutdown()


def _generator(*key: Union[int, str]) -> np.random.Generator:
    """A random generator whose numbers depend on `key` alone."""
    return np.random.Generator(_bits(*key))


def _bits(*key: Union[int, str]) -> np.random.PCG64:
    """The source of random bits of `_generator`. A text in the key counts as its CRC-32."""
    return np.random.PCG64([zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key])
