"""Name what is on images: the classes of a trained network, with their probabilities.

    python runners/predict.py --weights runs/demo/subnet.h5 cat.jpg dog.jpg
    python runners/predict.py --weights runs/demo/K357_E0.6+0.8+1_D123/weights.h5 \\
        --subnet "XP0.6 3x3 1" --top 1 --json photographs/*.jpg

A line an image and class: file, probability and class, with tabs between them; with --json one list of
images. Images are read as in evaluation: the centre square, resized and normalised as the weights say.

BN statistics belong to one subnet and one image size. The weights of a stage carry those of the largest
subnet, a fine-tuned or searched one its own. Where they are those of the network that is asked for, they
serve, and no other data is needed. Any other subnet of a supernet, and best.h5 of a stage, first get theirs
from training images, as in evaluation: from --data, else from the data that the weights were trained on.
With --data they are always taken anew, for the image size that is asked for.

Each image that cannot be read is named by a line on standard error; the others are done, and the exit
status is 2.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..data import Data, Dataset
from ..data.datasets import printable
from ..data.decode import UnreadableImage
from ..data.unreadable import Unreadable
from ..errors import OfaError
from ..evaluation import Images
from ..experiment.command import Command
from ..experiment.options import (
    WeightsOptions,
    add_options,
    add_subnet,
    add_weights,
    at_least,
    check_kernels,
    open_network,
)
from ..experiment.parse import from_settings
from ..experiment.recipe import Recipe
from ..formats import load
from ..model import AnyNetwork, Frozen
from ..nets import Arch
from ..system.comm import Communicator

BATCH = 64  # images at a time, where no recipe says how many


@dataclass(frozen=True)
class Options(WeightsOptions):
    """See `add_arguments`."""

    images: Tuple[str, ...] = ()
    subnet: Optional[str] = None
    top: int = 5
    json: bool = False


class Prediction(NamedTuple):
    """An image and its most probable classes, the first one first: (number, name, probability) of each."""

    image: str
    classes: List[Tuple[int, str, float]]


class Collected(Unreadable):
    """Keeps the images that cannot be read, any number of them, and says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: Dict[str, UnreadableImage] = {}

    def note(self, error: UnreadableImage) -> None:
        """Keep it, from whichever thread."""
        self.errors[error.path] = error


# How the file was trained ------------------------------------------------------------------------

def recipe_of(net: AnyNetwork, options: Options) -> Optional[Recipe]:
    """The recipe inside the weights file, None where it has none."""
    if "recipe" in net.info:
        return from_settings(dict(net.info["recipe"]), options.overrides, "the recipe in the weights file")
    if options.overrides:
        raise OfaError(f"--set {options.overrides[0]}: {options.weights} carries no recipe to change")
    return None


def reading(net: AnyNetwork, recipe: Optional[Recipe], options: Options) -> Tuple[Data, int, int]:
    """How evaluation reads images for this network.

    Returns:
        The settings, the side of an image in pixels, and how many images go together.

    Raises:
        OfaError: neither the file nor the options say.
    """
    if recipe is None:
        if not {"mean", "std"} <= set(net.info):
            raise OfaError(f"{options.weights} does not say how its images were normalised: its info needs "
                           "mean and std of R, G and B, as fractions of 255")
        data, batch = Data(), BATCH
        data = replace(data, augment=replace(data.augment, mean=tuple(net.info["mean"]),
                                             std=tuple(net.info["std"])))
    else:
        data, batch = recipe.data, recipe.train.batch_size
    size = options.image_size[0] if options.image_size else stored_size(net)
    if size is None:
        raise OfaError(f"{options.weights} does not say the size of its images: give --image-size PIXELS")
    return data, size, batch


def class_names(net: AnyNetwork) -> List[str]:
    """The names of the classes, their numbers where the file has no names."""
    return [str(name) for name in net.info.get("classes", range(net.config.classes))]


# BN statistics -----------------------------------------------------------------------------------

def without_statistics(net: AnyNetwork, arch: Arch, path: Path) -> Optional[str]:
    """Why the BN statistics in a file are not those of a subnet; None if they are, or nothing tells."""
    if running_statistics(net):
        return None
    of = net.info.get("calibrated")
    if of is not None:
        own = of["subnet"] == str(arch.canonical())
        return None if own else f"{path} has those of another subnet than {arch.short()}"
    if arch.canonical() != net.space.largest().canonical():
        return f"{arch.short()} is one of many subnets in {path}"
    if "identity" in net.info or path.name == "best.h5":  # files of stages that are older have no identity
        return f"{path} is of an epoch within a stage"
    declared, arrays = net.declared(), net.arrays()
    values = {role: [arrays[name] for name, p in declared.items() if p.role == role]
              for role in ("mean", "variance")}
    if values["mean"] and not any(a.any() for a in values["mean"]) and all(
            (a == 1).all() for a in values["variance"]):
        return f"{path} was never calibrated"
    return None


def running_statistics(net: AnyNetwork) -> bool:
    """Whether training followed them: then they serve at every time and size."""
    return bool(net.info.get("recipe", {}).get("train", {}).get("running_statistics"))


