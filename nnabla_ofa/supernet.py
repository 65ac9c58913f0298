"""A network and its weights: create, load, save, compute logits, sort channels, extract a subnet.

`Network` is a configuration, a search space and a parameter scope of its own; nothing of it is
global. A supernet and a stand-alone subnet are the same thing over different spaces.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

import nnabla as nn
import numpy as np

from . import ops
from .arch import Arch, Space
from .errors import OfaError
from .nets import NetConfig
from .ops import Cost, Layer, Mode
from .weights import Arrays, active_rows, check_names, flat, slice_arrays, sorted_arrays


@dataclass
class Network:
    """Weights of `space` under one configuration.

    scope: parameter name -> nn.Variable (as `nn.parameter_scope` uses it).
    info: what a file should carry besides weights: class names, normalisation, image size, stage.
    kernels: "fast" (fused CPU functions), "nnabla" (its own functions) or "auto" (fast where it can).
    """

    config: NetConfig
    space: Space
    scope: "OrderedDict" = field(default_factory=OrderedDict)
    info: dict = field(default_factory=dict)
    kernels: str = "auto"

    @classmethod
    def create(cls, config: NetConfig, space: Union[Space, str], seed: int = 0) -> "Network":
        """A network with new weights; the same (config, space, seed) gives the same values."""
        net = cls(config, config.space(space) if isinstance(space, str) else space)
        net.set_arrays({
            name: ops.initial_value(p, np.random.default_rng([seed, zlib.crc32(name.encode())]))
            for name, p in net.declared().items()})
        return net

    # What it is made of -------------------------------------------------------------------

    def arch(self, arch: Union[Arch, str, None]) -> Arch:
        """`arch` as a value of this space: text is parsed, None is the largest one."""
        if arch is None:
            return self.space.largest()
        if isinstance(arch, str):
            arch = self.config.arch(arch)
        return self.space.check(arch)

    def layers(self, arch: Union[Arch, str, None] = None) -> Tuple[Layer, ...]:
        """The layers of `arch` over this network's stored weights."""
        return self.config.layers(self.space, self.arch(arch))

    def declared(self) -> Dict[str, ops.Parameter]:
        """Every array that this network stores, by name."""
        return {name: p for layer in self.layers() for name, p in ops.parameters(layer).items()}

    def arrays(self) -> Arrays:
        """Copies of all stored arrays, float32, by name, in the order of `declared`."""
        return {name: np.array(self.scope_items()[name].d, np.float32) for name in self.declared()}

    def scope_items(self) -> Dict[str, nn.Variable]:
        """The variables of all stored arrays by full name."""
        with nn.parameter_scope("", self.scope):
            return nn.get_parameters(grad_only=False)

    def set_arrays(self, arrays: Mapping[str, np.ndarray], source: str = "weights") -> None:
        """Take `arrays` as all weights; OfaError names what is missing, unknown or misshapen."""
        declared = self.declared()
        check_names(declared, arrays, source)
        with nn.parameter_scope("", self.scope):
            current = nn.get_parameters(grad_only=False)
            for name, p in declared.items():
                if name in current:
                    current[name].d = arrays[name]
                else:
                    value = nn.Variable.from_numpy_array(np.array(arrays[name], np.float32))
                    value.need_grad = p.trained
                    nn.parameter.set_parameter(name, value)

    # What it computes ---------------------------------------------------------------------

    def mode(self, batch_stat: bool, track: bool = False) -> Mode:
        """A graph mode with this network's BN settings and choice of kernels."""
        fast = ops.fast_by_default() if self.kernels == "auto" else self.kernels == "fast"
        return Mode(batch_stat, track, fast, self.config.bn_eps, self.config.bn_decay)

    def build(self, x: nn.Variable, archs: Sequence[Arch], mode: Mode,
              statistics: Optional[ops.Statistics] = None,
              dropout_mask: Optional[nn.Variable] = None) -> List[nn.Variable]:
        """Logits (N, classes) of every arch on images `x` (N, 3, H, W).

        Archs share the graph of the layers that they have in common from the input on: the entry
        flow always, and every leading middle block that is the same in them.
        """
        nodes = {(): ops.images(x, mode)}
        outputs = []
        with nn.parameter_scope("", self.scope):
            for arch in archs:
                layers = self.layers(arch)
                for depth in range(1, len(layers) + 1):
                    if layers[:depth] not in nodes:
                        nodes[layers[:depth]] = ops.build(nodes[layers[:depth - 1]], layers[depth - 1],
                                                          mode, statistics, dropout_mask)
                outputs.append(nodes[layers])
        return outputs

    def logits(self, images: np.ndarray, arch: Union[Arch, str, None] = None) -> np.ndarray:
        """Logits (N, classes) in eval mode; no statistics are touched.

        images: (N, 3, H, W), float32 already normalised, or uint8 that is normalised as in training.
        """
        x = nn.Variable.from_numpy_array(self._normalised(images))
        y, = self.build(x, [self.arch(arch)], self.mode(batch_stat=False))
        y.forward(clear_buffer=True)
        return y.d.copy()

    def _normalised(self, images: np.ndarray) -> np.ndarray:
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[1] != 3:
            raise OfaError(f"images of shape {images.shape} are not (N, 3, H, W)")
        if images.dtype != np.uint8:
            return images.astype(np.float32)
        if "mean" not in self.info:
            raise OfaError("uint8 images need the normalisation of the training data, which this "
                           "file does not carry: pass normalised float32 images")
        mean, std = (np.array(self.info[key], np.float32).reshape(1, 3, 1, 1) for key in ("mean", "std"))
        return (images.astype(np.float32) / 255 - mean) / std

    def cost(self, arch: Union[Arch, str, None] = None, image_size: int = 224) -> Cost:
        """Cost of the stand-alone subnet on one image of `image_size` pixels a side."""
        arch = self.arch(arch)
        return network_cost(self.config.layers(Space.of(arch), arch), image_size)

    # What is made from it -----------------------------------------------------------------

    def extract(self, arch: Union[Arch, str, None] = None) -> "Network":
        """The stand-alone subnet: just the parameters it needs, kernel matrices folded in."""
        arch = self.arch(arch).canonical()
        subnet = Network(self.config, Space.of(arch), info=dict(self.info, subnet=str(arch)),
                         kernels=self.kernels)
        subnet.set_arrays(slice_arrays(self.arrays(), self.layers(arch)))
        return subnet

    def calibrate(self, images: np.ndarray, arch: Union[Arch, str, None] = None,
                  batch_size: int = 64) -> None:
        """Set the BN statistics that `arch` uses to those of `images` (as `logits` takes them).

        Best are training images, augmented as in training, in random order.
        """
        from .evaluate import calibrate  # that file is below this one in the reading order
        arch, images = self.arch(arch), self._normalised(images)
        subnet = self.extract(arch)
        starts = range(0, len(images), batch_size)
        calibrate(subnet, ((i, images[s:s + batch_size], None) for i, s in enumerate(starts)),
                  len(starts))
        self.adopt_statistics(subnet, arch)

    def adopt_statistics(self, subnet: "Network", arch: Arch) -> None:
        """Write a stand-alone subnet's BN statistics back to the channels that `arch` uses."""
        own, arrays, found = self.scope_items(), self.arrays(), subnet.arrays()
        for layer in flat(self.layers(arch.canonical())):
            for name in ops.parameters(layer):
                if ops.is_statistic(name):
                    own[name].d[:, active_rows(arrays, layer)] = found[name]

    def sort_channels(self) -> None:
        """Put the most important inner channels first; no arch's logits change (see `sorted_arrays`)."""
        self.set_arrays(sorted_arrays(self.arrays(), self.layers()))

    def widened(self, space: Union[Space, str], config: Optional[NetConfig] = None) -> "Network":
        """The same network over a larger space; what is new starts as in `create` (matrices: identity)."""
        space = self.config.space(space) if isinstance(space, str) else space
        wider = Network(config or self.config, space, info=dict(self.info), kernels=self.kernels)
        arrays, new = self.arrays(), np.random.default_rng(0)
        for name, p in wider.declared().items():
            if name not in arrays:
                arrays[name] = ops.initial_value(p, new)
        wider.set_arrays(arrays, source=f"weights of {self.space} for {space}")
        return wider

    def save(self, path) -> None:
        """Write one self-describing file: weights, configuration, space, info, versions."""
        from .checkpoint import save_network
        save_network(path, self)


def network_cost(layers: Sequence[Layer], image_size: int) -> Cost:
    """Total cost of a network's layers on one square image."""
    total, size = Cost(), image_size
    for layer in layers:
        part, size = ops.cost(layer, size)
        total += part
    return total

