"""Checkpoints of sony/nnabla-nas (its OFA-Xception), in and out.

nnabla-nas stores .h5 files with names of its own, and kernel matrices as float64; every value is read
through float32. Files that we write begin with a line of JSON that describes them (HDF5's user block).

The format has no place for `order`, where we keep which channel sorting has moved where. A supernet whose
channels were sorted therefore cannot be written, except at full depth, where there is no `order`. A
subnet that is taken out of it can.
"""

from __future__ import annotations

import io
import json
import re
from typing import Any, Callable, Dict, Mapping, Match, Optional, Sequence, Tuple

import h5py
import numpy as np

from ..errors import OfaError
from ..layers import Arrays
from ..model import AnyNetwork, Network
from ..nets import Space
from ..nets.elastic.xception import EXPANDS, WIDTHS, Block, Xception, inner_width
from ..system.container import read_hdf5
from ..system.files import Location, write_atomically
from .exchange import About, Logits

_SEPARABLE = {"depthwise/W": "dwconv/_W", "pointwise/W": "pointwise/_W"}
_ELASTIC = {"depthwise/W": "_depth_conv{n}/dwconv/conv/_W",
            "depthwise/7to5": "_depth_conv{n}/dwconv/7to5_matrix",
            "depthwise/5to3": "_depth_conv{n}/dwconv/5to3_matrix",
            "pointwise/W": "_point_linear{n}/ptconv/conv/_W"}

# (our layer and parameter, nnabla-nas's name of it); the first rule that matches serves.
_RULES: Tuple[Tuple[str, Callable[[Match[str]], str]], ...] = (
    (r"stem/(\d)/(conv|bn)/(\w+)",
     lambda m: f"{('first_conv', 'second_conv')[int(m[1])]}/{m[2]}/_{m[3]}"),
    (r"(entry|exit)/(\d)/skip/conv/W", lambda m: f"{m[1]}blocks/{m[2]}/_skip/_W"),
    (r"(entry|exit)/(\d)/skip/bn/(\w+)", lambda m: f"{m[1]}blocks/{m[2]}/_skipbn/_{m[3]}"),
    (r"(entry|exit)/(\d)/(\d)/bn/(\w+)",
     lambda m: f"{m[1]}blocks/{m[2]}/rep/sepconv{int(m[3]) + 1}/bn/_{m[4]}"),
    (r"(entry|exit)/(\d)/(\d)/(\w+/W)",
     lambda m: f"{m[1]}blocks/{m[2]}/rep/sepconv{int(m[3]) + 1}/{_SEPARABLE[m[4]]}"),
    (r"middle/(\d+)/(\d)/bn/(\w+)",
     lambda m: f"middleblocks/{m[1]}/_point_linear{int(m[2]) + 1}/bn/bn/_{m[3]}"),
    (r"middle/(\d+)/(\d)/(\w+/\w+)",
     lambda m: f"middleblocks/{m[1]}/" + _ELASTIC[m[3]].format(n=int(m[2]) + 1)),
    (r"exit/(\d)/bn/(\w+)", lambda m: f"expand_block{m[1]}/bn/_{m[2]}"),
    (r"exit/(\d)/(\w+/W)", lambda m: f"expand_block{m[1]}/{_SEPARABLE[m[2]]}"),
    (r"classifier/affine/(\w+)", lambda m: f"classifier/linear/_{m[1]}"),
)


def nnabla_nas_name(name: str) -> str:
    """nnabla-nas's name of one of our Xception parameters."""
    for pattern, rename in _RULES:
        match = re.fullmatch(pattern, name)
        if match:
            return rename(match)
    raise OfaError(f"parameter {name!r} has no name in nnabla-nas")


