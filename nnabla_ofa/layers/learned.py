"""An array that is trained by itself, such as the positions of a transformer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Mapping, Tuple

import nnabla as nn
import nnabla.functions as F
import numpy as np

from .base import Arrays, Mode, Parameter, Single, parameters


@dataclass(frozen=True)
class Learned(Single):
    """One value for each channel of each pixel, the same for all images; without weight decay.

    Args:
        name: Of the layer; its array is `<name>/learned/W`.
        shape: (channels, height, width).
    """

    name: str
    shape: Tuple[int, int, int]

    def parameters(self) -> Dict[str, Parameter]:
        """See `base.Owner`."""
        return {f"{self.name}/learned/W": Parameter((1, *self.shape), "small")}

    def build(self, mode: Mode) -> nn.Variable:
        """The array as the trunk of one image."""
        value = self.variable("learned/W", mode)
        return F.transpose(value, (1, 2, 3, 0)) if mode.fast else value

    def fold(self, arrays: Mapping[str, np.ndarray], eps: float) -> Arrays:
        """It has no BN: its array as it is."""
        return {name: arrays[name] for name in parameters(self)}
