"""Channels sorted by importance. Pure functions of {parameter name: array} and of layers."""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple, cast

import numpy as np

from ..layers import Arrays, Layer, Part, parameters


class Group(NamedTuple):
    """Elastic channels: the layers that give them, take them, pass them on, and the widths subnets use."""

    producers: List[Part]
    consumers: List[Part]
    carriers: List[Part]
    segments: Tuple[int, ...]


def sorted_arrays(arrays: Mapping[str, np.ndarray], layers: Sequence[Layer], keep_order: bool = True
                  ) -> Arrays:
    """The same network with the elastic channels in order of importance.

    Importance of a channel is the L1 norm of the weights that consume it (Cai et al., ICLR 2020,
    section 3.3). A middle layer of Xception that also ends its block at a smaller depth keeps in
    `order` where each output row went, so that every arch of full width computes what it did.
    Channels move only within the segments between the widths that subnets already use, so trained
    narrower subnets are unchanged, too.

    Args:
        arrays: The stored weights by name.
        layers: Those of the space's largest subnet.
        keep_order: False leaves `order` as it was, which moves the logits of shallower subnets:
            what peers do, for comparison.
    """
    result = dict(arrays)
    for group in groups(layers):
        importance = cast(np.ndarray, sum(layer.importance(result) for layer in group.consumers))
        bounds = (0, *group.segments)
        order = np.concatenate([start + np.argsort(-importance[start:stop], kind="stable")
                                for start, stop in zip(bounds, bounds[1:])])
        for layer in group.producers:
            layer.permute_outputs(result, order)
        for layer in group.consumers:
            layer.permute_inputs(result, order)
        for layer in group.carriers:
            layer.permute_carried(result, order)
    for part in (part for layer in layers for part in layer.parts()):
        part.sort_units(result)
    if not keep_order:
        orders = (name for layer in layers for name, p in parameters(layer).items() if p.role == "order")
        result.update((name, arrays[name]) for name in orders)
    return result


def groups(layers: Sequence[Layer]) -> List[Group]:
    """What sorting may permute: the channels that have a name."""
    used = [part for layer in layers for part in layer.parts()]
    stored = used + [part for layer in layers for part in layer.stored_parts() if part not in used]
    found = []
    for name in dict.fromkeys(part.writes for part in stored if part.writes):
        producers = [part for part in stored if part.writes == name]
        widths = {width for part in producers for width in part.segments}
        found.append(Group(producers, [part for part in stored if part.reads == name],
                           [part for part in stored if part.carries == name], tuple(sorted(widths))))
    return found


def segments(layers: Sequence[Layer]) -> Dict[str, Tuple[int, ...]]:
    """The output widths that the space's subnets use, ascending, of each layer elastic in it."""
    return {part.name: part.segments for layer in layers for part in layer.parts() if part.segments}
