"""One update of the weights: passes, the mean gradient over all ranks, loss scaling, the optimiser.

Half precision loses small gradients, so there the loss is multiplied by a power of two and the
gradients divided by it: exact but for overflow. A step whose gradients overflow is skipped and the
factor halved (Micikevicius et al., Mixed Precision Training, ICLR 2018, section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Callable, Iterator, Mapping, Optional, Sequence, Tuple

import nnabla as nn
import nnabla.functions as F
import numpy as np

from ..layers import Noise
from ..model import AnyNetwork
from ..nets import Arch
from ..system.comm import Communicator
from .losses import hits, loss_gradients
from .optimiser import Optimiser
from .settings import Train

Teacher = Callable[[np.ndarray], np.ndarray]  # images (N, 3, s, s) -> logits (N, classes)
Pass = Tuple[np.ndarray, np.ndarray, Optional[Noise]]  # images, labels or targets, noise of the network


@dataclass
class LossScale:
    """The factor of the loss, a power of two: doubled after `PATIENCE` good steps, halved by a bad one.

    good: steps since it last changed; skipped: bad steps so far.
    """

    value: float = 1024.0
    good: int = 0
    skipped: int = 0

    PATIENCE = 2000

    def __str__(self) -> str:
        return f", loss scale {self.value:g}, {self.skipped} steps skipped"

    def succeeded(self) -> None:
        """A step was taken."""
        self.good += 1
        if self.good == self.PATIENCE:
            self.value, self.good = 2 * self.value, 0

    def overflowed(self) -> None:
        """A step was skipped."""
        self.value, self.good, self.skipped = self.value / 2, 0, self.skipped + 1


def loss_scale(first: float) -> Optional[LossScale]:
    """A new loss scale where NNabla's context computes in half precision, else None; first: its value."""
    half = any(backend.endswith(":half") for backend in nn.get_current_context().backend)
    return LossScale(first) if half else None


@dataclass
class Stepper:
    """One update of the weights from this rank's passes; `scale` is None for no loss scaling."""

    net: AnyNetwork
    settings: Train
    optimiser: Optimiser
    comm: Communicator
    teachers: Mapping[int, Teacher] = field(default_factory=dict)
    scale: Optional[LossScale] = None

    def step(self, passes: Iterator[Pass], archs: Sequence[Arch], lr: float,
             accumulate: int) -> Optional[Tuple[float, float]]:
        """Mean loss and top-1 of all ranks' `accumulate` passes; None of a step that was skipped.

        Raises NotFinite, the weights untouched, where loss scaling is off or cannot help.
        """
        self.optimiser.zero_grad()
        own = np.mean([self._pass(*one, archs, accumulate, last=number == accumulate)
                       for number, one in enumerate(passes, 1)], axis=0)
        loss, top1, finite = self.comm.add(np.array([*own, self.optimiser.finite()])) / self.comm.size
        if finite < 1 or not np.isfinite(loss):
            if self.scale is None or self.scale.value <= 1:
                raise NotFinite(loss, self.optimiser.touched())
            self.scale.overflowed()
            return None
        if self.scale is not None:
            self.optimiser.scale_gradients(1 / self.scale.value)
            self.scale.succeeded()
        self.optimiser.update(lr)
        return float(loss), float(top1)

    def _pass(self, images: np.ndarray, labels: np.ndarray, noise: Optional[Noise], archs: Sequence[Arch],
              accumulate: int, last: bool) -> Tuple[float, float]:
        """Add one pass's gradients to those there are, after the last one averaged over the ranks."""
        x = nn.Variable.from_numpy_array(images)
        mode = replace(self.net.mode(batch_stat=True, random=noise), track=self.settings.running_statistics)
        outputs = self.net.forward(x, archs, mode)
        sink = F.sink(*outputs, one_input_grad=False)
        sink.forward(clear_no_need_grad=True)
        teacher = self.teachers.get(images.shape[-1])
        loss = loss_gradients(outputs, labels, self.settings,
                              (self.scale.value if self.scale else 1) / accumulate,
                              teacher(images) if teacher else None)
        top1 = float(np.mean([hits(y.d, labels) for y in outputs]) / len(labels))
        meanwhile = self.comm.average_meanwhile(sink, self.optimiser.variables.values()) if last else None
        sink.backward(clear_buffer=True, communicator_callbacks=meanwhile)
        if last and meanwhile is None:
            self.comm.average_gradients(list(self.optimiser.touched().values()))
        return loss, top1


class NotFinite(ArithmeticError):
    """Loss or gradients of a step are NaN or infinite; the weights are still those before it."""

    def __init__(self, loss: float, touched: Mapping[str, nn.Variable]):
        largest = {name: float(np.abs(v.g).max()) for name, v in touched.items()}
        finite = {name: value for name, value in largest.items() if np.isfinite(value)}
        name = max(finite, key=lambda name: finite[name], default="")
        bad = [name for name in largest if name not in finite]
        parts = [f"loss {loss:g}"]
        parts += [f"largest finite gradient {finite[name]:g} in {name}"] if finite else []
        parts += [f"gradient {largest[bad[0]]:g} in {bad[0]} and {len(bad) - 1} more of "
                  f"{len(largest)} parameters"] if bad else []
        super().__init__(", ".join(parts))
