"""Depthwise kernels of several sizes in one stored array.

A smaller kernel is the centre of the next larger one times a learned matrix, which all channels of the
layer share (Cai et al., ICLR 2020, section 3.3).
"""

from __future__ import annotations

from typing import Callable, Dict, Mapping, Tuple

import nnabla as nn
import nnabla.functions as F
import numpy as np

from .base import Parameter

Kernels = Tuple[int, ...]  # sizes, ascending


def kernel_parameters(name: str, width: int, kernels: Kernels) -> Dict[str, Parameter]:
    """The stored arrays of layer `name`: the largest kernel, and a matrix for each step down."""
    largest = kernels[-1]
    found = {f"{name}/depthwise/W": Parameter((width, 1, largest, largest), "he", decay=True)}
    for large, small in shrinks(kernels, kernels[0]):
        found[f"{name}/depthwise/{large}to{small}"] = Parameter((small ** 2, small ** 2), "identity")
    return found


def active_kernel(variable: Callable[[str], nn.Variable], width: int, full: int, kernels: Kernels, kernel: int
                  ) -> nn.Variable:
    """The graph of a kernel in use, (width, 1, kernel, kernel).

    Args:
        variable: Gives the layer's variables by key.
        width, full: Active and stored channels.
        kernels, kernel: Stored sizes, and the one in use.
    """
    weight = variable("depthwise/W")
    if width < full:
        weight = weight[:width]
    for large, small in shrinks(kernels, kernel):
        edge = (large - small) // 2
        centre = F.reshape(weight[:, :, edge:edge + small, edge:edge + small], (width, small ** 2))
        weight = F.reshape(F.affine(centre, variable(f"depthwise/{large}to{small}")),
                           (width, 1, small, small))
    return weight


def sliced_kernel(arrays: Mapping[str, np.ndarray], name: str, width: int, kernels: Kernels, kernel: int
                  ) -> np.ndarray:
    """The same of stored arrays: the weights of a stand-alone layer, matrices multiplied in."""
    weight = arrays[f"{name}/depthwise/W"][:width]
    for large, small in shrinks(kernels, kernel):
        edge = (large - small) // 2
        centre = weight[:, :, edge:edge + small, edge:edge + small].reshape(width, small ** 2)
        weight = (centre @ arrays[f"{name}/depthwise/{large}to{small}"]).reshape(width, 1, small, small)
    return weight


def shrinks(kernels: Kernels, kernel: int) -> Tuple[Tuple[int, int], ...]:
    """The steps (large, small) from the largest stored kernel down to `kernel`."""
    descending = [k for k in reversed(kernels) if k >= kernel]
    return tuple(zip(descending, descending[1:]))
