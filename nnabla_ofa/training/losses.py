"""What a step minimises: cross-entropy with smoothed labels, and distillation.

Labels are classes, int (N,), or the soft targets of mixed images, float32 (N, classes), rows of sum 1.

Losses act on logits that are already computed, and leave their gradient in the logits' grad: the
network's backward starts there. So one forward and one backward serve all archs of a step.
"""

from __future__ import annotations

from typing import Optional, Sequence

import nnabla as nn
import nnabla.functions as F
import numpy as np

from ..data import one_hot
from .settings import Train


def soft_cross_entropy(logits: nn.Variable, target: nn.Variable) -> nn.Variable:
    """Mean over the batch of -sum(target * log softmax(logits)); both (N, classes)."""
    return F.mean(-F.sum(target * F.log_softmax(logits, axis=1), axis=1))


def smooth_targets(labels: np.ndarray, classes: int, smoothing: float, to: str = "all") -> np.ndarray:
    """Targets float32 (N, classes) that give `smoothing` of their weight away.

    Args:
        labels: As the head of this file says.
        classes: How many there are.
        smoothing: The weight, in [0, 1).
        to: "all": classes alike, the label too (Szegedy et al., CVPR 2016, section 7); "others": the
            classes - 1 that are not the label, which keeps 1 - smoothing. A mixed target is smoothed as
            the mixture of its labels.
    """
    targets = one_hot(labels, classes) if labels.ndim == 1 else labels
    kept = targets * np.float32(1 - smoothing)
    if to == "others":
        return kept + (1 - targets) * np.float32(smoothing / max(classes - 1, 1))
    return kept + np.float32(smoothing / classes)


def hits(logits: np.ndarray, labels: np.ndarray) -> float:
    """How many of the largest logits are at their labels; a mixed image counts by the weight that
    its target gives to the class (Zhang et al., mixup, ICLR 2018).
    """
    best = logits.argmax(axis=1)
    return float((best == labels).sum() if labels.ndim == 1
                 else labels[np.arange(len(labels)), best].sum())


def softmax(logits: np.ndarray) -> np.ndarray:
    """Class probabilities (N, classes) of float32 logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def loss_gradients(outputs: Sequence[nn.Variable], labels: np.ndarray, settings: Train, scale: float,
                   teacher_logits: Optional[np.ndarray]) -> float:
    """Loss of the computed logits; leaves `scale` times its gradient in each output's grad.

    Args:
        outputs: Logits (N, classes) of each arch of the step.
        labels: As the head of this file says.
        settings: Label smoothing, weight of distillation.
        scale: Factor of the gradients.
        teacher_logits: (N, classes) of a frozen network, None for no distillation.

    The loss of an arch is cross-entropy with smoothed labels, plus `distill` times the
    cross-entropy with the teacher's soft targets; archs count alike. With in-place distillation
    (Yu & Huang, ICCV 2019) the first arch is the only target of the others.
    """
    targets = smooth_targets(labels, outputs[0].shape[1], settings.label_smoothing,
                             settings.label_smoothing_to)
    soft = None if teacher_logits is None else softmax(teacher_logits)
    own = softmax(outputs[0].d) if settings.inplace_distill else None
    losses = []
    for i, output in enumerate(outputs):
        logits = output.get_unlinked_variable(need_grad=True)
        hard = own if own is not None and i > 0 else targets
        loss = soft_cross_entropy(logits, nn.Variable.from_numpy_array(hard))
        if soft is not None:
            loss = loss + settings.distill * soft_cross_entropy(
                logits, nn.Variable.from_numpy_array(soft))
        losses.append(loss / len(outputs))
    total = losses[0] if len(losses) == 1 else F.add_n(*losses)
    total.forward()
    for output in outputs:
        output.grad.zero()
    total.backward(scale)
    return float(total.d)
