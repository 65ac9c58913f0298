"""Progressive shrinking: what a stage takes over from the one before (Cai et al., ICLR 2020, section 3.3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Callable, Dict

from ..errors import OfaError
from ..model import AnyNetwork, Frozen, Network, create, load_network
from ..model.sorting import segments
from ..training.settings import Stage
from .lab import Lab

WeightsOf = Callable[[Stage], Path]  # the file of a stage's result


def start_network(lab: Lab, stage: Stage, weights: WeightsOf) -> AnyNetwork:
    """The network that a stage begins with: new, or the start's, sorted and widened. Raises OfaError."""
    recipe, data = lab.recipe, lab.recipe.data
    info = {"classes": list(lab.classes), "mean": list(data.augment.mean),
            "std": list(data.augment.std), "image_sizes": list(data.image_sizes),
            "recipe": recipe.settings(), "stage": stage.name, "space": stage.space, "seed": lab.seed}
    if stage.start is None:
        config = replace(recipe.net, classes=len(lab.classes))
        net = create(config, stage.space, lab.seed)
    else:
        path = weights(recipe.stage(stage.start))
        if not path.exists():
            raise OfaError(f"stage {stage.name} starts from {path}, which is not there: run the "
                           f"same command without --only, or with --search-space {stage.start}")
        net = widened(load_network(path), stage, recipe.train.sorting)
    net.info = info
    return net


def widened(net: AnyNetwork, stage: Stage, sorting: str) -> Network:
    """A network over the stage's larger space; where narrower widths join, channels are sorted first."""
    if not isinstance(net, Network):
        raise OfaError(f"stage {stage.name}: {net.space} is a fixed network, no stage can start from it")
    space = net.config.space(stage.space)
    if sorting != "none" and segments(net.config.layers(space, space.largest())) != segments(net.layers()):
        net.sort_channels(keep_order=sorting == "exact")
    return net.widened(space)


def teachers_of(lab: Lab, stage: Stage, weights: WeightsOf, kernels: str) -> Dict[int, Frozen]:
    """Per image size the frozen full network, where the stage distils from it."""
    first = lab.recipe.chain(stage.space)[0]
    if first == stage or not lab.recipe.train.distill:
        return {}
    teacher = load_network(weights(first))
    teacher.kernels = kernels
    return {size: Frozen(lab.calibrated(teacher, None, size)) for size in lab.recipe.data.image_sizes}
