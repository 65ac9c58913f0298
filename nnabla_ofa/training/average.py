"""An exponential moving average of the weights, which generalises better than the last ones.

After update t, average <- d average + (1 - d) weights with d = min(decay, (1 + t) / (10 + t)): the average of
a short run is not dominated by its initial weights. So TensorFlow's ExponentialMovingAverage has it, with
which EfficientNet was trained. (Polyak & Juditsky, SIAM J. Control Optim. 1992.)
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Dict, Iterator, Mapping

import nnabla as nn
import numpy as np

from ..model import AnyNetwork
from .optimiser import single_precision


class Beside:
    """Arrays beside those of a network, which in the end are the result.

    Args:
        net: The network; its weights are the first ones.
        statistics: Whether the running statistics of BN are among them.

    Attributes:
        variables: The network's, by name.
        arrays: Those beside them.
        updates: How many were counted.
    """

    KEY, COUNT = "", ""  # of the arrays and of the number of updates in a checkpoint

    def __init__(self, net: AnyNetwork, statistics: bool = False):
        declared = net.declared()
        self.updates = 0
        self.variables = {name: v for name, v in net.variables().items()
                          if declared[name].trained or (statistics and declared[name].statistic)}
        self.arrays = {name: nn.NdArray.from_numpy_array(np.array(v.d, np.float32))
                       for name, v in self.variables.items()}

    def update(self, done: float) -> None:
        """Take in the weights as they are after an update; done: the share of the stage, in (0, 1]."""
        raise NotImplementedError

    def swap(self) -> None:
        """The network gets the arrays, and this keeps what the network had."""
        for name, variable in self.variables.items():
            kept = np.array(variable.d, np.float32)
            variable.d = self.arrays[name].data
            self.arrays[name].data[...] = kept

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the network has the arrays."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def state(self) -> Dict[str, np.ndarray]:
        """For a checkpoint."""
        return {**{f"{self.KEY}/{name}": array.data.copy() for name, array in self.arrays.items()},
                self.COUNT: np.array([self.updates], np.float32)}

    def set_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`; where there is none, the network's weights are the first ones."""
        self.updates = int(arrays.get(self.COUNT, [0])[0])
        for name, array in self.arrays.items():
            array.data[...] = arrays.get(f"{self.KEY}/{name}", self.variables[name].d)


class Average(Beside):
    """The average of all trained arrays of a network.

    It is one of whole networks: an update counts for all arrays, those that its archs did not touch, too.

    Args:
        net: Whose weights are averaged.
        decay: Largest weight of the average so far, in (0, 1).
        statistics: Whether the running statistics of BN are averaged, too.
    """

    KEY, COUNT = "average", "averaged_updates"

    def __init__(self, net: AnyNetwork, decay: float, statistics: bool = False):
        super().__init__(net, statistics)
        self.decay = decay

    def update(self, done: float = 1.0) -> None:
        """Take in the weights as they are now."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        with single_precision():
            for name, average in self.arrays.items():
                average.copy_from(decay * average + (1 - decay) * self.variables[name].data)
