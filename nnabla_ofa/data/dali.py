"""Back ends of NVIDIA DALI: JPEGs decoded, cut and resized on the CPU, or decoded on the GPU.

DALI computes no boxes and draws no numbers here: it is fed encoded files and boxes, so that an
epoch is the same images, in the same order, whichever back end decodes it. Other formats, JPEGs of
four inks and boxes beyond the border are left to OpenCV.
"""

from __future__ import annotations

import threading
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import nnabla as nn
import numpy as np

from ..errors import OfaError
from . import opencv
from .pillow import open_jpeg
from .views import View

PACKAGE = "nvidia-dali-cuda120"


class Cut(NamedTuple):
    """One JPEG for DALI: `start` (top, left) and `shape` (height, width) of its box in pixels."""

    data: np.ndarray
    start: Tuple[int, int]
    shape: Tuple[int, int]


class Dali:
    """The back end on "cpu" or "gpu"; OfaError if the package, or the GPU, is absent.

    A pipeline serves one thread at a time: each of the loader's threads builds its own at its first
    batch, and a larger one where a larger batch comes.
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
        self._gpu = int(nn.get_current_context().device_id) if device == "gpu" else None  # this rank's
        self._own = threading.local()

    def __call__(self, views: Sequence[View], size: int) -> List[np.ndarray]:
        """The views, each uint8 (size, size, 3), RGB; OfaError, naming the file, for a broken one."""
        cuts = {i: cut for i, cut in enumerate(map(_cut, views)) if cut}
        images: Dict[int, np.ndarray] = dict(zip(cuts, self._run(list(cuts.values()), views, size)))
        others = [i for i in range(len(views)) if i not in cuts]
        images.update(zip(others, opencv.pixels([views[i] for i in others], size)))
        return [images[i] for i in range(len(views))]

    def _run(self, cuts: List[Cut], views: Sequence[View], size: int) -> Sequence[np.ndarray]:
        if not cuts:
            return []
        if getattr(self._own, "most", 0) < len(cuts):
            self._own.pipeline, self._own.most = _pipeline(self._gpu, len(cuts)), len(cuts)
        pipeline = self._own.pipeline
        pipeline.feed_input("jpegs", [cut.data for cut in cuts])
        pipeline.feed_input("starts", [np.array(cut.start, np.int32) for cut in cuts])
        pipeline.feed_input("shapes", [np.array(cut.shape, np.int32) for cut in cuts])
        pipeline.feed_input("sizes", [np.array([size, size], np.float32)] * len(cuts))
        try:
            images, = pipeline.run()
        except RuntimeError as error:
            self._own.most = 0  # a pipeline does not outlive an error
            list(opencv.pixels(views, size))  # names the broken file
            raise OfaError(f"DALI cannot decode a batch that OpenCV can: {error}; choose "
                           "data.backend=opencv") from error
        images = images if self._gpu is None else images.as_cpu()
        return [np.array(images.at(i)) for i in range(len(cuts))]  # DALI reuses its memory


def _cut(view: View) -> Optional[Cut]:
    """What DALI is to do for a view; None where OpenCV is to do it."""
    jpeg = open_jpeg(view.path)
    if jpeg is None:
        return None
    width, height = jpeg.image.size
    x, y, w, h = view.box(height, width)
    inside = x >= 0 and y >= 0 and x + w <= width and y + h <= height
    return Cut(np.frombuffer(jpeg.data, np.uint8), (y, x), (h, w)) if inside else None


def _pipeline(gpu: Optional[int], most: int):
    """JPEGs and boxes in, resized boxes out, for up to `most` images a batch; gpu: its number."""
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=most, num_threads=1, device_id=gpu,
                  prefetch_queue_depth=1, exec_async=False, exec_pipelined=False)
    def look():
        jpegs = fn.external_source(name="jpegs", dtype=types.UINT8, ndim=1)
        starts = fn.external_source(name="starts", dtype=types.INT32, ndim=1)
        shapes = fn.external_source(name="shapes", dtype=types.INT32, ndim=1)
        sizes = fn.external_source(name="sizes", dtype=types.FLOAT, ndim=1)
        images = fn.decoders.image_slice(
            jpegs, start=starts, shape=shapes, axes=(0, 1), output_type=types.RGB,
            device="cpu" if gpu is None else "mixed", adjust_orientation=False)
        return fn.resize(images, size=sizes, interp_type=types.INTERP_LINEAR, antialias=True)

    pipeline = look()
    pipeline.build()
    return pipeline
