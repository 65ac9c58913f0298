"""NNabla's exchange format NNP: a zip of the graph, the parameters, and of ours a readable about.json.

The graph is plain NNabla, without the fused functions of `kernels/`, which other programs lack. It
has one input "x" (N, 3, H, W) and one output "y", the logits (N, classes).
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import zipfile
from collections import OrderedDict
from typing import Callable, Iterator, Mapping, Optional, Tuple

import nnabla as nn
import numpy as np

from ..model import AnyNetwork
from ..system.files import Location

NETWORK, INPUT, OUTPUT = "subnet", "x", "y"


def save(net: AnyNetwork, path: Location, about: Mapping, size: int, fold: bool = False,
         batch_size: Optional[int] = None) -> None:
    """Write a stand-alone network.

    Args:
        net: The network.
        path: The file.
        about: JSON-able values for about.json.
        size: Pixels a side of its images.
        fold: BN into the convolutions before it.
        batch_size: The only number of images at a time that the file is for; None: any.
    """
    from nnabla.utils import save as nnabla_save
    single = batch_size or 1
    copy = net.fold_bn() if fold else net.extract()
    copy.kernels = "nnabla"
    x = nn.Variable((single, 3, size, size))
    y, = copy.forward(x, [copy.space.largest()], copy.mode(batch_stat=False))
    network = {"name": NETWORK, "batch_size": single, "names": {INPUT: x}, "outputs": {OUTPUT: y}}
    executor = {"name": "runtime", "network": NETWORK, "data": [INPUT], "output": [OUTPUT]}
    with nn.parameter_scope("", copy.scope), silence():
        nnabla_save.save(str(path), {"networks": [network], "executors": [executor]},
                         variable_batch_size=batch_size is None)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("about.json", json.dumps(about, indent=1))


def load(path: Location, about: Optional[Mapping] = None) -> Callable[[np.ndarray], np.ndarray]:
    """The network of a file as NNabla's own loader reads it: images (N, 3, H, W) -> logits."""
    from nnabla.utils.nnp_graph import NnpLoader

    def logits(images: np.ndarray) -> np.ndarray:
        with nn.parameter_scope("", OrderedDict()):  # the loader adds its parameters to the current one
            net = loader.get_network(NETWORK, batch_size=len(images))
        net.inputs[INPUT].d = images
        net.outputs[OUTPUT].forward(clear_buffer=True)
        return net.outputs[OUTPUT].d

    with silence():
        loader = NnpLoader(str(path))
    return logits


def usage(path: str, about: Mapping) -> Tuple[str, str, str]:
    """See `export.Format`."""
    single = "" if about["batch_size"] else ", batch_size=1"
    return ("import zipfile; from nnabla.utils.nnp_graph import NnpLoader",
            f'net = NnpLoader({path!r}).get_network("{NETWORK}"{single}); '
            f'classes = json.loads(zipfile.ZipFile({path!r}).read("about.json"))["classes"]',
            f'net.inputs["{INPUT}"].d = x; net.outputs["{OUTPUT}"].forward(); y = net.outputs["{OUTPUT}"].d')


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """NNabla's tools report each step on stdout and in its log: only warnings remain."""
    logger = logging.getLogger("nnabla")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
