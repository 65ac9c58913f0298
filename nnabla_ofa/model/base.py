"""What elastic and fixed networks have in common: a parameter scope of their own, and its arrays."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, Generic, List, Mapping, Optional, Sequence, TypeVar

import nnabla as nn
import numpy as np

from ..errors import OfaError
from ..layers import Arrays, Mode, Noise, Parameter, fast_by_default, generator_of, initial_value
from ..nets import Arch, Config, Space
from ..system import aliases, container
from ..system.files import Location
from ..system.machine import versions
from .inputs import network_input, require_calibration
from .population import Population
from .protocol import Info, Subnet

C = TypeVar("C", bound=Config)


@dataclass
class Weights(Generic[C]):
    """A configuration, a search space, and the weights stored for it; nothing of it is global.

    scope: parameter name -> nn.Variable (as `nn.parameter_scope` uses it). The others: see
    `protocol.AnyNetwork`.
    """

    config: C
    space: Space
    scope: "OrderedDict[str, Any]" = field(default_factory=OrderedDict)
    info: Info = field(default_factory=dict)
    kernels: str = "auto"
    folded: bool = False

    # What each kind of network says of itself ----------------------------------------------

    def declared(self) -> Dict[str, Parameter]:
        """See `protocol.AnyNetwork`."""
        raise NotImplementedError

    def forward(self, x: nn.Variable, archs: Sequence[Arch], mode: Mode) -> List[nn.Variable]:
        """See `protocol.AnyNetwork`."""
        raise NotImplementedError

    def population(self, archs: Sequence[Arch]) -> Population:
        """See `protocol.AnyNetwork`."""
        raise NotImplementedError

    def adopt_statistics(self, statistics: Mapping[str, np.ndarray], arch: Arch) -> None:
        """See `protocol.AnyNetwork`."""
        raise NotImplementedError

    # Stored arrays ----------------------------------------------------------------------------

    def initialise(self, seed: int) -> None:
        """New weights; the same (config, space, seed) gives the same values."""
        self.set_arrays({name: initial_value(p, generator_of(name, seed))
                         for name, p in self.declared().items()})

    def variables(self) -> Dict[str, nn.Variable]:
        """See `protocol.AnyNetwork`."""
        with nn.parameter_scope("", self.scope):
            return nn.get_parameters(grad_only=False)

    def arrays(self) -> Arrays:
        """See `protocol.AnyNetwork`."""
        variables = self.variables()
        return {name: np.array(variables[name].d, np.float32) for name in self.declared()}

    def set_arrays(self, arrays: Mapping[str, np.ndarray], source: str = "weights") -> None:
        """See `protocol.AnyNetwork`."""
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

    # What it computes -------------------------------------------------------------------------

    def arch(self, arch: Subnet) -> Arch:
        """See `protocol.AnyNetwork`."""
        if arch is None:
            return self.space.largest()
        if isinstance(arch, (str, Mapping)):
            arch = self.config.arch(arch)
        if not isinstance(arch, Arch):
            raise OfaError(f"subnet {arch!r} is neither an Arch, nor the text or dict of one, nor None")
        return self.space.check(arch)

    def mode(self, batch_stat: bool, random: Optional[Noise] = None) -> Mode:
        """See `protocol.AnyNetwork`."""
        aliases.install()
        fast = fast_by_default() if self.kernels == "auto" else self.kernels == "fast"
        return Mode(batch_stat, fast=fast and not self.folded, bn_eps=self.config.bn_eps,
                    bn_decay=self.config.bn_decay, folded=self.folded, random=random)

    def logits(self, images: np.ndarray, arch: Subnet = None) -> np.ndarray:
        """Logits (N, classes) in eval mode; no statistics are touched.

        images: (N, 3, H, W), N from 0: floating-point numbers that are normalised already, or integers,
        pixels from 0 to 255, that are normalised as in training. Raises OfaError for any others.
        """
        arch, images = self.arch(arch), network_input(images, self.info)
        if not len(images):  # on which NNabla's functions divide by zero
            return np.zeros((0, self.config.classes), np.float32)
        y, = self.forward(nn.Variable.from_numpy_array(images), [arch], self.mode(batch_stat=False))
        y.forward(clear_buffer=True)
        return y.d.copy()

    def calibrate(self, images: np.ndarray, arch: Subnet = None, batch_size: int = 64) -> None:
        """Set the BN statistics that `arch` uses to those of `images` (as `logits` takes them).

        Best are training images, augmented as in training, in random order. Raises OfaError, and nothing
        is changed, without an image, and where images or their statistics are not finite.
        """
        arch, images = self.arch(arch).canonical(), network_input(images, self.info)
        require_calibration(images, batch_size)
        if self.folded:
            raise OfaError("BN is folded into the convolutions of this network, it has no BN statistics: "
                           "calibrate the one that it was made of")
        population = self.population([arch])
        starts = range(0, len(images), batch_size)
        population.calibrate(((i, images[s:s + batch_size], None) for i, s in enumerate(starts)), len(starts))
        statistics = population.statistics(0)
        if not all(np.isfinite(array).all() for array in statistics.values()):
            raise OfaError("BN statistics of these images are not finite: the images' values are too large, "
                           "or the weights are not finite")
        self.adopt_statistics(statistics, arch)
        height, width = images.shape[2:]
        self.info = {**self.info, "calibrated": {"subnet": str(arch),
                                                 "image_size": height if height == width else None}}

    # Files ------------------------------------------------------------------------------------

    def describe(self) -> Dict[str, Any]:
        """See `protocol.AnyNetwork`."""
        return {"net": asdict(self.config), "space": str(self.space), "info": self.info}

    def save(self, path: Location) -> None:
        """See `protocol.AnyNetwork`. Raises OfaError when the disk refuses."""
        trained = [name for name, p in self.declared().items() if p.trained]
        container.save(path, self.arrays(), {"kind": "network", "versions": versions(), **self.describe()},
                       trained)


def check_names(declared: Mapping[str, Parameter], arrays: Mapping[str, np.ndarray], source: str) -> None:
    """OfaError unless `arrays` holds exactly the declared names and shapes."""
    missing = [name for name in declared if name not in arrays]
    unknown = [name for name in arrays if name not in declared]
    shapes = [f"{name} {tuple(np.shape(arrays[name]))} instead of {p.shape}"
              for name, p in declared.items()
              if name in arrays and tuple(np.shape(arrays[name])) != p.shape]
    for what, names in (("lacks", missing), ("has unknown", unknown), ("has the wrong shape for", shapes)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise OfaError(f"{source} {what} {', '.join(names[:3])}{more}: the file belongs to "
                           "another network, search space or configuration")
