"""Network families, one file each: a frozen configuration that parses subnets and spaces and gives layers.

    config.arch(text), config.space(name)   an `Arch`, a `Space` of their text
    config.layers(space, arch)              the layers of `arch` over weights stored for `space`
    config.classes, dropout, bn_eps, bn_decay
"""

from __future__ import annotations

from typing import Dict, Mapping, Type, Union

from ..errors import OfaError
from .resnet20 import ResNet20
from .xception import Xception

NetConfig = Union[Xception, ResNet20]
FAMILIES: Dict[str, Type[NetConfig]] = {"xception": Xception, "resnet20": ResNet20}


def family(name: str) -> Type[NetConfig]:
    """The configuration class of a family; OfaError names the families there are."""
    if name not in FAMILIES:
        raise OfaError(f"net.family={name!r} is not one of {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name]


def net_config(settings: Mapping) -> NetConfig:
    """The configuration of plain values, as `dataclasses.asdict` gives them."""
    return family(settings["family"])(**settings)