def load_nnabla_nas(path: Location, widths: Sequence[int], classes: int, **config: Any) -> Network:
    """The network of a checkpoint of OFA-Xception, strictly.

    What is stored says which space it is: with kernel matrices the whole one, else that of one subnet.

    Args:
        path: The checkpoint (.h5).
        widths: nnabla-nas's `base_stage_width`, 8 integers.
        classes: Its `num_classes`.
        config: Other fields of `Xception` that differ from the defaults.

    Raises:
        OfaError: An array is missing, unknown or misshapen; the message names it.
    """
    arrays = _read(path)
    blocks = len({name.split("/")[1] for name in arrays if name.startswith("middleblocks/")})
    if "middleblocks/0/_depth_conv1/dwconv/conv/_W" not in arrays:
        raise OfaError(f"{path} is not an OFA-Xception checkpoint of nnabla-nas: it has no "
                       "middleblocks/0/_depth_conv1/dwconv/conv/_W")
    elastic = "middleblocks/0/_depth_conv1/dwconv/5to3_matrix" in arrays
    own = Xception(classes=classes, widths=tuple(widths), middle_blocks=blocks, **config)
    space = (own.space("K357_E0.6+0.8+1_D123") if elastic else
             Space.of(own.arch(", ".join(str(_stored_block(arrays, i, path)) for i in range(blocks)))))
    net = Network(own, space)
    ours = {nnabla_nas_name(name): name for name in net.declared() if not name.endswith("/order")}
    found = {ours.get(name, name): array for name, array in arrays.items()}
    found.update({name: np.arange(p.shape[0], dtype=np.float32)
                  for name, p in net.declared().items() if name.endswith("/order")})
    net.set_arrays(found, str(path))
    return net


def _stored_block(arrays: Mapping[str, np.ndarray], index: int, path: Location) -> Block:
    """The one block that the arrays of a middle block without kernel matrices are."""
    prefix = f"middleblocks/{index}/"
    depth = sum(name.startswith(f"{prefix}_depth_conv") for name in arrays)
    names = [f"{prefix}{name}/conv/_W" for name in ("_depth_conv1/dwconv", "_point_linear1/ptconv")]
    shapes = [arrays[name].shape for name in names if name in arrays]
    if [len(shape) for shape in shapes] != [4, 4]:
        raise OfaError(f"{path} lacks the convolutions of {prefix}: it is no whole OFA-Xception")
    (width, _, _, kernel), (inner, _, _, _) = shapes
    expands = [e for e in EXPANDS if inner_width(width, e) == inner]
    return Block(kernel, max(expands, default=1.0), depth)


def save(net: AnyNetwork, path: Location, about: About, size: int, fold: bool = False,
         batch_size: Optional[int] = None) -> None:
    """See `exchange.Save`. The file has no graph: size, fold and batch_size say nothing here."""
    save_nnabla_nas(net, path, about)


def save_nnabla_nas(net: AnyNetwork, path: Location, about: Optional[About] = None) -> None:
    """Write a network as nnabla-nas would, atomically.

    Args:
        net: The network.
        path: The file.
        about: What its first line is to say; None: nothing.

    Raises:
        OfaError: The format cannot hold the network, or the disk refuses.
    """
    if net.config.family != "xception":
        raise OfaError(f"an nnabla-nas checkpoint holds the family xception, not {net.config.family}: "
                       "choose another format")
    arrays, declared = net.arrays(), net.declared()
    for name in [name for name in arrays if name.endswith("/order")]:
        if not np.array_equal(arrays[name], np.arange(len(arrays[name]))):
            raise OfaError(f"nnabla-nas cannot hold {name}: this network's channels were sorted; "
                           "export it before sorting, or extract a subnet")
        del arrays[name]
    header = json.dumps(about or {}, sort_keys=True).encode() + b"\n"
    block = 1 << max(9, len(header).bit_length())  # HDF5 wants a power of two from 512 on
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=block) as file:
        for index, (name, array) in enumerate(arrays.items()):
            dataset = file.create_dataset(nnabla_nas_name(name), data=array)
            dataset.attrs["index"] = index
            dataset.attrs["need_grad"] = declared[name].trained
    content = bytearray(buffer.getbuffer())
    content[:block] = header.ljust(block)
    write_atomically(path, content)


def loaded_logits(path: Location, about: About) -> Logits:
    """See `exchange.Load`."""
    return load_nnabla_nas(path, **_settings(about)).logits


def usage(path: str, about: About) -> Tuple[str, str, str]:
    """See `exchange.Usage`."""
    settings = ", ".join(f"{key}={value!r}" for key, value in _settings(about).items())
    return ("import nnabla_ofa as ofa",
            f"net = ofa.load({path!r}, {settings}); "
            f'classes = json.loads(open({path!r}, "rb").readline())["classes"]', "y = net.logits(x)")


def _settings(about: About) -> Dict[str, Any]:
    """What `load_nnabla_nas` must be told."""
    net = {key: value for key, value in about["net"].items() if key not in ("family", "middle_blocks")}
    return {"widths": WIDTHS, "classes": Xception().classes, **net}


def _read(path: Location) -> Arrays:
    try:
        return read_hdf5(path)
    except ValueError as error:
        raise OfaError(f"cannot read {path} as an nnabla-nas checkpoint (.h5): {error}") from error
