"""State dicts of once-for-all: its supernets, and the subnets that it calls specialised.

A state dict says which network it is by names and shapes. Elastic layers have their names twice
("conv.conv.weight"), the layers of a single network once; files from before November 2020 call a block's
body `mobile_inverted_conv`. All of these are read.

PyTorch multiplies a kernel by a matrix from the left, NNabla from the right: kernel matrices are transposed.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..errors import OfaError
from ..model import Network
from .once_for_all_shapes import WHOLE, mobile, resnet

# As torchvision's ImageNet transforms have it, on pixels from 0 to 1.
INFO: Dict[str, Any] = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "image_sizes": [224]}


# Names -------------------------------------------------------------------------------------------

_MODULES = (
    (r"first_conv", "first_conv"), (r"final_expand", "final_expand_layer"),
    (r"feature_mix", "feature_mix_layer"), (r"classifier", "classifier"),
    (r"blocks/(\d+)/expand", "blocks.{}.conv.inverted_bottleneck"),
    (r"blocks/(\d+)/depthwise", "blocks.{}.conv.depth_conv"),
    (r"blocks/(\d+)/se", "blocks.{}.conv.depth_conv.se.fc"),
    (r"blocks/(\d+)/project", "blocks.{}.conv.point_linear"),
    (r"stem/([02])", "input_stem.{}"), (r"stem/1", "input_stem.1.conv"),
    (r"stages/(\d+/\d+)/skip", "blocks.{}.downsample"), (r"stages/(\d+/\d+)/0", "blocks.{}.conv1"),
    (r"stages/(\d+/\d+)/1", "blocks.{}.conv2"), (r"stages/(\d+/\d+)/2", "blocks.{}.conv3"))
_FIXED = ("first_conv", "blocks/0/", "final_expand", "feature_mix")  # layers that no subnet has narrower
_KINDS = {"conv/W": "conv.weight", "depthwise/W": "conv.weight", "bn/gamma": "bn.weight",
          "bn/beta": "bn.bias", "bn/mean": "bn.running_mean", "bn/var": "bn.running_var",
          "affine/W": "linear.weight", "affine/b": "linear.bias", "reduce/W": "reduce.weight",
          "reduce/b": "reduce.bias", "expand/W": "expand.weight", "expand/b": "expand.bias"}


def keys(net: Network) -> Dict[str, str]:
    """Our arrays' names -> once-for-all's, of a supernet, or of a single network in the form of those."""
    elastic, places = not net.space.single(), _places(net)
    found = {}
    for name in net.declared():
        layer, *kind = name.rsplit("/", 2)
        module = next(text.format(*(places.get(g, g) for g in match.groups())) for pattern, text in _MODULES
                      for match in [re.fullmatch(pattern, layer)] if match)
        twice = elastic and not name.startswith(_FIXED) and (
            layer != "classifier" or net.config.family == "ofa_resnet50")
        what = _KINDS.get("/".join(kind)) or f"conv.{kind[1]}_matrix"
        if twice and what.split(".")[0] in ("conv", "bn", "linear") and not what.endswith("_matrix"):
            what = f"{what.split('.')[0]}.{what}"
        found[name] = f"{module}.{what}"
    return found


def _places(net: Network) -> Dict[str, str]:
    """{the place of a block among all: its place among those that the network has}; of the stem alike."""
    names = [name for name in net.declared() if name.endswith("/gamma")]
    blocks = dict.fromkeys(match[1] for name in names
                           for match in [re.match(r"(?:blocks|stages)/(\d+(?:/\d+)?(?=/(?:\d|s|e|p)))", name)]
                           if match)
    places = {place: str(i) for i, place in enumerate(blocks)}
    if net.config.family == "ofa_resnet50":
        places["0"], places["2"] = "0", "2" if "stem/1/bn/gamma" in names else "1"
    return places


def squeezed(key: str) -> str:
    """A key in the one form for all spellings."""
    key = key.replace(".mobile_inverted_conv.", ".conv.")
    return re.sub(r"\b(conv|bn|linear)(?:\.\1)+\b", r"\1", key)


# Writing -----------------------------------------------------------------------------------------

def to_once_for_all(net: Network) -> "OrderedDict[str, np.ndarray]":
    """The state dict of a network of these families. Raises OfaError for another one."""
    if net.config.family not in WHOLE:
        raise OfaError(f"once-for-all has no {net.config.family}: choose another format")
    arrays = net.arrays()
    return OrderedDict((key, _theirs(name, arrays[name])) for name, key in keys(net).items())


def _theirs(name: str, array: np.ndarray) -> np.ndarray:
    """An array as PyTorch has it."""
    if _is_matrix(name) or array.ndim == 2:
        return np.ascontiguousarray(array.T)
    return array.ravel() if "/bn/" in name else array


def _ours(name: str, array: np.ndarray, shape: Tuple[int, ...]) -> np.ndarray:
    """The inverse of `_theirs`; shape: as our array has it."""
    if _is_matrix(name) or len(shape) == 2:
        return array.T
    return array.reshape(1, -1, 1, 1) if "/bn/" in name and array.ndim == 1 else array


def _is_matrix(name: str) -> bool:
    return re.search(r"/\dto\d$", name) is not None


# Reading -----------------------------------------------------------------------------------------

def is_once_for_all(state: Mapping[str, np.ndarray]) -> bool:
    """Whether a state dict is of one of these families."""
    return any(key.startswith(("first_conv.", "input_stem.0.")) for key in state)


def from_once_for_all(state: Mapping[str, np.ndarray], block_strides: Optional[Sequence[int]] = None,
                      space: Optional[str] = None, **settings: Any) -> Network:
    """The network of a state dict: a supernet, or one of its subnets.

    Args:
        state: Arrays by once-for-all's names.
        block_strides: Of the blocks of a subnet, as its net.config has them; None: not known. Then stages
            are told apart by their widths.
        space: The search space of a supernet, where it is not the whole one of its family; or a subnet, where
            names and shapes do not say which one it is.
        settings: Fields of the configuration that names and shapes do not say.

    Raises:
        OfaError: It is not of these families, does not fit the arguments, or arrays are missing, unknown or
            misshapen.
    """
    given = {squeezed(key): np.asarray(array) for key, array in state.items()
             if not key.endswith("num_batches_tracked")}
    reader = resnet if "input_stem.0.conv.weight" in given else mobile
    try:
        config, own = reader(given, block_strides, space, settings)
    except KeyError as error:
        raise OfaError(f"the state dict lacks {error.args[0]}: it is no whole network of once-for-all"
                       ) from error
    except OfaError:
        raise
    except (IndexError, ValueError) as error:  # of a shape or a number in a name
        raise OfaError(f"the state dict has not the names and shapes of once-for-all ({error})") from error
    net = Network(config, own, info=dict(INFO))
    names = {name: squeezed(key) for name, key in keys(net).items()}
    declared = net.declared()
    left = given.keys() - set(names.values())
    if left:
        raise OfaError(f"the state dict has unknown {', '.join(sorted(left)[:3])}: it is not {config.family} "
                       f"of this width and space ({net.space})")
    net.set_arrays({name: _ours(name, given[key], declared[name].shape) for name, key in names.items()
                    if key in given}, "the state dict")
    return net
