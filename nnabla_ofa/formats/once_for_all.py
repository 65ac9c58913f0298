"""State dicts of once-for-all: its supernets, and the subnets that it calls specialised.

A state dict says which network it is by names and shapes. Elastic layers have their names twice
("conv.conv.weight"), the layers of a single network once; files from before November 2020 call a block's
body `mobile_inverted_conv`. All of these are read.

PyTorch multiplies a kernel by a matrix from the left, NNabla from the right: kernel matrices are transposed.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type, Union

import numpy as np

from ..errors import OfaError
from ..model import Network
from ..nets import ElasticConfig, MobileNetV3, OfaResNet50, ProxylessNAS, Space
from ..nets.arch import Arch
from ..nets.elastic import mobilenetv3, proxylessnas, resnet50
from ..nets.elastic.mbconv import EXPANDS, LONGEST, Unit, inner_width
from ..nets.elastic.widths import make_divisible

StateDict = "OrderedDict[str, np.ndarray]"
Mobile = Union[MobileNetV3, ProxylessNAS]
# As torchvision's ImageNet transforms have it, on pixels from 0 to 1.
INFO: Dict[str, Any] = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "image_sizes": [224]}
WHOLE = {"mobilenetv3": "K357_E346_D234", "proxylessnas": "K357_E346_D234",
         "ofa_resnet50": "D012_E0.2+0.25+0.35_W0.65+0.8+1"}


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
    return array.reshape(1, -1, 1, 1) if "/bn/" in name else array


def _is_matrix(name: str) -> bool:
    return re.search(r"/\dto\d$", name) is not None


# Reading -----------------------------------------------------------------------------------------

def is_once_for_all(state: Mapping[str, np.ndarray]) -> bool:
    """Whether a state dict is of one of these families."""
    return any(key.startswith(("first_conv.", "input_stem.0.")) for key in state)


def from_once_for_all(state: Mapping[str, np.ndarray], strides: Optional[Sequence[int]] = None,
                      space: Optional[str] = None, **settings: Any) -> Network:
    """The network of a state dict: a supernet, or one of its subnets.

    Args:
        state: Arrays by once-for-all's names.
        strides: Of the blocks of a subnet, as its net.config has them; None: not known. Then stages are
            told apart by their widths.
        space: The search space of a supernet, where it is not the whole one of its family.
        settings: Fields of the configuration, in place of those that names and shapes say.

    Raises:
        OfaError: It is not of these families, or arrays are missing, unknown or misshapen.
    """
    given = {squeezed(key): np.asarray(array) for key, array in state.items()
             if not key.endswith("num_batches_tracked")}
    reader = _resnet if "input_stem.0.conv.weight" in given else _mobile
    try:
        config, own = reader(given, strides, settings)
    except KeyError as error:
        raise OfaError(f"the state dict lacks {error.args[0]}: it is no whole network of once-for-all"
                       ) from error
    net = Network(config, config.space(space) if space else own, info=dict(INFO))
    names = {name: squeezed(key) for name, key in keys(net).items()}
    declared = net.declared()
    left = given.keys() - set(names.values())
    if left:
        raise OfaError(f"the state dict has unknown {', '.join(sorted(left)[:3])}: it is not {config.family} "
                       f"of this width and space ({net.space})")
    net.set_arrays({name: _ours(name, given[key], declared[name].shape) for name, key in names.items()
                    if key in given}, "the state dict")
    return net


def _mobile(given: Mapping[str, np.ndarray], strides: Optional[Sequence[int]], settings: Dict[str, Any]
            ) -> Tuple[ElasticConfig, Space]:
    """Configuration and space of a state dict of inverted residual blocks."""
    proxyless = "feature_mix_layer.bn.weight" in given
    kind: Type[Mobile] = ProxylessNAS if proxyless else MobileNetV3
    family = proxylessnas if proxyless else mobilenetv3
    count = 1 + max(int(key.split(".")[1]) for key in given if key.startswith("blocks."))
    shapes = [_block_shape(given, i) for i in range(1, count)]
    outer, last = [[given[f"{layer}.conv.weight"].shape[0] for layer in layers] for layers in
                   (("first_conv", "blocks.0.conv.point_linear"), ("feature_mix_layer",))]
    width = settings.pop("width_mult", None) or _width_mult(
        family.WIDTHS, outer, sorted({shape.w_out for shape in shapes}), last)
    config = kind(classes=given["classifier.linear.weight"].shape[0], width_mult=width, **settings)
    if count == 1 + family.BLOCKS:
        elastic = any(key.endswith("5to3_matrix") for key in given)
        return config, config.space(WHOLE[config.family] if elastic else "K7_E6_D4")
    widths = [make_divisible(base * width) for base in family.WIDTHS]
    arch = _mobile_arch(shapes, widths[2:2 + family.STAGES], config.strides, strides)
    return config, Space.of(arch)


class _Shape:
    """Channels, kernel and ratio of an inverted residual block, from its arrays."""

    def __init__(self, w_in: int, inner: int, kernel: int, w_out: int):
        self.w_in, self.w_out, self.kernel = w_in, w_out, kernel
        ratios = [e for e in EXPANDS if inner_width(w_in, e) == inner]
        if not ratios:
            raise OfaError(f"a block widens {w_in} channels to {inner}, which is no ratio of {EXPANDS}")
        self.ratio = ratios[-1]


def _block_shape(given: Mapping[str, np.ndarray], place: int) -> _Shape:
    base = f"blocks.{place}.conv"
    inner, w_in = given[f"{base}.inverted_bottleneck.conv.weight"].shape[:2]
    return _Shape(w_in, inner, given[f"{base}.depth_conv.conv.weight"].shape[-1],
                  given[f"{base}.point_linear.conv.weight"].shape[0])


def _width_mult(bases: Sequence[int], first: Sequence[int], stages: Sequence[int], last: Sequence[int]
                ) -> float:
    """The factor of all widths, the one of fewest digits that gives those of the state dict."""
    for factor in (*(i / 20 for i in range(1, 161)), *(i / 100 for i in range(1, 801))):
        widths = [make_divisible(base * factor) for base in bases]
        if widths[:2] == list(first) and widths[-1:] == list(last) and set(stages) <= set(widths):
            return round(factor, 2)
    raise OfaError(f"the widths {[*first, *stages, *last]} of the state dict are those of no width_mult: "
                   "give the one that it was made with")


def _mobile_arch(shapes: Sequence[_Shape], widths: Sequence[int], own: Sequence[int],
                 strides: Optional[Sequence[int]]) -> Arch:
    """The subnet of blocks in a row.

    Args:
        shapes: Of the blocks.
        widths: Of the stages' outputs.
        own: The stages' strides, as the family has them.
        strides: The blocks', where they are known.

    Stages of equal widths and stride 1 run into each other: any division of them is the same network.
    """
    units: List[Unit] = []
    at = 0
    for stage, width in enumerate(widths):
        longest = LONGEST if stage < 5 else 1
        run = 1
        while (at + run < len(shapes) and shapes[at + run].w_in == shapes[at + run].w_out == width
               and (strides is None or strides[at + run] == 1)):
            run += 1
        merged = stage + 1 < len(widths) and widths[stage + 1] == width
        if merged and strides is None and own[stage + 1] == 2:
            raise OfaError("stages of equal widths cannot be told apart: give the net.config of this subnet")
        if merged and own[stage + 1] == 1:
            run = min(longest, run - (2 if stage + 1 < 5 else 1))
        shortest = 2 if stage < 5 else 1
        if at >= len(shapes) or shapes[at].w_out != width or not shortest <= run <= longest:
            raise OfaError(f"stage {stage + 1} of the subnet has {max(run, 0)} blocks of {width} channels, "
                           f"not {shortest} to {longest}")
        for number in range(longest):
            optional = stage < 5 and number >= 2
            there = shapes[at + number] if number < run else None
            units.append(Unit(there.kernel, there.ratio, optional) if there else Unit(0, 0, True))
        at += run
    if at != len(shapes):
        raise OfaError(f"the subnet has {len(shapes) - at} blocks beyond its last stage")
    return Arch(tuple(units))


def _resnet(given: Mapping[str, np.ndarray], strides: Optional[Sequence[int]], settings: Dict[str, Any]
            ) -> Tuple[ElasticConfig, Space]:
    """Configuration and space of a state dict of bottlenecks; each stage's first block has a shortcut."""
    count = 1 + max(int(key.split(".")[1]) for key in given if key.startswith("blocks."))
    outs = [given[f"blocks.{i}.conv3.conv.weight"].shape[0] for i in range(count)]
    inner = [given[f"blocks.{i}.conv1.conv.weight"].shape[0] for i in range(count)]
    starts = [i for i in range(count) if f"blocks.{i}.downsample.conv.weight" in given]
    classes = given["classifier.linear.weight"].shape[0]
    ends = [*starts[1:], count]
    widths = tuple(outs[i] for i in starts)
    residual = "input_stem.2.conv.weight" in given
    stem = given[f"input_stem.{2 if residual else 1}.conv.weight"].shape[0]
    mid = given["input_stem.0.conv.weight"].shape[0]
    if len(starts) != len(resnet50.LEAST):
        raise OfaError(f"the state dict has {len(starts)} stages, not {len(resnet50.LEAST)}")
    whole = (count == sum(resnet50.LEAST) + resnet50.MORE * len(resnet50.LEAST) and residual and
             all(m == make_divisible(round(o * resnet50.RATIOS[-1])) for m, o in zip(inner, outs))
             and stem == resnet50.STEM)
    factors = [_factor(base, width) for base, width in zip(resnet50.STAGE_WIDTHS, widths)]
    own = {} if all(factors) and not whole else {"stage_widths": widths}
    config = OfaResNet50(**{"classes": classes, **own, **settings})
    if whole:
        return config, config.space(WHOLE[config.family])
    words = [f"{_stem_factor(mid, 2):g}{'+' if residual else '-'}", f"{_stem_factor(stem, 1):g}"]
    for stage, (start, end, least) in enumerate(zip(starts, ends, resnet50.LEAST)):
        words.append(f"{1.0 if own else factors[stage]:g}")
        ratios = [_ratio(inner[i], outs[i]) for i in range(start, end)]
        words += [f"{ratio:g}" for ratio in ratios] + ["-"] * (least + resnet50.MORE - len(ratios))
    return config, Space.of(config.arch(" ".join(words)))


def _factor(base: int, width: int) -> float:
    """The factor of a width, 0 where none gives it."""
    return next((f for f in reversed(resnet50.WIDTHS) if make_divisible(base * f) == width), 0.0)


def _stem_factor(width: int, part: int) -> float:
    """The factor of the stem's width, of which it is a part; OfaError where none gives it."""
    for factor in reversed(resnet50.WIDTHS):
        if make_divisible(make_divisible(resnet50.STEM * factor) // part) == width:
            return factor
    raise OfaError(f"the stem has {width} channels, which no factor of {resnet50.WIDTHS} gives")


def _ratio(inner: int, out: int) -> float:
    for ratio in resnet50.RATIOS:
        if make_divisible(round(out * ratio)) == inner:
            return ratio
    raise OfaError(f"a block has {inner} channels within {out}, which is no ratio of {resnet50.RATIOS}")
