"""Every network by its name: elastic families, and the fixed ones of the zoo.

    config.arch(text), config.space(name)   an `Arch`, a `Space` of their text
    config.classes, bn_eps, bn_decay        what all configurations have

An elastic family gives layers for any space and arch. A fixed network is a function of the zoo.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from inspect import signature
from typing import Any, ClassVar, Dict, Mapping, Optional, Protocol, Tuple, Type, Union, runtime_checkable

import nnabla as nn

from ..errors import OfaError, require
from ..layers import Layer, Mode
from ..layers.functional import sides
from .arch import Arch, Space, Text
from .elastic.mobilenetv3 import MobileNetV3
from .elastic.proxylessnas import ProxylessNAS
from .elastic.resnet20 import ResNet20
from .elastic.resnet50 import OfaResNet50
from .elastic.xception import Xception
from .zoo import ZOO, Entry


class Config(Protocol):
    """What fixes a network besides its search space: a frozen dataclass of plain values."""

    __dataclass_fields__: ClassVar[Dict[str, Any]]

    @property
    def family(self) -> str:
        """The name in the registry."""

    @property
    def classes(self) -> int:
        """How many scores a network gives."""

    @property
    def bn_eps(self) -> float:
        """What every BN adds to the variance."""

    @property
    def bn_decay(self) -> float:
        """Of every BN's running statistics, in [0, 1)."""

    def arch(self, text: Text) -> Arch:
        """The subnet of this text. Raises OfaError."""

    def space(self, name: str) -> Space:
        """The space of this name, or of one subnet's. Raises OfaError."""


@runtime_checkable
class ElasticConfig(Config, Protocol):
    """The configuration of an elastic family."""

    def layers(self, space: Space, arch: Arch) -> Tuple[Layer, ...]:
        """Every layer of `arch` as it reads the weights that are stored for `space`."""

    def deciding_blocks(self) -> Tuple[Tuple[int, ...], ...]:
        """For each of `layers` the places of the blocks that it depends on."""


ELASTIC: Dict[str, Type[ElasticConfig]] = {"xception": Xception, "resnet20": ResNet20,
                                            "mobilenetv3": MobileNetV3, "proxylessnas": ProxylessNAS,
                                            "ofa_resnet50": OfaResNet50}
DEFAULT = "xception"  # the family of settings that name none


@dataclass(frozen=True)
class Fixed:
    """A network of the zoo: one arch, of the network's name.

    family: one of ZOO. classes: how many scores. bn_eps, bn_decay: of every BN. dropout: before the
    classifier, drop_path: of the residual branches, rates in [0, 1); None: as the network's original.
    """

    family: str
    classes: int = 10
    bn_eps: float = 1e-5
    bn_decay: float = 0.9
    dropout: Optional[float] = None
    drop_path: Optional[float] = None

    def __post_init__(self) -> None:
        if self.family not in ZOO:
            raise unknown(self.family)
        require(self, "net", {
            "classes": (self.classes >= 1, "1 or more"),
            "bn_eps": (self.bn_eps > 0, "positive"),
            "bn_decay": (0 <= self.bn_decay < 1, "in [0, 1)"),
            "dropout": (self.dropout is None or 0 <= self.dropout < 1, "in [0, 1)"),
            "drop_path": (self.drop_path is None or 0 <= self.drop_path < 1, "in [0, 1)")})
        for name in self._given():
            if name not in signature(self.entry.build).parameters:
                raise OfaError(f"net.{name} is not possible: {self.family} has no {name.replace('_', ' ')}")

    @property
    def entry(self) -> Entry:
        """The network's row."""
        return ZOO[self.family]

    def _given(self) -> Dict[str, float]:
        """The settings that replace those of the original."""
        return {name: value for name, value in (("dropout", self.dropout), ("drop_path", self.drop_path))
                if value is not None}

    def arch(self, text: Text) -> Arch:
        """The network itself, by its name. Raises OfaError for any other text."""
        if str(text).strip() != self.family:
            raise OfaError(f"subnet {text!r}: {self.family} is a fixed network, it has no subnet but "
                           f"{self.family!r}")
        return Arch((), self.family)

    def space(self, name: str) -> Space:
        """The space that holds the network alone, by the same name. Raises OfaError for any other."""
        return Space.of(self.arch(name))

    def forward(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """Logits (N, classes) of images in the trunk's layout. Raises OfaError for a size it cannot take."""
        self.entry.require_size(self.family, *sides(x, mode))
        return self.entry.build(x, self.classes, mode, **self._given())




def config_class(name: str) -> Union[Type[ElasticConfig], Type[Fixed]]:
    """The configuration class of a family or network; OfaError names those there are."""
    if name not in (*ELASTIC, *ZOO):  # in a tuple, so that anything may be asked for
        raise unknown(name)
    return Fixed if name in ZOO else ELASTIC[name]


def unknown(name: str) -> OfaError:
    """The error for a name that is no family and no network; it names the nearest ones."""
    every = (*ELASTIC, *ZOO)
    longer = [own for own in sorted(ZOO) if str(name) and str(name) in own]
    close = [*longer, *difflib.get_close_matches(str(name), every, 3, 0.5)]
    near = f"; nearest are {', '.join(dict.fromkeys(close[:3]))}" if close else ""
    return OfaError(f"net.family={name!r} is not one of {', '.join(sorted(ELASTIC))}, and not in the "
                    f"zoo{near} (runners/zoo.py lists it)")


def net_config(settings: Mapping[str, Any]) -> Config:
    """The configuration of plain values, as `dataclasses.asdict` gives them."""
    return config_class(settings["family"])(**settings)
