"""A recipe's data, opened: what training, choosing and reporting see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..data import Dataset, Key, calibration_draw, split
from ..data.class_names import same_name
from ..data.decode import UnreadableImage
from ..errors import OfaError
from ..evaluation import Images, Result, calibrate, evaluate_archs
from ..model import AnyNetwork
from ..nets import Arch
from ..system.comm import Communicator, require_agreement
from .content import images_checksum, labels_checksum, names_checksum
from .recipe import Recipe


@dataclass(frozen=True)
class Lab:
    """Images of each use.

    Args:
        recipe, seed: Which images, and how they are split.
        comm: The ranks.
        classes: Names of the labels.
        train: Images to learn from.
        valid: Held out of the training set, for choosing.
        test: For reporting only.
        calibration: Augmented training images that BN statistics come from.
        content: Checksums of the training and of the held-out images (`content.images_checksum`).
    """

    recipe: Recipe
    seed: int
    comm: Communicator
    classes: Tuple[str, ...]
    train: Dataset
    valid: Images
    test: Images
    calibration: Images
    content: Tuple[int, int]

    @classmethod
    def open(cls, recipe: Recipe, seed: int, comm: Communicator, test_alone: bool = False) -> "Lab":
        """Open the recipe's data. Raises OfaError for data that do not fit, or that ranks see differently.

        test_alone: whether test images alone will do. `train`, `valid` and `calibration` may then be empty.
        """
        data = recipe.data
        everything, test = data.open(partial=test_alone)
        if not len(test):
            raise OfaError(f"data: {data.source} has no test images ({test.summary})")
        train, valid = split(everything, data.held_out, seed) if len(everything) else (everything, everything)
        if data.train_images and data.train_images < len(train):
            _, train = split(train, data.train_images / len(train), seed)
        for dataset, what in ((valid, "images that are held out of training"), (test, "test images")):
            if len(dataset):
                require_one_readable(dataset, what)
        lab = cls(recipe, seed, comm, everything.classes, train, _images(recipe, valid),
                  _images(recipe, test), _calibration(recipe, train, data.calibration_images, seed),
                  (images_checksum(train, comm), images_checksum(valid, comm)))
        require_agreement(comm, "recipes, seeds or data", repr((
            replace(recipe, data=replace(data, source=None, workers=0)), seed,
            [*map(same_name, lab.classes)], lab.fingerprint(), labels_checksum(test.labels))))
        return lab

    def with_calibration(self, count: int) -> "Lab":
        """The same data, with BN statistics from `count` images."""
        return replace(self, calibration=_calibration(self.recipe, self.train, count, self.seed))

    def as_evaluated(self, count: int) -> np.ndarray:
        """`count` training images, or all if there are fewer, drawn by the seed: normalised (N, 3, H, W).

        They are not augmented, have the largest of `image_sizes`, and are the same on every rank.
        """
        images = _images(self.recipe, self.train, calibration_draw(self.train, count, self.seed))
        return np.concatenate([batch for _, batch, _ in images.batches(max(self.recipe.data.image_sizes))])

    def fingerprint(self) -> Dict[str, object]:
        """The data's part of what must not change in a run that takes up an earlier result."""
        return {"data.images": len(self.train), "data.classes": len(self.classes),
                "data.labels": labels_checksum(self.train.labels),
                "data.class_names": names_checksum(self.classes), "data.content": list(self.content)}

    def info(self) -> Dict[str, Any]:
        """What the file of a network that is trained here should carry beside its weights."""
        data = self.recipe.data
        return {"classes": list(self.classes), "mean": list(data.augment.mean), "std": list(data.augment.std),
                "image_sizes": list(data.image_sizes), "recipe": self.recipe.settings(), "seed": self.seed}

    def judge(self, net: AnyNetwork, archs: Sequence[Optional[Arch]], size: int, on: str = "test"
              ) -> List[Result]:
        """Results of archs at `size` pixels on the "test" or "valid" images."""
        images = {"test": self.test, "valid": self.valid}[on]
        calibration = None if self.recipe.train.running_statistics else self.calibration
        if not len(self.train) and calibration:
            if not net.space.single() or on != "test":
                raise OfaError(f"data: {self.recipe.data.source} has test images alone, which serve for one "
                               "network with BN statistics of its own: a subnet that was extracted or "
                               "fine-tuned. Others are calibrated on training images: give those, too")
            calibration = None
        return evaluate_archs(net, archs, size, calibration, images, self.comm)

    def calibrated(self, net: AnyNetwork, arch: Optional[Arch], size: int) -> AnyNetwork:
        """The stand-alone subnet with BN statistics of `size` pixels."""
        subnet = net.extract(arch)
        if not self.recipe.train.running_statistics:
            calibrate(subnet, self.calibration.batches(size, self.comm), self.calibration.count(), self.comm)
            subnet.info["calibrated"] = {"subnet": str(subnet.space.largest()), "image_size": size}
        return subnet

    def rows(self, net: AnyNetwork, archs: Sequence[Optional[Arch]], on: str = "test",
             say: Callable[[str], None] = print, sizes: Sequence[int] = ()) -> List[dict]:
        """Record rows of archs.

        Args:
            net: Whose subnets they are.
            archs: None stands for the largest.
            on: "test" or "valid".
            say: Receives each result as it comes.
            sizes: Pixels a side; none: the recipe's `valid_sizes`.
        """
        found = []
        for size in sizes or self.recipe.data.valid_sizes:
            for arch, result in zip(archs, self.judge(net, archs, size, on)):
                arch, cost = net.arch(arch), net.cost(arch, size)
                found.append({"subnet": str(arch), "canonical": str(arch.canonical()),
                              "short": arch.short(), "image_size": size, "split": on, **result._asdict(),
                              "parameters": cost.parameters, "macs": cost.macs})
                say(f"{arch.short()} at {size}: {cost.parameters / 1e6:.2f} M parameters, "
                    f"{cost.macs / 1e6:.1f} M MACs")
                say(result.line())
        return found


def require_one_readable(dataset: Dataset, what: str) -> None:
    """OfaError if not one of the images can be read: figures on them would be those of no image.

    The first that can ends this. what: names the images in the error.
    """
    for index in range(len(dataset)):
        try:
            dataset.decode(index)
            return
        except UnreadableImage as error:
            last = error
    if len(dataset):
        raise OfaError(f"none of the {len(dataset)} {what} can be read, the last since {last}")


def _images(recipe: Recipe, dataset: Dataset, indices: Optional[np.ndarray] = None,
            key: Optional[Key] = None) -> Images:
    indices = np.arange(len(dataset)) if indices is None else indices
    return Images(dataset, indices, recipe.data.augment, recipe.train.batch_size, recipe.data.workers,
                  recipe.data.backend, key)


def _calibration(recipe: Recipe, train: Dataset, count: int, seed: int) -> Images:
    return _images(recipe, train, calibration_draw(train, count, seed), (seed, "calibration", 0))
