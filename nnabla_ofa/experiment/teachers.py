"""A teacher from a file: any network that knows the classes of the data, as `train.teacher` names it."""

from __future__ import annotations

from typing import Dict

from ..data.class_names import numbers, same_name
from ..errors import OfaError
from ..evaluation import calibrate
from ..model import AnyNetwork, Frozen, load_network
from ..model.heads import with_new_head
from .lab import Lab
from .transfer import learned, require_normalisation, same_classes


def load_teacher(lab: Lab, path: str) -> AnyNetwork:
    """The network of a weights file, its scores those of the data's classes, in their order.

    Raises OfaError where it does not know all of them by name, or normalises images otherwise.
    """
    teacher: AnyNetwork = load_network(path)
    own = learned(teacher, lab)
    require_normalisation(teacher, lab, f"train.teacher={path}")
    places = numbers(own)
    missing = [name for name in lab.classes if same_name(name) not in places]
    if missing or len(own) != teacher.config.classes:
        raise OfaError(f"train.teacher={path} has {teacher.config.classes} classes and does not know all "
                       f"{len(lab.classes)} of {lab.recipe.data.source} by name ({', '.join(missing[:3])}): "
                       "name a network that was trained on them")
    return teacher if same_classes(teacher, lab) else with_new_head(teacher, own, lab.classes, lab.seed)


def frozen(lab: Lab, teacher: AnyNetwork, kernels: str) -> Dict[int, Frozen]:
    """The teacher's largest subnet by image size, calibrated at that size on the lab's images.

    kernels: "fast", "nnabla" or "auto".
    """
    found = {}
    for size in lab.recipe.data.image_sizes:
        alone = teacher.extract(None)
        alone.kernels = kernels
        calibrate(alone, lab.calibration.batches(size, lab.comm), lab.calibration.count(), lab.comm)
        found[size] = Frozen(alone)
    return found
