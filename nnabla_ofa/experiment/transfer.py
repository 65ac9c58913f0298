"""Transfer to other classes: what a network is asked for when the data have other classes than its own."""

from __future__ import annotations

from pathlib import Path
from typing import List

from ..data.class_names import numbers, same_name, same_names
from ..errors import OfaError
from ..model import AnyNetwork
from ..model.heads import N, with_new_head
from .lab import Lab


def same_classes(net: AnyNetwork, lab: Lab) -> bool:
    """Whether a network's scores are those of the data's classes, in their order."""
    return net.config.classes == len(lab.classes) and same_names(learned(net, lab), lab.classes)


def learned(net: AnyNetwork, lab: Lab) -> List[str]:
    """The classes of a network by name.

    Where its file names none, as PyTorch's, they are those of the data if it has as many, else unknown: none.
    """
    unnamed = lab.classes if net.config.classes == len(lab.classes) else ()
    return list(net.info.get("classes", unnamed))


def require_normalisation(net: AnyNetwork, lab: Lab, what: str) -> None:
    """OfaError if a network was trained on images that were normalised otherwise than the data will be."""
    augment = lab.recipe.data.augment
    for key in ("mean", "std"):
        if tuple(net.info.get(key, getattr(augment, key))) != getattr(augment, key):
            raise OfaError(f"{what} takes images of another normalisation: set data.augment.{key}="
                           f"{net.info[key]}, as it was trained with")


def known(net: AnyNetwork, lab: Lab) -> int:
    """How many of the data's classes a network knows by name."""
    own = numbers(learned(net, lab))
    return sum(same_name(name) in own for name in lab.classes)


def adapted(net: N, lab: Lab, path: Path, new_head: bool, needs_known: bool = False) -> N:
    """A network for the classes of the data: with a new classifier where its own are others.

    Args:
        net: A network.
        lab: The data.
        path: The network's file, which errors name.
        new_head: Whether it may have a new classifier.
        needs_known: Whether that serves only where it knows all classes by their names.

    Raises:
        OfaError: The classes are others, and `new_head` is not set; or it knows too few of them; or images
            are normalised otherwise than those that another program trained it on.
    """
    if "recipe" not in net.info:  # another program's: nothing else says how its images were made
        require_normalisation(net, lab, str(path))
    if same_classes(net, lab):
        return net
    source, classes = lab.recipe.data.source, list(lab.classes)
    own = learned(net, lab)
    if not new_head:
        raise OfaError(
            f"{path} has {net.config.classes} classes ({', '.join(own[:3]) or 'without names'}, ...), "
            f"{source} has {len(classes)} ({', '.join(classes[:3])}, ...): name the data it was trained "
            "on with --data, or give it a new classifier with --new-head")
    if needs_known and known(net, lab) < len(classes):
        raise OfaError(f"{path} knows {known(net, lab)} of the {len(classes)} classes of {source}, and an "
                       "untrained score tells nothing about a subnet: train a stage on these data first "
                       "(train --only --start FILE --new-head)")
    head = with_new_head(net, own, classes, lab.seed)
    head.info = {**head.info, **lab.info()}
    return head
