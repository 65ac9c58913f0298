"""The back ends by name: all give the same images, but for the rounding of their resizing.

opencv    the default
pillow    the operations of torchvision's transforms
dali_cpu  NVIDIA DALI on the CPU     } extras: requirements-dali.txt
dali_gpu  NVIDIA DALI on a GPU       }

A JPEG is decoded to the same pixels by `opencv` and `pillow`, the box of it is the same under all of
them; what differs is the filter that makes it smaller. Over photographs, at 96 pixels or more, the
mean of |difference| from `opencv` is below TOLERANCE (results/loader.md has the figures).
"""

from __future__ import annotations

from functools import lru_cache

from ..errors import OfaError
from .views import Backend

BACKENDS = ("opencv", "pillow", "dali_cpu", "dali_gpu")
TOLERANCE = 5  # of 255 levels


@lru_cache(maxsize=None)
def open_backend(name: str) -> Backend:
    """The back end of a name; OfaError if there is none, or if what it needs is not installed."""
    if name == "opencv":
        from .opencv import pixels
    elif name == "pillow":
        from .pillow import pixels
    elif name in BACKENDS:
        from .dali import Dali
        pixels = Dali(name[len("dali_"):])
    else:
        raise OfaError(f"data.backend: {name!r} is not one of {', '.join(BACKENDS)}")
    return pixels
