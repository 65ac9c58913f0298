"""The back ends by name. A back end decodes image files, crops them and resizes them.

    opencv    the default
    pillow    the operations of torchvision's transforms
    dali_cpu  NVIDIA DALI on the CPU   } need requirements-dali.txt
    dali_gpu  NVIDIA DALI on a GPU     }

All back ends crop the same box of an image. `opencv` and `pillow` also decode a JPEG to the same pixels.
What differs is the filter that makes the box smaller: for photographs resized to 96 pixels or more, the
mean of |difference| from `opencv` is below TOLERANCE (results/loader.md has the figures).
"""

from __future__ import annotations

from functools import lru_cache

from ..errors import OfaError
from .views import Backend

BACKENDS = ("opencv", "pillow", "dali_cpu", "dali_gpu")
TOLERANCE = 5  # levels of 255


@lru_cache(maxsize=None)
def open_backend(name: str) -> Backend:
    """The back end called `name`. A process makes each one once, and all its loaders share it.

    Raises:
        OfaError: there is no such back end, or what it needs is not installed.
    """
    if name == "opencv":
        from . import opencv
        return opencv.pixels
    if name == "pillow":
        from . import pillow
        return pillow.pixels
    if name in BACKENDS:
        from .dali import Dali
        return Dali(name[len("dali_"):])
    raise OfaError(f"data.backend: {name!r} is not one of {', '.join(BACKENDS)}")
