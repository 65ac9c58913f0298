"""What a new network may begin with in place of random values, of any family and of the zoo.

Which arrays these are is read from the graph of the largest subnet, so that no family has to say it.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

import nnabla as nn
import numpy as np

from ..errors import OfaError
from ..layers import Arrays
from ..nets import Fixed
from .protocol import AnyNetwork

EPS = 5e-4  # added to a variance before its root is divided by; images are normalised
SIDE = 64  # pixels of an image that every elastic network takes
DECIMALS = 4  # of whitening filters: what is computed alike on every machine


def zero_last_bn(net: AnyNetwork) -> Arrays:
    """Zeros for the scale of the last BN of every residual branch: a block begins as its shortcut.

    Goyal et al., Accurate, large minibatch SGD, 2017, section 5.1. A BN is the last one of a branch when it
    comes directly, or through a product, into a sum with a shorter branch.
    """
    graph = Graph(net)
    sums = [function for function in graph.functions if function.info.type_name == "Add2"]
    names = [graph.name(end.inputs[2]) for end in map(graph.end_of_branch, sums) if end is not None]
    return {name: np.zeros(net.declared()[name].shape, np.float32) for name in names if name}


def identity_convolutions(net: AnyNetwork) -> Arrays:
    """Convolutions larger than 1x1 whose first filters hand the input on; further filters stay as they are.

    Filter i is 1 at the centre of channel i, else 0 (Zagoruyko & Komodakis, DiracNets, 2017; Jordan, 94% on
    CIFAR-10 in 3.29 seconds, 2024, section 3.3). The network's first convolution, depthwise and grouped ones,
    and kernels that are computed from larger ones are left out.
    """
    graph, arrays, found = Graph(net), net.arrays(), {}
    for function in graph.convolutions()[1:]:
        name = graph.name(function.inputs[1])
        if name and function.info.args["group"] == 1 and arrays[name].shape[2] > 1:
            found[name] = with_identity(arrays[name])
    return found


def with_identity(weight: np.ndarray) -> np.ndarray:
    """(O, I, K, K) whose first min(O, I) filters are the identity of their channel."""
    weight = weight.copy()
    same = np.arange(min(weight.shape[:2]))
    weight[same] = 0
    weight[same, same, weight.shape[2] // 2, weight.shape[3] // 2] = 1
    return weight


def first_convolution(net: AnyNetwork) -> str:
    """The name of the weights of the convolution that sees the images. Raises OfaError if there is none."""
    graph = Graph(net)
    first = graph.convolutions()[:1]
    name = graph.name(first[0].inputs[1]) if first else None
    if name is None or net.declared()[name].shape[1] != 3:
        raise OfaError(f"train.whitening: {net.space} has no convolution that sees the images")
    return name


def whitened(weight: np.ndarray, images: np.ndarray, patch: int) -> np.ndarray:
    """First filters that make patches of images uncorrelated.

    Filters are the principal components of the patches, those of the largest variance first, divided by
    their standard deviation; each is followed by its negative, since a ReLU comes next. They are at the
    centre of the kernel, zeros around them. Filters beyond twice the number of components (3 patch^2) stay
    as they are. (Page, How to train your ResNet 8, 2019; Jordan, 94% on CIFAR-10 in 3.29 seconds, 2024,
    section 3.2.)

    Args:
        weight: (O, 3, K, K).
        images: Normalised training images (N, 3, H, W).
        patch: Pixels a side, 1 to K.

    Returns:
        An array like `weight`, rounded to DECIMALS so that it does not depend on the machine.

    Raises:
        OfaError: The kernel is smaller than the patch.
    """
    count, _, side, _ = weight.shape
    if patch > side:
        raise OfaError(f"train.whitening={patch}: the first convolution has a kernel of {side}x{side} alone")
    variances, components = principal_components(images, patch)
    half = min(len(components), count // 2)
    filters = components[:half] / np.sqrt(variances[:half, None, None, None] + EPS)
    pairs = np.stack([filters, -filters], axis=1).reshape(2 * half, 3, patch, patch)
    found, start = weight.copy(), (side - patch) // 2
    found[:2 * half] = 0
    found[:2 * half, :, start:start + patch, start:start + patch] = pairs
    return np.round(found, DECIMALS).astype(np.float32)


def principal_components(images: np.ndarray, patch: int) -> Tuple[np.ndarray, np.ndarray]:
    """Variances (M,), falling, and unit components (M, 3, patch, patch) of all patches, M = 3 patch^2.

    Of each component the value of largest size is positive.
    """
    height, width = (side - patch + 1 for side in images.shape[2:])
    pixels = [images[:, c, i:i + height, j:j + width].ravel().astype(np.float64)
              for c in range(3) for i in range(patch) for j in range(patch)]
    rows = np.stack(pixels, axis=1)
    variances, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    vectors = vectors.T[::-1]
    largest = vectors[np.arange(len(vectors)), np.abs(vectors).argmax(axis=1)]
    vectors = vectors * np.sign(largest)[:, None]
    return np.maximum(variances[::-1], 0), vectors.reshape(-1, 3, patch, patch)


class Graph:
    """The training graph of the largest subnet in NNabla's own functions; it is never computed.

    functions: in the order of their work.
    """

    def __init__(self, net: AnyNetwork):
        side = net.config.entry.image_size if isinstance(net.config, Fixed) else SIDE
        kernels, net.kernels = net.kernels, "nnabla"
        try:
            images, mode = nn.Variable((1, 3, side, side)), net.mode(batch_stat=True)
            output, = net.forward(images, [net.arch(None)], mode)
        finally:
            net.kernels = kernels
        self._names = {variable: name for name, variable in net.variables().items()}
        self.functions: List[Any] = []
        output.visit(self.functions.append)
        self._length: Dict[nn.Variable, int] = {}
        for function in self.functions:
            longest = max((self._length.get(x, 0) for x in function.inputs), default=0)
            self._length.update({y: longest + 1 for y in function.outputs})

    def convolutions(self) -> List[Any]:
        """The convolutions, the first one first."""
        return [function for function in self.functions if function.info.type_name == "Convolution"]

    def name(self, variable: nn.Variable) -> Optional[str]:
        """The stored array that a weight is, or is a part of; None: it is computed."""
        while variable not in self._names:
            parent = variable.parent
            if parent is None or parent.info.type_name not in ("Slice", "Gather"):
                return None
            variable = parent.inputs[0]
        return self._names[variable]

    def end_of_branch(self, addition: Any) -> Optional[Any]:
        """The BN function that ends the longer branch of a sum, None if none does or both are as long."""
        one, other = addition.inputs
        lengths = self._length.get(one, 0), self._length.get(other, 0)
        if lengths[0] == lengths[1]:
            return None
        function = (one if lengths[0] > lengths[1] else other).parent
        while function is not None and function.info.type_name in ("Mul2", "MulScalar"):
            function = function.inputs[0].parent
        return function if function is not None and function.info.type_name == "BatchNormalization" else None
