"""What is measured: networks, image sizes, batches; each as the plain dictionary that a worker takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Dict, Iterator, Tuple

from nnabla_ofa import Xception
from nnabla_ofa.layers import Cost
from nnabla_ofa.model import Network

SPACE = "K357_E0.6+0.8+1_D123"
SUBNETS = {"largest": "XP1 7x7 3", "middle": "XP0.8 5x5 2", "smallest": "XP0.6 3x3 1"}
TASKS = ("training", "evaluation")


@dataclass(frozen=True)
class Job:
    """A batch of `batch` square images of `image_size` pixels a side through one subnet."""

    task: str
    image_size: int
    batch: int
    width_mult: float
    stem_stride: int
    classes: int
    subnet: str

    def cost(self) -> Cost:
        """Cost of the subnet on one image."""
        config = Xception(width_mult=self.width_mult, stem_stride=self.stem_stride,
                          classes=self.classes)
        return Network(config, config.space(SPACE)).cost(self.subnet, self.image_size)

    def request(self) -> dict:
        """As a worker takes it."""
        return asdict(self)


# The stem's stride is 2 in both, so 32-pixel images are 2 pixels a side in the middle blocks.
SETTINGS = {"big": Job("training", 128, 8, 1.0, 2, 1000, ""),
            "cifar": Job("training", 32, 64, 0.25, 2, 10, ""),
            "quick": Job("training", 16, 4, 0.02, 2, 10, "")}
EVALUATION_BATCH = {"big": 32, "cifar": 64, "quick": 4}
Piece = Tuple[str, str, str]  # setting, task, subnet


def pieces(only=(), quick: bool = False) -> Dict[Piece, Job]:
    """The jobs that `only` names ("big", "big:training", "big:training:largest"), or all but quick."""
    found = {}
    for setting, base in SETTINGS.items():
        for task in TASKS:
            for subnet, name in SUBNETS.items():
                piece = (setting, task, subnet)
                if (setting == "quick") == quick and (not only or any(
                        piece[:len(part.split(":"))] == tuple(part.split(":")) for part in only)):
                    batch = base.batch if task == "training" else EVALUATION_BATCH[setting]
                    found[piece] = replace(base, task=task, batch=batch, subnet=name)
    return found


CURVES = {"batch": (1, 2, 4, 8, 16, 32), "image size": (32, 64, 96, 128, 160, 192, 224),
          "width": (0.25, 0.5, 0.75, 1.0),
          "subnet": ("XP0.6 3x3 1", "XP0.6 3x3 2", "XP0.6 5x5 3", "XP0.8 5x5 3", "XP1 5x5 3",
                     "XP1 7x7 3")}
_FIELDS = {"batch": "batch", "image size": "image_size", "width": "width_mult", "subnet": "subnet"}


def curve(axis: str, quick: bool = False) -> Iterator[Tuple[object, Job]]:
    """The points of one curve: training steps of the big setting's largest subnet, one field varied."""
    base = replace(SETTINGS["quick" if quick else "big"], subnet=SUBNETS["largest"])
    for value in CURVES[axis][:2] if quick else CURVES[axis]:
        yield value, replace(base, **{_FIELDS[axis]: value})
