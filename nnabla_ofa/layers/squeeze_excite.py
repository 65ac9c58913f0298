"""Squeeze-and-excitation (Hu et al., CVPR 2018) as MobileNetV3 has it, elastic in its width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Dict, Mapping, Tuple

import nnabla as nn
import nnabla.functions as F
import numpy as np

from .. import kernels
from .activation import activate
from .base import Arrays, Cost, Index, Mode, Parameter, Single, counted, parameters
from .functional import global_mean, scale


@dataclass(frozen=True)
class SqueezeExcite(Single):
    """x times [mean over the image, 1x1 to `units`, ReLU, 1x1 back, hard sigmoid]; both with a bias.

    width, units: active channels, and active channels between the two convolutions. full_width,
    full_units: stored ones, 0 for the active ones. unit_segments: the units that subnets of the space
    use, ascending. carries: as of `base.Part`.
    """

    name: str
    width: int
    units: int
    full_width: int = 0
    full_units: int = 0
    unit_segments: Tuple[int, ...] = ()
    carries: str = ""

    reads: ClassVar[str] = ""
    writes: ClassVar[str] = ""
    segments: ClassVar[Tuple[int, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "full_width", self.full_width or self.width)
        object.__setattr__(self, "full_units", self.full_units or self.units)

    @property
    def w_in(self) -> int:
        """Its channels."""
        return self.width

    w_out = w_in

    def parameters(self) -> Dict[str, Parameter]:
        """See `base.Layer`."""
        width, units = self.full_width, self.full_units
        return {f"{self.name}/reduce/W": Parameter((units, width, 1, 1), "he", decay=True),
                f"{self.name}/reduce/b": Parameter((units,), "zeros"),
                f"{self.name}/expand/W": Parameter((width, units, 1, 1), "he", decay=True),
                f"{self.name}/expand/b": Parameter((width,), "zeros")}

    def build(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """(N, width, H, W) -> the same shape."""
        mean = global_mean(x, mode, keep=True)
        return scale(x, self._fast(mean, mode) if mode.fast else self._gates(mean, mode), mode)

    def _fast(self, y: nn.Variable, mode: Mode) -> nn.Variable:
        """Factors (width, 1, 1, N) of means."""
        reduce, expand = ([self.variable(f"{key}/{part}", mode) for part in "Wb"]
                          for key in ("reduce", "expand"))
        y = kernels.activation(kernels.convolution(y, *reduce, w_out=self.units), "relu")
        return kernels.activation(kernels.convolution(y, *expand, w_out=self.width), "hard_sigmoid")

    def _gates(self, y: nn.Variable, mode: Mode) -> nn.Variable:
        """Factors (N, width, 1, 1) of means."""
        y = F.relu(F.convolution(y, self._active(mode, "reduce/W", self.units, self.width),
                                 self._active(mode, "reduce/b", self.units)))
        y = F.convolution(y, self._active(mode, "expand/W", self.width, self.units),
                          self._active(mode, "expand/b", self.width))
        return activate(y, "hard_sigmoid")

    def _active(self, mode: Mode, key: str, *widths: int) -> nn.Variable:
        """The first channels of a stored array, in each of its axes; nothing is copied where all are."""
        stored = self.variable(key, mode)
        if stored.shape[:len(widths)] == widths:
            return stored
        return stored[tuple(slice(width) for width in widths)]

    def cost(self, side: int) -> Tuple[Cost, int]:
        """See `base.Layer`."""
        both = Cost(macs=2 * self.width * self.units, activations=self.width + self.units)
        return counted(self) + both, side

    # Weights as arrays --------------------------------------------------------------------------

    def slice(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """See `base.Part`."""
        reduce, expand = f"{self.name}/reduce", f"{self.name}/expand"
        return {f"{reduce}/W": arrays[f"{reduce}/W"][:self.units, :self.width],
                f"{reduce}/b": arrays[f"{reduce}/b"][:self.units],
                f"{expand}/W": arrays[f"{expand}/W"][:self.width, :self.units],
                f"{expand}/b": arrays[f"{expand}/b"][:self.width]}

    def fold(self, arrays: Mapping[str, np.ndarray], eps: float) -> Arrays:
        """It has no BN: its arrays as they are."""
        return {name: arrays[name] for name in parameters(self)}

    def active_rows(self, arrays: Mapping[str, np.ndarray]) -> Index:
        """See `base.Part`."""
        return slice(self.width)

    def importance(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the channels are worth is said by the layer after it."""
        raise NotImplementedError(f"{self.name} only scales channels")

    permute_inputs = permute_outputs = Single.permute_carried

    def permute_carried(self, arrays: Arrays, order: np.ndarray) -> None:
        """See `base.Part`."""
        order = np.concatenate([order, np.arange(len(order), self.full_width)])
        self._permute(arrays, {"reduce/W": 1, "expand/W": 0, "expand/b": 0}, order)

    def sort_units(self, arrays: Arrays) -> None:
        """Its units in order of the weights that read them, within the segments that subnets use.

        once-for-all sorts all units at once, which moves the logits of trained narrower subnets.
        """
        importance = np.abs(arrays[f"{self.name}/expand/W"]).sum(axis=(0, 2, 3))
        bounds = sorted({0, *self.unit_segments, self.full_units})
        order = np.concatenate([start + np.argsort(-importance[start:stop], kind="stable")
                                for start, stop in zip(bounds, bounds[1:])])
        self._permute(arrays, {"reduce/W": 0, "reduce/b": 0, "expand/W": 1}, order)

    def _permute(self, arrays: Arrays, axes: Mapping[str, int], order: np.ndarray) -> None:
        for key, axis in axes.items():
            name = f"{self.name}/{key}"
            arrays[name] = np.take(arrays[name], order, axis)
