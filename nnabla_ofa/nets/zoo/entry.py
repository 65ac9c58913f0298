"""A row of the zoo: how a fixed network is built, and where else it exists under which names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable, Dict, Mapping, Tuple, Union

import nnabla as nn

from ...errors import OfaError

# (trunk, classes, mode) -> logits (N, classes); settings such as dropout as keywords
Function = Callable[..., nn.Variable]
Modules = Union[str, Tuple[str, str]]  # a PyTorch module, or that of a convolution and that of its BN
# A pattern of our layers' names, and from its groups (digits as int) the modules that hold their weights.
Rule = Tuple[str, Callable[..., Modules]]


@dataclass(frozen=True)
class Entry:
    """One fixed network.

    Args:
        build: The function (trunk, classes, mode) -> logits (N, classes).
        paper: Author, title or venue, year.
        sources: "<collection>/<name>" of every published implementation that computes the same, and the
            rules by which its state dict names our layers.
        image_size: Pixels a side of the images that it was made for.
        classes: Of the data that it was made for.
        least: The smallest image that it takes, in pixels.
        exact: Whether it takes images of `image_size` alone.
    """

    build: Function
    paper: str = ""
    sources: Mapping[str, Tuple[Rule, ...]] = None  # type: ignore[assignment]
    image_size: int = 32
    classes: int = 10
    least: int = 1
    exact: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", dict(self.sources or {}))

    def require_size(self, name: str, height: int, width: int) -> None:
        """OfaError unless the network `name` takes images of these sides."""
        if self.exact and (height, width) != (self.image_size, self.image_size):
            raise OfaError(f"{name} takes images of {self.image_size} x {self.image_size} pixels alone, not "
                           f"of {height} x {width}")
        if min(height, width) < self.least:
            raise OfaError(f"{name} takes images of {self.least} pixels a side or more, not of "
                           f"{height} x {width}")


def in_row(sequence: str, place: int = 0) -> Tuple[str, str]:
    """A convolution at a place of an nn.Sequential, and the BN that follows it there."""
    return f"{sequence}.{place}", f"{sequence}.{place + 1}"


def modules(layer: str, rules: Tuple[Rule, ...]) -> Tuple[str, str]:
    """The PyTorch modules of a layer's convolution (or affine) and of its BN, by the first rule that fits."""
    for pattern, named in rules:
        found = re.fullmatch(pattern, layer)
        if found:
            groups = [int(g) if g is not None and g.isdigit() else g for g in found.groups()]
            names = named(*groups)
            return (names, names) if isinstance(names, str) else names
    raise KeyError(f"no rule names the layer {layer}")


_KINDS = {"conv/W": (0, "weight"), "conv/b": (0, "bias"), "affine/W": (0, "weight"), "affine/b": (0, "bias"),
          "bn/gamma": (1, "weight"), "bn/beta": (1, "bias"), "bn/mean": (1, "running_mean"),
          "bn/var": (1, "running_var")}


def torch_keys(names: Tuple[str, ...], rules: Tuple[Rule, ...]) -> Dict[str, str]:
    """For each of our arrays the key of a PyTorch state dict that holds it."""
    found = {}
    for name in names:
        layer, *kind = name.rsplit("/", 2)
        place, suffix = _KINDS["/".join(kind)]
        found[name] = f"{modules(layer, rules)[place]}.{suffix}"
    return found
