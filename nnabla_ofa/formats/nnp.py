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
from typing import Dict, Iterator, Mapping, Optional, Tuple

import nnabla as nn
import numpy as np

from ..model import AnyNetwork
from ..system.files import Location
from .exchange import INPUT, OUTPUT, About, Logits

NETWORK = "subnet"  # the name of the graph


def save(net: AnyNetwork, path: Location, about: About, size: int, fold: bool = False,
         batch_size: Optional[int] = None, channels: int = 3) -> None:
    """See `exchange.Save`. channels: of the input, which for a part of a network is no image."""
    from nnabla.utils import save as nnabla_save
    single = batch_size or 1
    copy = net.fold_bn() if fold else net.extract()
    copy.kernels = "nnabla"
    x = nn.Variable((single, channels, size, size))
    y, = copy.forward(x, [copy.space.largest()], copy.mode(batch_stat=False))
    network = {"name": NETWORK, "batch_size": single, "names": {INPUT: x}, "outputs": {OUTPUT: y}}
    executor = {"name": "runtime", "network": NETWORK, "data": [INPUT], "output": [OUTPUT]}
    with parameters(copy.variables()), silence():
        nnabla_save.save(str(path), {"networks": [network], "executors": [executor]},
                         variable_batch_size=batch_size is None)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("about.json", json.dumps(about, indent=1))


def load(path: Location, about: Optional[About] = None) -> Logits:
    """See `exchange.Load`; NNabla's own loader reads the file."""
    from nnabla.utils.nnp_graph import NnpLoader

    def logits(images: np.ndarray) -> np.ndarray:
        with parameters({}):  # the loader adds its own to the current ones
            net = loader.get_network(NETWORK, batch_size=len(images))
        net.inputs[INPUT].d = images
        net.outputs[OUTPUT].forward(clear_buffer=True)
        return net.outputs[OUTPUT].d

    with silence():
        loader = NnpLoader(str(path))
    return logits


def usage(path: str, about: About) -> Tuple[str, str, str]:
    """See `exchange.Usage`."""
    single = "" if about["batch_size"] else ", batch_size=1"
    return ("import zipfile; from nnabla.utils.nnp_graph import NnpLoader",
            f'net = NnpLoader({path!r}).get_network("{NETWORK}"{single}); '
            f'classes = json.loads(zipfile.ZipFile({path!r}).read("about.json"))["classes"]',
            f'net.inputs["{INPUT}"].d = x; net.outputs["{OUTPUT}"].forward(); y = net.outputs["{OUTPUT}"].d')


@contextlib.contextmanager
def parameters(variables: Mapping[str, nn.Variable]) -> Iterator[None]:
    """A parameter scope of just these variables, where NNabla looks for a graph's."""
    scope: Dict[str, nn.Variable] = OrderedDict()
    with nn.parameter_scope("", scope):
        for name, variable in variables.items():
            nn.parameter.set_parameter(name, variable)
        yield


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
