"""SGD with momentum over the parameters that the drawn archs touch."""

from __future__ import annotations

from typing import Dict, Iterable, Mapping

import nnabla as nn
import nnabla.solvers as S
import numpy as np

from ..model import AnyNetwork
from .settings import Train


class Optimiser:
    """SGD with momentum, m <- momentum m + lr (g + decay w), w <- w - m; decay where the array declares it.

    A parameter that no arch of the step uses stays as it is, its momentum too. Of one that is used
    in part (narrower, smaller kernel), the rest has gradient zero: momentum and decay move it.
    """

    def __init__(self, net: AnyNetwork, settings: Train):
        self.settings = settings
        declared = net.declared()
        self.variables = {n: v for n, v in net.variables().items() if declared[n].trained}
        self._groups = {}
        for decays in (True, False):
            solver = S.Momentum(lr=0.0, momentum=settings.momentum)
            solver.set_parameters({n: v for n, v in self.variables.items()
                                   if declared[n].decay == decays})
            self._groups[decays] = solver

    def zero_grad(self) -> None:
        """Forget all gradients; untouched ones then stay marked as zero."""
        for solver in self._groups.values():
            solver.zero_grad()

    def touched(self) -> Dict[str, nn.Variable]:
        """The parameters that the drawn archs used: only these move."""
        return {n: v for n, v in self.variables.items() if not v.grad.zeroing}

    def finite(self) -> bool:
        """Whether every gradient is a number."""
        return not any(solver.check_inf_or_nan_grad() for solver in self._groups.values())

    def update(self, lr: float) -> None:
        """One step on the touched parameters."""
        if self.settings.clip_grad is not None:
            norm = gradient_norm(self.touched().values())
            if norm > self.settings.clip_grad:
                self.scale_gradients(self.settings.clip_grad / norm)
        for decays, solver in self._groups.items():
            solver.set_learning_rate(lr)
            if decays and self.settings.weight_decay:
                solver.weight_decay(self.settings.weight_decay)
            solver.update()

    def scale_gradients(self, factor: float) -> None:
        """Multiply all gradients, before `update`."""
        for solver in self._groups.values():
            solver.scale_grad(factor)

    def state(self) -> Dict[str, np.ndarray]:
        """Momentum of every parameter and how often each was updated, for a checkpoint."""
        found = {}
        for solver in self._groups.values():
            for name, state in solver.get_states().items():
                found[f"momentum/{name}"] = state.pstate["m"].d.copy()
                found[f"updates/{name}"] = np.array([state.t], np.float32)
        return found

    def set_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`."""
        for solver in self._groups.values():
            states = solver.get_states()
            for name, state in states.items():
                state.pstate["m"].d = arrays[f"momentum/{name}"]
                state.t = int(arrays[f"updates/{name}"][0])
            solver.set_states(states)


def gradient_norm(variables: Iterable[nn.Variable]) -> float:
    """L2 norm of all gradients together."""
    gradients = (np.asarray(v.g, np.float32) for v in variables)  # squares of halves would overflow
    return float(np.sqrt(sum(float(np.vdot(g, g)) for g in gradients)))
