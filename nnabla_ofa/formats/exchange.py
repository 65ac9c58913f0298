"""What a file for other programs is: what it says of itself, and what each format has to be able to do."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Protocol, Tuple, TypedDict

import numpy as np

from ..model import AnyNetwork
from ..system.files import Location

INPUT, OUTPUT = "x", "y"                         # names in a graph
OPSETS = (13, 17)                                # of ONNX: for every runtime since 2020, for newer ones
Logits = Callable[[np.ndarray], np.ndarray]      # images (N, 3, H, W) float32 -> logits (N, classes)


class About(TypedDict):
    """What a file carries beside weights, JSON-able.

    arch: the subnet's name. net: its configuration, without what is as by default. classes: their names.
    image_size: pixels a side. mean, std: of the normalisation, RGB. valid_resize: short side of an
    image / side of the square that is cut out of it. bn_folded: whether BN is in the convolutions.
    batch_size: the only number of images at a time; None: any. opset: of ONNX. pixels: whether the graph
    takes uint8 and normalises itself. data_licence: of the images that the network learned from. input,
    output: in words. versions: of what wrote the file.
    """

    arch: str
    net: Dict[str, Any]
    classes: List[str]
    image_size: int
    mean: List[float]
    std: List[float]
    valid_resize: float
    bn_folded: bool
    batch_size: Optional[int]
    opset: int
    pixels: bool
    data_licence: str
    input: str
    output: str
    versions: Dict[str, str]


class Save(Protocol):
    """Writes a stand-alone network."""

    def __call__(self, net: AnyNetwork, path: Location, about: About, size: int, fold: bool = False,
                 batch_size: Optional[int] = None) -> None:
        """Write the file.

        Args:
            net: The network.
            path: The file.
            about: What it is to say of itself.
            size: Pixels a side of its images.
            fold: Put BN into the convolutions before it.
            batch_size: The only number of images at a time that the file is for; None: any.
        """


class Load(Protocol):
    """Reads a file as its users' programs do."""

    def __call__(self, path: Location, about: About) -> Logits:
        """What the file computes. about: what `Save` was given."""


class Usage(Protocol):
    """Says how to use a file."""

    def __call__(self, path: str, about: About) -> Tuple[str, str, str]:
        """Python statements: imports, what makes `net` and `classes` of a file, what makes `y` of `x`."""


class Format(NamedTuple):
    """A file format.

    suffix: of its files' names. graph: whether it has one; else weights alone. others: what else reads the
    file, of what is installed. batch_size: where nobody says; None: any number of images. notes: lines about
    the file that `save` has just written.
    """

    suffix: str
    save: Save
    load: Load
    usage: Optional[Usage]
    graph: bool = True
    others: Callable[[], Dict[str, Load]] = dict
    batch_size: Optional[int] = None
    notes: Callable[[Location, About], List[str]] = lambda path, about: []
