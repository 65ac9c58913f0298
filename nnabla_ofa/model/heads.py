"""Transfer to other classes: the same network with a new classifier."""

from __future__ import annotations

from dataclasses import replace
from typing import Sequence, TypeVar

import numpy as np

from ..data.class_names import numbers, same_name
from ..layers import generator_of, initial_value
from .protocol import AnyNetwork

N = TypeVar("N", bound=AnyNetwork)


def with_new_head(net: N, learned: Sequence[str], classes: Sequence[str], seed: int) -> N:
    """A network for `classes`: what it knows of a class of the same name is kept, other scores are new.

    Args:
        net: Trained on the classes `learned`.
        learned, classes: Names of the scores, in their order.
        seed: Of the new values, which depend on it and on their array's name.
    """
    info = {**net.info, "classes": list(classes)}
    head = type(net)(replace(net.config, classes=len(classes)), net.space, info=info,  # type: ignore
                     kernels=net.kernels)
    arrays, old = net.arrays(), net.declared()
    known = numbers(learned)
    kept = [(new, known[same_name(name)]) for new, name in enumerate(classes) if same_name(name) in known]
    for name, parameter in head.declared().items():
        axis = old[name].scores
        if axis is None:
            continue
        values = initial_value(parameter, generator_of(name, seed))
        before = np.moveaxis(arrays[name], axis, 0)
        for new, place in kept:
            np.moveaxis(values, axis, 0)[new] = before[place]
        arrays[name] = values
    head.set_arrays(arrays)
    return head
