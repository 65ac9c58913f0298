"""A stand-alone network as a file for other programs: written, read back, compared, then put in place.

    nnp           NNabla's exchange format (nnp.py)
    onnx          everybody's (onnx_file.py)
    nnb, c        for Sony's nnabla-c-runtime, on microcontrollers (c_runtime.py)
    nnabla-nas    its checkpoints (nnabla_nas.py): weights, and no graph
    once-for-all  PyTorch files of its families (torch_export.py), again weights alone
    torch         PyTorch files of the zoo's networks (torch_export.py), too
"""

from __future__ import annotations

import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

import numpy as np

from ..data import Augment
from ..errors import OfaError
from ..evaluation import Images
from ..model import AnyNetwork
from ..system.files import Location, write_atomically
from ..system.machine import versions
from . import c_runtime, nnabla_nas, nnp, onnx_file, torch_export
from .exchange import INPUT, OPSETS, OUTPUT, About, Format, Logits

TOLERANCE = 1e-4  # of the largest logit; float32 in another order of sums is about 1e-6

FORMATS: Dict[str, Format] = {
    "nnp": Format(".nnp", nnp.save, nnp.load, nnp.usage),
    "onnx": Format(".onnx", onnx_file.save, onnx_file.load, onnx_file.usage, others=onnx_file.others),
    "nnb": Format(".nnb", c_runtime.save_nnb, c_runtime.load, None, batch_size=1, notes=c_runtime.notes),
    "c": Format(".zip", c_runtime.save_c, c_runtime.load, None, batch_size=1, notes=c_runtime.notes),
    "nnabla-nas": Format(".h5", nnabla_nas.save, nnabla_nas.loaded_logits, nnabla_nas.usage, graph=False),
    "once-for-all": Format(".pth", torch_export.save_once_for_all, torch_export.loaded_logits,
                           torch_export.usage, graph=False),
    "torch": Format(".pth", torch_export.save_zoo, torch_export.loaded_logits, torch_export.usage,
                    graph=False)}


def check(form: str, path: Path, fold: bool = False, batch_size: Optional[int] = None,
          opset: int = OPSETS[0], pixels: bool = False) -> None:
    """OfaError if such a file cannot be written, whatever the network.

    Args:
        form: One of FORMATS.
        path: The file; its name has to have the format's suffix.
        fold: As of `exchange.Save`.
        batch_size: As of `exchange.Save`.
        opset: As of `exchange.About`.
        pixels: As of `exchange.About`.
    """
    if path.suffix != FORMATS[form].suffix:
        raise OfaError(f"--output {path}: the name of a file of format {form} ends in {FORMATS[form].suffix}")
    if path.is_dir():
        raise OfaError(f"--output {path} is a folder: name the file")
    if batch_size is not None and batch_size < 1:
        raise OfaError(f"--batch-size {batch_size} is not 1 or more")
    if not FORMATS[form].graph and (fold or batch_size):
        raise OfaError(f"--format {form} holds the weights as they are trained and no graph: leave "
                       "out --fold and --batch-size")
    if form == "onnx":
        onnx_file.packages()
    elif pixels or opset != OPSETS[0]:
        raise OfaError(f"--normalise and --opset are of --format onnx, not of {form}: leave them out")


def describe(net: AnyNetwork, classes: Sequence[str], augment: Augment, size: int, fold: bool = False,
             batch_size: Optional[int] = None, opset: int = OPSETS[0], pixels: bool = False,
             data_licence: str = "") -> About:
    """What a file is to say of itself.

    Args:
        net: A stand-alone network.
        classes: Their names, in the order of the logits.
        augment: How validation images were resized and normalised.
        size: Pixels a side.
        fold: As of `exchange.Save`.
        batch_size: As of `exchange.Save`.
        opset, pixels, data_licence: As of `exchange.About`.
    """
    values = ("uint8", "of 0 to 255") if pixels else ("float32", "(pixel / 255 - mean) / std")
    settings = {f.name: getattr(net.config, f.name) for f in fields(net.config)
                if getattr(net.config, f.name) != f.default or f.name == "family"}
    return {"arch": str(net.space.largest()), "net": settings, "classes": list(classes),
            "image_size": size, "mean": list(augment.mean), "std": list(augment.std),
            "valid_resize": augment.valid_resize, "bn_folded": fold, "batch_size": batch_size,
            "opset": opset, "pixels": pixels, "data_licence": data_licence,
            "input": f"{INPUT}: {values[0]} ({batch_size or 'N'}, 3, {size}, {size}), RGB, {values[1]}; "
                     "of an image the centre square of short side / valid_resize, resized",
            "output": f"{OUTPUT}: logits ({batch_size or 'N'}, {net.config.classes})",
            "versions": versions()}