def stored_size(net: AnyNetwork) -> Optional[int]:
    """At which size of images, in pixels, the BN statistics in a file were taken, else the largest that its
    network was made for; None: nothing tells."""
    if net.info.get("calibrated", {}).get("image_size"):
        return net.info["calibrated"]["image_size"]
    sizes = net.info.get("recipe", {}).get("data", {}).get("valid_sizes") or net.info.get("image_sizes", ())
    return max(sizes, default=None)


def calibrated(options: Options, comm: Communicator, arch: Arch, size: int, why: Optional[str]) -> AnyNetwork:
    """The stand-alone subnet with BN statistics from training images, as evaluation takes them."""
    try:
        net, run = open_network(replace(options, image_size=(size,)), comm)
    except OfaError as error:
        if options.data:
            raise
        raise OfaError(f"{why}, so it takes its BN statistics from training images, which cannot be opened: "
                       f"name them with --data ({error})") from error
    count, source = len(run.lab.calibration.indices), run.recipe.data.source
    run.say(f"BN statistics of {arch.short()} at {size} pixels: from {count} training images of {source}"
            + (f", since {why}" if why else ""))
    return run.lab.calibrated(net, arch, size)


def stand_alone(options: Options, comm: Communicator, net: AnyNetwork, arch: Arch, size: int) -> AnyNetwork:
    """The network that predicts.

    Args:
        options: Name the file, and the data if statistics are to be new.
        comm: The ranks.
        net: The network of the file.
        arch: Which of its subnets.
        size: Pixels a side.

    Returns:
        The subnet alone, with BN statistics of its own.

    Raises:
        OfaError: it needs training images, and they cannot be opened.
    """
    why = without_statistics(net, arch, options.weights)
    if why or options.data and not running_statistics(net):
        return calibrated(options, comm, arch, size, why)
    check_kernels(options, comm)
    own = stored_size(net)
    if own not in (None, size) and not running_statistics(net) and comm.rank == 0:
        print(f"BN statistics in {options.weights} are those of {own} pixels: with --data they are taken for "
              f"{size}", flush=True)
    net.kernels = options.kernels
    return net.extract(arch)


# Images ------------------------------------------------------------------------------------------

def predictions(net: AnyNetwork, images: Images, size: int, names: Sequence[str], top: int
                ) -> Iterator[Prediction]:
    """Of each image that can be read, in their order; labels of `images` are its places."""
    logits_of, paths = Frozen(net), images.dataset.paths
    for _, batch, places in images.batches(size):
        for place, scores in zip(places, logits_of(batch).astype(np.float64)):
            if not np.isfinite(scores).all():
                raise OfaError(f"{printable(paths[place])}: the scores are not finite, as of a network whose "
                               "training has diverged")
            shares = np.exp(scores - scores.max())
            shares /= shares.sum()
            best = np.argsort(-shares, kind="stable")[:top]
            yield Prediction(paths[place], [(int(i), names[i], float(shares[i])) for i in best])


def as_json(prediction: Prediction) -> Dict[str, Any]:
    """What --json prints of an image."""
    return {"image": prediction.image, "predictions": [
        {"class": name, "label": label, "probability": share} for label, name, share in prediction.classes]}


def main(options: Options, comm: Communicator) -> None:
    """Name the classes of every image, then the images that cannot be read."""
    with contextlib.redirect_stdout(sys.stderr):  # what goes to standard output is the result
        net = load(options.weights, net=options.net)
        arch, names = net.arch(options.subnet), class_names(net)
        data, size, batch = reading(net, recipe_of(net, options), options)
        alone = stand_alone(options, comm, net, arch, size)
    if comm.rank:
        return
    places, unreadable = np.arange(len(options.images), dtype=np.int32), Collected()
    dataset = Dataset("images", tuple(names), places, paths=options.images, unreadable=unreadable)
    images = Images(dataset, places, data.augment, batch, data.workers, data.backend)
    show(predictions(alone, images, size, names, options.top), options.json)
    for path in dict.fromkeys(path for path in options.images if path in unreadable.errors):
        print(f"error: {printable(str(unreadable.errors[path]))}", file=sys.stderr, flush=True)
    if unreadable.errors:
        sys.exit(2)


def show(found: Iterable[Prediction], in_json: bool) -> None:
    """Print predictions as they come, or as one JSON list."""
    if in_json:
        print(json.dumps([as_json(one) for one in found], indent=1))
        return
    for one in found:
        for _, name, share in one.classes:
            print(printable(one.image), f"{share:.4f}", printable(name), sep="\t", flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `Options`."""
    add_options(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="an image file")
    add_weights(parser, "of a stage, or a subnet")
    add_subnet(parser, "one name a block, or one for all (default: the largest; a subnet's own)")
    parser.add_argument("--data", help="training images for BN statistics: dataset folder, or digits "
                        "(default: where they are needed, what the weights say)")
    parser.add_argument("--image-size", type=at_least(1), nargs=1, metavar="PIXELS",
                        help="a side (default: that of the BN statistics in the file)")
    parser.add_argument("--top", type=at_least(1), default=5, metavar="N",
                        help="classes an image (default 5)")
    parser.add_argument("--json", action="store_true", help="one list of images with their classes")


COMMAND = Command("predict", __doc__, Options, add_arguments, main)
