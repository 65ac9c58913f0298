"""A stand-alone network as a file for other programs: written, read back, compared, then put in place.

    nnp         NNabla's exchange format (nnp.py)       onnx    everybody's (onnx_file.py)
    nnabla-nas  its checkpoints (nnabla_nas.py): weights, and no graph
"""

from __future__ import annotations

import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from ..data import Augment
from ..errors import OfaError
from ..evaluation import Images
from ..model import AnyNetwork
from ..system.files import Location, write_atomically
from ..system.machine import versions
from . import nnabla_nas, nnp, onnx_file
from .nnp import INPUT, OUTPUT

TOLERANCE = 1e-4  # of the largest logit; float32 in another order of sums is about 1e-6


class Format(NamedTuple):
    """save(net, path, about, size, fold, batch_size); load(path, about) -> (images -> logits);
    usage(path, about) -> Python statements (imports, `net` and `classes` of a file, `y` of images `x`)."""

    suffix: str
    save: Callable
    load: Callable
    usage: Callable


FORMATS: Dict[str, Format] = {
    "nnp": Format(".nnp", nnp.save, nnp.load, nnp.usage),
    "onnx": Format(".onnx", onnx_file.save, onnx_file.load, onnx_file.usage),
    "nnabla-nas": Format(".h5", lambda net, path, about, *_: nnabla_nas.save_nnabla_nas(net, path, about),
                         nnabla_nas.loaded_logits, nnabla_nas.usage)}


def check(form: str, path: Path, fold: bool = False, batch_size: Optional[int] = None) -> None:
    """OfaError if such a file cannot be written, whatever the network."""
    if path.suffix != FORMATS[form].suffix:
        raise OfaError(f"--output {path}: the name of a file of format {form} ends in {FORMATS[form].suffix}")
    if path.is_dir():
        raise OfaError(f"--output {path} is a folder: name the file")
    if batch_size is not None and batch_size < 1:
        raise OfaError(f"--batch-size {batch_size} is not 1 or more")
    if form == "nnabla-nas" and (fold or batch_size):
        raise OfaError("--format nnabla-nas holds the weights as they are trained and no graph: leave "
                       "out --fold and --batch-size")
    if form == "onnx":
        onnx_file.packages()


def describe(net: AnyNetwork, classes: Sequence[str], augment: Augment, size: int, fold: bool = False,
             batch_size: Optional[int] = None) -> Dict[str, object]:
    """What a file carries beside weights, JSON-able."""
    settings = {f.name: getattr(net.config, f.name) for f in fields(net.config)
                if getattr(net.config, f.name) != f.default or f.name == "family"}
    return {"arch": str(net.space.largest()), "net": settings, "classes": list(classes),
            "image_size": size, "mean": list(augment.mean), "std": list(augment.std),
            "valid_resize": augment.valid_resize, "bn_folded": fold, "batch_size": batch_size,
            "input": f"{INPUT}: float32 ({batch_size or 'N'}, 3, {size}, {size}), RGB, (pixel / 255 - mean) "
                     "/ std; of an image the centre square of short side / valid_resize, resized",
            "output": f"{OUTPUT}: logits ({batch_size or 'N'}, {net.config.classes})",
            "versions": versions()}


def sample(images: Images, size: int, count: int = 64) -> np.ndarray:
    """`count` of the images, or all if there are fewer, from all over the set: (N, 3, size, size)."""
    places = np.linspace(0, len(images.indices) - 1, min(count, len(images.indices))).astype(np.int64)
    chosen = replace(images, indices=images.indices[places])
    return np.concatenate([batch for _, batch, _ in chosen.batches(size)])


def export(net: AnyNetwork, path: Location, form: str, about: Mapping, images: np.ndarray) -> float:
    """Write a stand-alone network, as `about` (see `describe`) says, to `path`, atomically.

    The file is read back first, and must give the network's logits on `images` (N, 3, H, W) to
    TOLERANCE, with the same top-1 on each; else OfaError, and `path` is as it was. Returns the
    largest difference of a logit, relative to the largest logit.
    """
    fold, batch_size = about["bn_folded"], about["batch_size"]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / f"network{FORMATS[form].suffix}"
        FORMATS[form].save(net, made, about, images.shape[-1], fold, batch_size)
        loaded = FORMATS[form].load(made, about)
        difference = compare(net.logits(images), in_batches(loaded, images, batch_size), path)
        write_atomically(path, made.read_bytes())
    return difference


def in_batches(logits: Callable, images: np.ndarray, batch_size: Optional[int]) -> np.ndarray:
    """Logits of all images, by a function of just `batch_size` images (None: of any number)."""
    size = batch_size or len(images)
    whole = np.resize(images, (-(-len(images) // size) * size, *images.shape[1:]))  # repeats the first ones
    return np.concatenate([logits(whole[i:i + size]) for i in range(0, len(whole), size)])[:len(images)]


def compare(expected: np.ndarray, found: np.ndarray, path: Location) -> float:
    """The difference that `export` returns; OfaError if it is too large, or not a number."""
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    wrong = int((found.argmax(axis=1) != expected.argmax(axis=1)).sum())
    if wrong or not difference <= TOLERANCE:
        raise OfaError(f"{path} is not written: it would give another top-1 on {wrong} of {len(expected)} "
                       f"images, logits that differ by {difference:.1e} of the largest (allowed are 0 and "
                       f"{TOLERANCE:.0e}); with --device cudnn:half try --device cpu")
    return float(difference)


def usage(path: Location, form: str, about: Mapping) -> List[str]:
    """Lines of Python that classify the image file IMAGE.jpg with the file of `export`."""
    imports, opening, run = FORMATS[form].usage(str(path), about)
    side, cut = about["image_size"], (1 - 1 / about["valid_resize"]) / 2  # `cut`: the share off each side
    repeat = f".repeat({about['batch_size']}, 0)" if about["batch_size"] else ""
    return [f"import json, numpy as np; from PIL import Image, ImageOps; {imports}", opening,
            'image = Image.open("IMAGE.jpg").convert("RGB")',
            f"x = np.float32(ImageOps.fit(image, ({side}, {side}), Image.BILINEAR, {cut:.6g}))",
            f"x = (x / 255 - np.float32({about['mean']})) / np.float32({about['std']})",
            f"x = x.transpose(2, 0, 1)[None]{repeat}",
            f"{run}; print(classes[y[0].argmax()])"]
