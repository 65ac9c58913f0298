"""Batches of images, decoded ahead by threads, in an order that depends on the seed alone.

Threads rather than processes: OpenCV releases the interpreter's lock while it decodes and resizes,
nothing is forked under MPI or CUDA, and no shared memory is left behind by a kill -9.
"""

from __future__ import annotations

import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable, Iterable, Iterator, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from ..errors import OfaError
from .augment import Augment
from .backends import open_backend
from .datasets import Dataset
from .decode import UnreadableImage
from .mix import MIX_UNIFORMS, mix, one_hot
from .transforms import N_UNIFORM, further
from .unreadable import readable
from .views import train_images, valid_images

Key = Tuple[int, Union[int, str], int]  # seed, stage, epoch: what random numbers depend on
_ORDER, _UNIFORMS, _CALIBRATION = 1, 2, 3  # independent streams of one seed


@dataclass(frozen=True)
class TrainLoader:
    """Endless training data for one rank of `ranks`; each epoch is a function of its arguments.

    An epoch is a permutation of the data set by (seed, stage, epoch). Its place p holds an image
    and row p of a table of uniform random numbers, which fix the augmentation. Micro-batch g takes
    the places from g * batch_size * ranks on, each rank its `batch_size` of them in turn, within
    which Mixup and CutMix pair them. So the same images, augmented alike, enter a step however it
    is divided into ranks and accumulated micro-batches, and an epoch can start anywhere. What does
    not fill a micro-batch is left out; in the next epoch that is other images.

    batch_size: images a rank and micro-batch; stage: a number or a name; workers: decoding threads,
    0 = the calling thread; backend: what decodes, see backends.py. Raises OfaError if the data set
    does not fill one micro-batch, or the back end lacks what it needs.
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
        """Steps of `accumulate` micro-batches in an epoch, at least 1."""
        steps = len(self.dataset) // (self.batch_size * self.ranks * accumulate)
        if steps < 1:
            raise OfaError(f"batch_size: {self.batch_size} x {self.ranks} ranks x {accumulate} "
                           f"accumulated is more than the {len(self.dataset)} training images; "
                           "make it smaller")
        return steps

    def epoch(self, epoch: int, sizes: Callable[[int], int], start_step: int = 0,
              accumulate: int = 1) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
        """The epoch's micro-batches from number `start_step` on: images uint8 (B, size, size, 3),
        RGB, and labels int32 (B,), or with Mixup or CutMix targets float32 (B, classes); `sizes(g)`
        is the image size of micro-batch g, in pixels.

        Micro-batches that do not fill a step of `accumulate` are left out. Closing the iterator, or
        an error in it, ends its threads. An unreadable image is passed over (see unreadable.py).
        """
        order = _generator(_ORDER, *self._key(epoch)).permutation(len(self.dataset))
        backend = open_backend(self.backend)
        steps = range(start_step, self.steps_per_epoch(accumulate) * accumulate)

        def batch(step: int) -> Tuple[np.ndarray, np.ndarray]:
            start = (step * self.ranks + self.rank) * self.batch_size
            indices, size = order[start:start + self.batch_size], sizes(step)
            rows = views(self.augment, self._key(epoch), start, self.batch_size).tolist()

            def look(chosen: Sequence[int], numbers: Sequence[Sequence[float]]) -> np.ndarray:
                return _stack(train_images(self.dataset, chosen, size, self.augment, numbers, backend),
                              len(chosen), size)

            try:
                images = look(indices, rows)
            except UnreadableImage:  # one by one, each with another image in its place
                images = _stack((readable(self.dataset, i, lambda j, u=u: look([j], [u])[0])
                                 for i, u in zip(indices, rows)), len(indices), size)
            return self._mixed(images, self.dataset.labels[indices], epoch, start)

        return _ahead(batch, steps, self.workers)

    def _mixed(self, images: np.ndarray, labels: np.ndarray, epoch: int, start: int
               ) -> Tuple[np.ndarray, np.ndarray]:
        if not self.augment.mixes():
            return images, labels
        u = _table("mix", self._key(epoch), start // self.batch_size, 1, MIX_UNIFORMS)[0]
        return mix(images, one_hot(labels, len(self.dataset.classes)), self.augment, u)

    def _key(self, epoch: int) -> Key:
        return self.seed, self.stage, epoch


def views(augment: Augment, key: Key, start: int, rows: int) -> np.ndarray:
    """What fixes how the images from place `start` on are augmented: float64 (rows, row_length)."""
    streams = [(_UNIFORMS, N_UNIFORM), *((f.name, f.uniforms) for f in further(augment))]
    return np.hstack([_table(stream, key, start, rows, columns) for stream, columns in streams])


def _table(stream: Union[int, str], key: Key, start: int, rows: int, columns: int) -> np.ndarray:
    """Rows `start` and on of a stream's table of uniform numbers: (rows, columns) in [0, 1)."""
    generator = _generator(stream, *key)
    generator.bit_generator.advance(start * columns)  # a number is one state of PCG64
    return generator.random((rows, columns))


