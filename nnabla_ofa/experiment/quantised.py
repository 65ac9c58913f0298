"""Subnets as ONNX files of float32 and int8, and how accurate they are there: what a search for int8 asks.

A subnet is extracted, its BN statistics are set as in every evaluation, and its file quantised on calibration
images of the recipe. onnxruntime then classifies each image once, as it will where the file is used.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from ..evaluation import Result, judge
from ..formats import export, onnx_file
from ..formats.exchange import Logits
from ..model import AnyNetwork
from ..nets import Arch
from ..quantize import int8
from ..system.comm import Single
from .int8 import CALIBRATION_IMAGES
from .int8 import calibration_images as int8_images
from .lab import Lab


@dataclass(frozen=True)
class Quantisation:
    """How files become int8.

    Args:
        calibrate: As of `quantize.int8`.
        images: How many images the ranges of activations come from, `int8.FEWEST` or more.
    """

    calibrate: str = "minmax"
    images: int = CALIBRATION_IMAGES

    def identity(self) -> Dict[str, Any]:
        """What figures of int8 networks depend on, beside the network and its images."""
        return {"int8": {**asdict(self), "onnxruntime": onnx_file.packages().onnxruntime.__version__}}


class Files(NamedTuple):
    """A network's two files."""

    float32: Path
    int8: Path


def calibration_images(lab: Lab, size: int, how: Quantisation) -> np.ndarray:
    """(count, 3, size, size) float32, normalised: those that export would take. size: pixels a side."""
    return int8_images(lab, {"image_size": size, "pixels": False}, how.images)  # type: ignore[typeddict-item]


def write(alone: AnyNetwork, folder: Path, name: str, lab: Lab, size: int, how: Quantisation,
          images: np.ndarray) -> Files:
    """Write a stand-alone network's files.

    Args:
        alone: The network, calibrated.
        folder: Where they go.
        name: What their names begin with.
        lab: What the files say of classes and normalisation.
        size: Pixels a side.
        how: How they are quantised.
        images: Of `calibration_images`.
    """
    made = Files(folder / f"{name}-float32.onnx", folder / f"{name}-int8.onnx")
    about = export.describe(alone, lab.classes, lab.recipe.data.augment, size, fold=True)
    onnx_file.save(alone, made.float32, about, size, fold=True)
    int8(made.float32, made.int8, images, calibrate=how.calibrate)
    return made


class Opened:
    """ONNX files as networks that are judged together."""

    def __init__(self, paths: Sequence[Path]):
        about: Any = {"pixels": False}
        self._logits: List[Logits] = [onnx_file.load(path, about) for path in paths]

    def __len__(self) -> int:
        return len(self._logits)

    def logits(self, images: np.ndarray) -> List[np.ndarray]:
        """Of each file, (N, classes); images (N, 3, H, W) float32."""
        return [logits(images) for logits in self._logits]


def judged(paths: Sequence[Path], lab: Lab, size: int, on: str = "test") -> List[Result]:
    """How accurate ONNX files are.

    Args:
        paths: The files.
        lab: The recipe's data; its ranks share the images.
        size: Pixels a side.
        on: "test" or "valid".
    """
    images = {"test": lab.test, "valid": lab.valid}[on]
    return judge(Opened(paths), images.batches(size, lab.comm), images.count(), lab.comm)


def top1_of(net: AnyNetwork, archs: Sequence[Arch], size: int, lab: Lab, how: Quantisation) -> List[float]:
    """Top-1 of subnets as int8 on the held-out images. The ranks share the subnets.

    Args:
        net: Whose subnets they are.
        archs: The subnets.
        size: Pixels a side.
        lab: The recipe's data.
        how: How they are quantised.

    Returns:
        A fraction a subnet.
    """
    comm, own = lab.comm, replace(lab, comm=Single())
    found = np.zeros(len(archs))
    mine = range(comm.rank, len(archs), comm.size)
    with tempfile.TemporaryDirectory() as folder:
        images = calibration_images(own, size, how)
        made = [write(own.calibrated(net, archs[i], size), Path(folder), str(i), lab, size, how, images)
                for i in mine]
        for i, result in zip(mine, judged([files.int8 for files in made], own, size, "valid")):
            found[i] = result.top1
    return comm.add(found).tolist()
