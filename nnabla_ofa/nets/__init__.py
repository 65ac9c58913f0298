"""Network families: one file each, a pure function from (config, space, arch) to layers."""

from __future__ import annotations

from typing import Callable, Dict

from ..errors import OfaError
from . import xception

FAMILIES: Dict[str, Callable] = {"xception": xception.layers}


def family(name: str) -> Callable:
    """`layers(config, space, arch)` of a family; OfaError names the families there are."""
    if name not in FAMILIES:
        raise OfaError(f"net.family={name!r} is not one of {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name]
