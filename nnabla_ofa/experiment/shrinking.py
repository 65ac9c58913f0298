"""What a stage begins with; above all progressive shrinking (Cai et al., ICLR 2020, section 3.3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import OfaError
from ..model import AnyNetwork, Network, create
from ..model.initial import first_convolution, identity_convolutions, whitened, zero_last_bn
from ..model.sorting import segments
from ..nets import Fixed
from ..training.settings import Stage
from .lab import Lab

WHITENING_IMAGES = 2048  # that the filters of a whitened first convolution are made from


def new_network(lab: Lab, stage: Stage) -> AnyNetwork:
    """A network of new weights over the stage's space, with as many scores as the data has classes."""
    net = create(replace(lab.recipe.net, classes=len(lab.classes)), stage.space, lab.seed)
    begin(net, lab)
    return net


def begin(net: AnyNetwork, lab: Lab) -> None:
    """Give a network of new weights what the recipe has it begin with in place of random values.

    Raises OfaError where train.whitening does not fit its first convolution.
    """
    train, arrays = lab.recipe.train, net.arrays()
    if train.identity_convolutions:
        arrays.update(identity_convolutions(net))
    if train.zero_last_bn:
        arrays.update(zero_last_bn(net))
    if train.whitening:
        name, images = first_convolution(net), lab.as_evaluated(WHITENING_IMAGES)
        arrays[name] = whitened(arrays[name], images, train.whitening)
    net.set_arrays(arrays)


def taken_up(net: AnyNetwork, lab: Lab, stage: Stage, path: Path) -> AnyNetwork:
    """The network that a stage begins with where a user names the weights that it starts from.

    Args:
        net: The network of the file.
        lab: The data, with as many classes as the network has.
        stage: The stage: of an elastic network, or of a fixed one, which takes the weights as they are.
        path: The file, which errors name.

    Raises:
        OfaError: The weights are of another network.
    """
    if not isinstance(lab.recipe.net, Fixed):
        return widened(net, stage, lab.recipe.train.sorting)
    started = new_network(lab, stage)
    started.set_arrays(net.arrays(), str(path))
    return started


def widened(net: AnyNetwork, stage: Stage, sorting: str) -> Network:
    """A network over the stage's larger space; where narrower widths join, channels are sorted first.

    sorting: as of `training.settings.Train`. Raises OfaError for a fixed network.
    """
    if not isinstance(net, Network):
        raise OfaError(f"stage {stage.name}: {net.space} is a fixed network, no stage can start from it")
    space = net.config.space(stage.space)
    if sorting != "none" and segments(net.config.layers(space, space.largest())) != segments(net.layers()):
        net.sort_channels(keep_order=sorting == "exact")
    return net.widened(space)