def sample(images: Images, size: int, count: int = 64) -> np.ndarray:
    """Images to compare on, from all over a set.

    Args:
        images: The set.
        size: Pixels a side.
        count: How many; all, if there are fewer.

    Returns:
        (count, 3, size, size) float32, normalised.
    """
    places = np.linspace(0, len(images.indices) - 1, min(count, len(images.indices))).astype(np.int64)
    chosen = replace(images, indices=images.indices[places])
    return np.concatenate([batch for _, batch, _ in chosen.batches(size)])


def export(net: AnyNetwork, path: Location, form: str, about: About, images: np.ndarray,
           say: Callable[[str], None] = lambda line: None) -> float:
    """Write a stand-alone network, atomically.

    The file is read back before it is put in place. It must give the network's logits to TOLERANCE, with
    the same top-1 on each image.

    Args:
        net: The network.
        path: The file.
        form: One of FORMATS.
        about: What the file is to say of itself, of `describe`.
        images: (N, 3, H, W) float32, to compare on.
        say: Receives what there is to say of the file, a line at a time.

    Returns:
        The largest difference of a logit, relative to the largest logit.

    Raises:
        OfaError: The file gives something else, or the disk refuses; `path` is as it was.
    """
    fold, batch_size = about["bn_folded"], about["batch_size"]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / Path(path).name
        FORMATS[form].save(net, made, about, images.shape[-1], fold, batch_size)
        loaded = FORMATS[form].load(made, about)
        expected = net.logits(images)
        difference = compare(expected, in_batches(loaded, images, batch_size), path)
        for name, load in FORMATS[form].others().items():
            found = in_batches(load(made, about), images, batch_size)
            difference = max(difference, compare(expected, found, f"{path} (by {name})"))
        for line in FORMATS[form].notes(made, about):
            say(line)
        write_atomically(path, made.read_bytes())
    return difference


def in_batches(logits: Logits, images: np.ndarray, batch_size: Optional[int]) -> np.ndarray:
    """Logits (N, classes) of all images.

    Args:
        logits: Computes those of a batch.
        images: (N, 3, H, W) float32.
        batch_size: The only number of images that `logits` takes; None: any.
    """
    size = batch_size or len(images)
    whole = np.resize(images, (-(-len(images) // size) * size, *images.shape[1:]))  # repeats the first ones
    return np.concatenate([logits(whole[i:i + size]) for i in range(0, len(whole), size)])[:len(images)]


def compare(expected: np.ndarray, found: np.ndarray, path: Location) -> float:
    """The difference that `export` returns; OfaError if it is too large, or not a number.

    Args:
        expected: (N, classes) logits of the network.
        found: (N, classes) logits of its file.
        path: Named in the error.
    """
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    wrong = int((found.argmax(axis=1) != expected.argmax(axis=1)).sum())
    if wrong or not difference <= TOLERANCE:
        raise OfaError(f"{path} is not written: it would give another top-1 on {wrong} of {len(expected)} "
                       f"images, logits that differ by {difference:.1e} of the largest (allowed are 0 and "
                       f"{TOLERANCE:.0e}); with --device cudnn:half try --device cpu")
    return float(difference)


def usage(path: Location, form: str, about: About) -> List[str]:
    """Lines of Python that classify the image file IMAGE.jpg with the file of `export`, if Python reads it.

    Args:
        path: The file.
        form: One of FORMATS.
        about: What the file says of itself.
    """
    statements = FORMATS[form].usage
    if statements is None:
        return []
    imports, opening, run = statements(str(path), about)
    side, cut = about["image_size"], (1 - 1 / about["valid_resize"]) / 2  # `cut`: the share off each side
    repeat = f".repeat({about['batch_size']}, 0)" if about["batch_size"] else ""
    values = (["x = np.asarray(x)"] if about["pixels"] else
              [f"x = (np.float32(x) / 255 - np.float32({about['mean']})) / np.float32({about['std']})"])
    return [f"import json, numpy as np; from PIL import Image, ImageOps; {imports}", opening,
            'image = Image.open("IMAGE.jpg")',
            'if image.mode[0] == "I": image = Image.fromarray(np.uint8(np.asarray(image) >> 8))  # 16 bits',
            f'x = ImageOps.fit(image.convert("RGB"), ({side}, {side}), Image.BILINEAR, {cut:.6g})',
            *values,
            f"x = x.transpose(2, 0, 1)[None]{repeat}",
            f"{run}; print(classes[y[0].argmax()])"]


def put_predict(folder: Path) -> Optional[Path]:
    """Write predict.py, a program that classifies photographs with an ONNX file of `export`, beside it.

    Returns:
        Its path; None where another program of that name stands there, which stays.
    """
    text = (Path(__file__).parent / "predict_script.py").read_bytes()
    path = folder / "predict.py"
    if path.exists() and path.read_bytes().split(b"\n")[0] != text.split(b"\n")[0]:
        return None
    write_atomically(path, text)
    return path
