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


class Average:
    """The average of all trained arrays of a network, beside it.

    It is one of whole networks: an update counts for all arrays, those that its archs did not touch, too.

    Args:
        net: Whose weights are averaged; they are the first average.
        decay: Largest weight of the average so far, in (0, 1).
        statistics: Whether the running statistics of BN are averaged, too.
    """

    def __init__(self, net: AnyNetwork, decay: float, statistics: bool = False):
        declared = net.declared()
        self.decay = decay
        self.updates = 0
        self._variables = {name: v for name, v in net.variables().items()
                           if declared[name].trained or (statistics and declared[name].statistic)}
        self._averages = {name: nn.NdArray.from_numpy_array(np.array(v.d, np.float32))
                          for name, v in self._variables.items()}

    def update(self) -> None:
        """Take in the weights as they are now."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        with single_precision():
            for name, average in self._averages.items():
                average.copy_from(decay * average + (1 - decay) * self._variables[name].data)

    def swap(self) -> None:
        """The network gets the average, and this keeps what the network had."""
        for name, variable in self._variables.items():
            kept = np.array(variable.d, np.float32)
            variable.d = self._averages[name].data
            self._averages[name].data[...] = kept

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the network has the average."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def state(self) -> Dict[str, np.ndarray]:
        """For a checkpoint."""
        return {**{f"average/{name}": array.data.copy() for name, array in self._averages.items()},
                "averaged_updates": np.array([self.updates], np.float32)}

    def set_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`; where there is none, the network's weights begin a new average."""
        self.updates = int(arrays.get("averaged_updates", [0])[0])
        for name, average in self._averages.items():
            average.data[...] = arrays.get(f"average/{name}", self._variables[name].d)
