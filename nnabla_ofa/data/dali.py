"""The back ends of NVIDIA DALI: JPEGs are decoded, cropped and resized on the CPU or on a GPU.

DALI gets encoded files and boxes. It chooses no box and draws no random number, so an epoch has the same
images in the same order under every back end. OpenCV does what DALI is not asked to: other formats,
JPEGs of four inks (CMYK), and boxes that reach beyond the border.
"""

from __future__ import annotations

import threading
from typing import Dict, List, NamedTuple, Optional, Protocol, Sequence, Tuple

import nnabla as nn
import numpy as np

from ..errors import OfaError
from . import opencv
from .pillow import open_jpeg
from .views import View

PACKAGE = "nvidia-dali-cuda120"


class Cut(NamedTuple):
    """What DALI is to do with one JPEG.

    Attributes:
        data: the encoded file, uint8 (bytes,).
        start: (top, left) of the box, in pixels.
        shape: (height, width) of the box, in pixels.
    """

    data: np.ndarray
    start: Tuple[int, int]
    shape: Tuple[int, int]


class Tensors(Protocol):
    """A batch of images as DALI returns it: what this file uses of nvidia.dali's TensorList."""

    def as_cpu(self) -> Tensors:
        """The same in the CPU's memory, from a GPU's."""

    def at(self, index: int) -> np.ndarray:
        """One image, in memory that DALI uses again for the next batch."""


class Pipeline(Protocol):
    """What this file uses of nvidia.dali.Pipeline."""

    def build(self) -> None:
        """Make it ready to run."""

    def feed_input(self, name: str, values: Sequence[np.ndarray]) -> None:
        """Set the input `name` of the next run, an array for each image."""

    def run(self) -> Tuple[Tensors, ...]:
        """The outputs of one batch; a RuntimeError if an image is damaged."""


class _Own(threading.local):
    """One thread's pipeline, and for how many images a batch it was built."""

    pipeline: Optional[Pipeline] = None
    most: int = 0


class Dali:
    """A back end, to be called as `views.Backend` says.

    A pipeline serves one thread at a time. So each of the loader's threads builds its own at its first
    batch, and a larger one when a larger batch comes.

    Args:
        device: "cpu", or "gpu" for the GPU of the NNabla context that is current now.

    Raises:
        OfaError: DALI is not installed, or there is no GPU.
    """

    def __init__(self, device: str):
        try:
            from nvidia.dali import backend  # takes a second
        except ImportError as error:
            raise OfaError(f"data.backend=dali_{device} needs the package {PACKAGE}: pip install "
                           "-r requirements-dali.txt, or choose data.backend=opencv") from error
        if device == "gpu" and not backend.GetCUDADeviceCount():
            raise OfaError("data.backend=dali_gpu finds no NVIDIA GPU on this machine; choose "
                           "data.backend=dali_cpu or opencv")
        self._gpu = int(nn.get_current_context().device_id) if device == "gpu" else None
        self._own = _Own()

    def __call__(self, views: Sequence[View], size: int) -> List[np.ndarray]:
        """The pixels of each view, uint8 (size, size, 3), RGB. An OfaError names a file that is damaged."""
        cuts = {i: cut for i, cut in enumerate(map(_cut, views)) if cut}
        images: Dict[int, np.ndarray] = dict(zip(cuts, self._run(list(cuts.values()), views, size)))
        others = [i for i in range(len(views)) if i not in cuts]
        images.update(zip(others, opencv.pixels([views[i] for i in others], size)))
        return [images[i] for i in range(len(views))]

    def _run(self, cuts: List[Cut], views: Sequence[View], size: int) -> Sequence[np.ndarray]:
        if not cuts:
            return []
        pipeline = self._pipeline(len(cuts))
        pipeline.feed_input("jpegs", [cut.data for cut in cuts])
        pipeline.feed_input("starts", [np.array(cut.start, np.int32) for cut in cuts])
        pipeline.feed_input("shapes", [np.array(cut.shape, np.int32) for cut in cuts])
        pipeline.feed_input("sizes", [np.array([size, size], np.float32)] * len(cuts))
        try:
            images, = pipeline.run()
        except RuntimeError as error:
            self._own.pipeline = None  # it does not work on after an error
            list(opencv.pixels(views, size))  # raises an error that names the damaged file
            raise OfaError(f"DALI cannot decode a batch that OpenCV can: {error}; choose "
                           "data.backend=opencv") from error
        images = images if self._gpu is None else images.as_cpu()
        return [np.array(images.at(i)) for i in range(len(cuts))]  # copies: DALI reuses its memory

    def _pipeline(self, count: int) -> Pipeline:
        """This thread's pipeline, which takes `count` images or more."""
        own = self._own
        if own.pipeline is None or own.most < count:
            own.pipeline, own.most = _build(self._gpu, count), count
        return own.pipeline


def _cut(view: View) -> Optional[Cut]:
    """What DALI is to do for a view. None: OpenCV is to do it."""
    jpeg = open_jpeg(view.path)
    if jpeg is None:
        return None
    width, height = jpeg.image.size
    x, y, w, h = view.box(height, width)
    inside = x >= 0 and y >= 0 and x + w <= width and y + h <= height
    return Cut(np.frombuffer(jpeg.data, np.uint8), (y, x), (h, w)) if inside else None


def _build(gpu: Optional[int], most: int) -> Pipeline:
    """A pipeline from JPEGs and boxes to resized boxes, for up to `most` images a batch.

    gpu: the number of the GPU that decodes. None: the CPU does.
    """
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=most, num_threads=1, device_id=gpu,
                  prefetch_queue_depth=1, exec_async=False, exec_pipelined=False)
    def graph():  # DALI's own nodes, which say nothing of their types
        jpegs = fn.external_source(name="jpegs", dtype=types.UINT8, ndim=1)
        starts = fn.external_source(name="starts", dtype=types.INT32, ndim=1)
        shapes = fn.external_source(name="shapes", dtype=types.INT32, ndim=1)
        sizes = fn.external_source(name="sizes", dtype=types.FLOAT, ndim=1)
        images = fn.decoders.image_slice(
            jpegs, start=starts, shape=shapes, axes=(0, 1), output_type=types.RGB,
            device="cpu" if gpu is None else "mixed", adjust_orientation=False)
        return fn.resize(images, size=sizes, interp_type=types.INTERP_LINEAR, antialias=True)

    pipeline: Pipeline = graph()
    pipeline.build()
    return pipeline
