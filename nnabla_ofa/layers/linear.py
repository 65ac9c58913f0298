"""The classifier: global mean over the image, dropout, affine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Dict, Mapping, Tuple

import nnabla as nn
import nnabla.functions as F
import numpy as np

from .. import kernels
from .base import Arrays, Cost, Index, Mode, Parameter, Single, counted, parameters, rows


@dataclass(frozen=True)
class Linear(Single):
    """[mean over the image, dropout, affine to the class scores]; elastic in its input.

    full_in: stored width, 0 for the active one. reads: as of `base.Part`. dropout: rate in [0, 1),
    where the mode has noise.
    """

    name: str
    w_in: int
    classes: int
    full_in: int = 0
    reads: str = ""
    dropout: float = field(default=0.0, metadata={"unsized": True})

    writes: ClassVar[str] = ""
    segments: ClassVar[Tuple[int, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "full_in", self.full_in or self.w_in)

    @property
    def w_out(self) -> int:
        """Its outputs are the classes."""
        return self.classes

    def parameters(self) -> Dict[str, Parameter]:
        """See `base.Layer`."""
        weight = Parameter((self.full_in, self.classes), "he", decay=True, scores=1)
        return {f"{self.name}/affine/W": weight,
                f"{self.name}/affine/b": Parameter((self.classes,), "zeros", scores=0)}

    def build(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """Trunk (N, w_in, H, W) -> logits (N, classes)."""
        y = kernels.global_mean(x) if mode.fast else F.mean(x, axis=(2, 3))
        if mode.random is not None and self.dropout > 0:
            uniform = mode.random("dropout", (y.shape[0], self.full_in))
            factors = ((uniform >= self.dropout) / (1 - self.dropout)).astype(np.float32)
            y = y * rows(nn.Variable.from_numpy_array(factors), self.w_in, None, axis=1)
        weight, bias = self.variable("affine/W"), self.variable("affine/b")
        if mode.fast:
            return kernels.affine(y, weight, bias)
        return F.affine(y, rows(weight, self.w_in, None), bias)

    def cost(self, side: int) -> Tuple[Cost, int]:
        """See `base.Layer`."""
        return counted(self) + Cost(macs=self.w_in * self.classes, activations=self.classes), 1

    # Weights as arrays --------------------------------------------------------------------------

    def slice(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """See `base.Part`."""
        return {f"{self.name}/affine/W": arrays[f"{self.name}/affine/W"][:self.w_in],
                f"{self.name}/affine/b": arrays[f"{self.name}/affine/b"]}

    def fold(self, arrays: Mapping[str, np.ndarray], eps: float) -> Arrays:
        """It has no BN: its arrays as they are."""
        return {name: arrays[name] for name in parameters(self)}

    def active_rows(self, arrays: Mapping[str, np.ndarray]) -> Index:
        """See `base.Part`."""
        return slice(self.classes)

    def importance(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `base.Part`."""
        return np.abs(arrays[f"{self.name}/affine/W"]).sum(axis=1)

    def permute_inputs(self, arrays: Arrays, order: np.ndarray) -> None:
        """See `base.Part`."""
        arrays[f"{self.name}/affine/W"] = arrays[f"{self.name}/affine/W"][order]

    def permute_outputs(self, arrays: Arrays, order: np.ndarray) -> None:
        """Classes never move."""
        raise NotImplementedError("the order of the classes is fixed")