def fixed_batches(dataset: Dataset, indices: Sequence[int], size: int, batch_size: int,
                  augment: Augment, rank: int = 0, ranks: int = 1, workers: int = 2,
                  backend: str = "opencv", key: Optional[Key] = None
                  ) -> Iterator[Tuple[int, np.ndarray, np.ndarray]]:
    """Each of `indices` exactly once, in order: as evaluation sees them, or with a key, for
    calibration, as training sees them (but not mixed), alike every time. Unreadable images are left
    out.

    Yields (number, images uint8 (B, size, size, 3), labels int32 (B,)); the last may be smaller.
    Batch `number` goes to rank number % ranks, so a batch is the same under any number of ranks.
    """
    indices, decoder = np.asarray(indices, np.int64), open_backend(backend)
    rows = None if key is None else views(augment, key, 0, len(indices))

    def look(places: Sequence[int]) -> np.ndarray:
        chosen = indices[places]
        images = valid_images(dataset, chosen, size, augment, decoder) if rows is None else train_images(
            dataset, chosen, size, augment, rows[places].tolist(), decoder)
        return _stack(images, len(chosen), size)

    def tried(place: int) -> Sequence[np.ndarray]:
        try:
            return look([place])
        except UnreadableImage as error:
            dataset.unreadable.note(error)
            return ()

    def batch(number: int) -> Tuple[int, np.ndarray, np.ndarray]:
        places = np.arange(number * batch_size, min((number + 1) * batch_size, len(indices)))
        try:
            return number, look(places), dataset.labels[indices[places]]
        except UnreadableImage:  # one by one
            found = [(indices[place], image) for place in places for image in tried(place)]
            chosen = [index for index, _ in found]
            return number, _stack((image for _, image in found), len(found), size), dataset.labels[chosen]

    batches = _ahead(batch, range(rank, -(-len(indices) // batch_size), ranks), workers)
    return filter(lambda one: len(one[2]), batches)


def calibration_indices(n_total: int, count: int, seed: int) -> np.ndarray:
    """`count` different indices below `n_total`, or all if there are fewer, in random order: int64."""
    return _generator(_CALIBRATION, seed).permutation(n_total)[:count]


def _stack(images: Iterable[np.ndarray], count: int, size: int) -> np.ndarray:
    """One array of `count` images, filled as they come."""
    batch = np.empty((count, size, size, 3), np.uint8)
    for row, image in enumerate(images):
        batch[row] = image
    return batch


def _ahead(function: Callable, items: Iterable, workers: int) -> Iterator:
    """`map(function, items)`, computed by `workers` threads up to two items a thread ahead."""
    cv2.setNumThreads(0)  # our threads share the cores; OpenCV's own would fight them
    if workers == 0:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(workers)
    pending = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also when closed early, or at Ctrl-C: what has not begun never does
        for future in pending:
            future.cancel()
        pool.shutdown()


def _generator(*key: Union[int, str]) -> np.random.Generator:
    """A PCG64 generator of its own for every key; a text counts as its CRC-32."""
    numbers = [zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key]
    return np.random.Generator(np.random.PCG64(numbers))
