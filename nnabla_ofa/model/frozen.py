"""A network that does not train, as a function: it can teach, and be timed."""

from __future__ import annotations

from typing import Optional, Tuple

import nnabla as nn
import numpy as np

from .protocol import AnyNetwork


class Frozen:
    """A one-arch network in eval mode as a function; its graph is kept for batches of equal shape.

    Images (N, 3, H, W) float32 -> logits (N, classes), an array of their own. Nothing in the network
    changes.
    """

    def __init__(self, net: AnyNetwork):
        self._net = net
        self._graph: Optional[Tuple[nn.Variable, nn.Variable]] = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if self._graph is None or self._graph[0].shape != images.shape:
            x = nn.Variable(images.shape)
            y, = self._net.forward(x, [self._net.space.largest()], self._net.mode(batch_stat=False))
            self._graph = x, y
        x, y = self._graph
        x.d = images
        y.forward(clear_buffer=True)
        return y.d.copy()
