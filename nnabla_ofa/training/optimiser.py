"""SGD, RMSProp or AdamW over the parameters that the drawn archs touch.

With g the gradient, d the weight decay (of the arrays that it is for, else 0) and r the learning rate:

    sgd      m <- momentum m + r (g + d w);  w <- w - m
             nesterov: w <- w - r (g + d w) - momentum m, as PyTorch has it where the rate stays the same
    rmsprop  s <- rms_decay s + (1 - rms_decay) (g + d w)^2, s = 1 at the start;
             m <- momentum m + r (g + d w) / sqrt(s + eps);  w <- w - m
    adamw    a <- b1 a + (1 - b1) g;  s <- b2 s + (1 - b2) g^2;  t <- t + 1;
             w <- w - r d w - r sqrt(1 - b2^t) / (1 - b1^t) a / (sqrt(s) + eps)

RMSProp is TensorFlow's, with which EfficientNet was trained (Tan & Le, arXiv 1905.11946, section 5). NNabla's
own has no momentum, and its RMSpropGraves subtracts the squared mean from s: neither is that one. AdamW
(Loshchilov & Hutter, ICLR 2019) is NNabla's. Its eps is the "epsilon hat" of Kingma & Ba (ICLR 2015, section
2): it is added before the correction of s by 1 - b2^t, not after it as NNabla's manual has it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Dict, Iterable, Iterator, Mapping

import nnabla as nn
import nnabla.solvers as S
import numpy as np

from ..errors import OfaError
from ..model import AnyNetwork
from ..model.initial import first_convolution
from .settings import Train

EPS = {"rmsprop": 1e-3, "adamw": 1e-8}
# What a solver keeps of each parameter: its name in NNabla, and that in checkpoints.
KEPT = {"m": "momentum", "mean": "mean", "var": "mean_square"}


class Optimiser:
    """What an update does to the weights; decay where the array declares it, or on all with decay_all.

    A parameter that no arch of the step uses stays as it is, its momentum too. Of one that is used
    in part (narrower, smaller kernel), the rest has gradient zero: momentum and decay move it. With
    only_head all parameters stay as they are but those with a value a class. With whitening the weights of
    the first convolution do.
    """

    def __init__(self, net: AnyNetwork, settings: Train):
        self.settings = settings
        declared, fixed = net.declared(), [first_convolution(net)] if settings.whitening else []
        self.variables = {n: v for n, v in net.variables().items() if declared[n].trained and n not in fixed
                          and (declared[n].scores is not None or not settings.only_head)}
        for name, variable in net.variables().items():  # no gradients of those that stay as they are
            variable.need_grad = name in self.variables
        self._groups = {}
        for decays in (True, False):
            solver = _solver(settings)
            solver.set_parameters({n: v for n, v in self.variables.items()
                                   if (declared[n].decay or settings.decay_all) == decays})
            self._groups[decays] = solver
        self._squares = {n: nn.NdArray.from_numpy_array(np.ones(v.shape, np.float32))
                         for n, v in self.variables.items()} if settings.optimiser == "rmsprop" else {}

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
        if self._squares:
            self._divide_by_root_mean_square()
        for solver in self._groups.values():
            solver.update()

    def _divide_by_root_mean_square(self) -> None:
        """The gradients as RMSProp gives them to momentum."""
        decay, eps = self.settings.rms_decay, self.settings.eps or EPS["rmsprop"]
        with single_precision():
            for name, variable in self.touched().items():
                square, gradient = self._squares[name], variable.grad
                square.copy_from(decay * square + (1 - decay) * (gradient * gradient))
                gradient.copy_from(gradient / (square + eps) ** 0.5)

    def scale_gradients(self, factor: float) -> None:
        """Multiply all gradients, before `update`."""
        for solver in self._groups.values():
            solver.scale_grad(factor)

    def state(self) -> Dict[str, np.ndarray]:
        """What is kept of every parameter and how often each was updated, for a checkpoint."""
        found = {f"mean_square/{name}": square.data.copy() for name, square in self._squares.items()}
        for solver in self._groups.values():
            for name, state in solver.get_states().items():
                for own, kept in state.pstate.items():
                    found[f"{KEPT[own]}/{name}"] = kept.d * self._sign
                found[f"updates/{name}"] = np.array([state.t], np.float32)
        return found

    def set_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`. Raises OfaError for that of another optimiser."""
        absent = [name for name in self.state() if name not in arrays]
        if absent:
            raise OfaError(f"the checkpoint has no {absent[0]}: it was not written with train.optimiser="
                           f"{self.settings.optimiser}; undo that change, or delete the stage's folder")
        for name, square in self._squares.items():
            square.data[...] = arrays[f"mean_square/{name}"]
        for solver in self._groups.values():
            states = solver.get_states()
            for name, state in states.items():
                for own, kept in state.pstate.items():
                    kept.d = arrays[f"{KEPT[own]}/{name}"] * self._sign
                state.t = int(arrays[f"updates/{name}"][0])
            solver.set_states(states)

    @property
    def _sign(self) -> int:
        """NNabla's Nesterov keeps the momentum of the others with a minus."""
        return -1 if self.settings.nesterov else 1


def _solver(settings: Train) -> Any:
    """NNabla's part of the work. AdamW decays by the rate over its first one, hence that is 1."""
    if settings.optimiser == "adamw":
        return S.AdamW(1.0, *settings.betas, eps=settings.eps or EPS["adamw"], wd=0.0)
    return (S.Nesterov if settings.nesterov else S.Momentum)(lr=0.0, momentum=settings.momentum)


@contextmanager
def single_precision() -> Iterator[None]:
    """What is computed within is not rounded to half precision, whatever the device of the run."""
    context = nn.get_current_context()
    backend = [name.replace(":half", ":float") for name in context.backend]
    with nn.context_scope(nn.Context(backend, context.array_class, context.device_id)):
        yield


def gradient_norm(variables: Iterable[nn.Variable]) -> float:
    """L2 norm of all gradients together."""
    gradients = (np.asarray(v.g, np.float32) for v in variables)  # squares of halves would overflow
    return float(np.sqrt(sum(float(np.vdot(g, g)) for g in gradients)))
