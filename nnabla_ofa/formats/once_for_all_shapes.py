"""What the arrays of a state dict of once-for-all say by their names and shapes: configuration and subnet."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Sequence, Tuple, Type, TypeVar, Union

import numpy as np

from ..errors import OfaError
from ..nets import ElasticConfig, MobileNetV3, OfaResNet50, ProxylessNAS, Space
from ..nets.arch import Arch
from ..nets.elastic import resnet50
from ..nets.elastic.bottlenecks import LEAST, MORE, RATIOS, WIDTHS
from ..nets.elastic.mbconv import EXPANDS, LONGEST, Unit, inner_width
from ..nets.elastic.widths import make_divisible

Mobile = Union[MobileNetV3, ProxylessNAS]
C = TypeVar("C", bound=ElasticConfig)
WHOLE = {"mobilenetv3": "K357_E346_D234", "proxylessnas": "K357_E346_D234",
         "ofa_resnet50": "D012_E0.2+0.25+0.35_W0.65+0.8+1"}


def _configured(kind: Type[C], found: Mapping[str, Any], settings: Mapping[str, Any]) -> C:
    """A configuration of what a state dict says and of further settings, which must not contradict it."""
    for name, value in settings.items():
        if name not in kind.__dataclass_fields__:
            raise OfaError(f"{name} is no setting of this family: choose from "
                           f"{', '.join(kind.__dataclass_fields__)}")
        if name == "classes" and value != found[name]:
            raise OfaError(f"the state dict has {found[name]} classes, not {value}")
    return kind(**{**settings, **found})


def mobile(given: Mapping[str, np.ndarray], block_strides: Optional[Sequence[int]], space: Optional[str],
            settings: Mapping[str, Any]) -> Tuple[ElasticConfig, Space]:
    """Configuration and space of a state dict of inverted residual blocks; see `from_once_for_all`."""
    proxyless = "feature_mix_layer.bn.weight" in given
    kind: Type[Mobile] = ProxylessNAS if proxyless else MobileNetV3
    count = 1 + max(int(key.split(".")[1]) for key in given if key.startswith("blocks."))
    shapes = [_block_shape(given, i) for i in range(1, count)]
    outer, last = [[given[f"{layer}.conv.weight"].shape[0] for layer in layers] for layers in
                   (("first_conv", "blocks.0.conv.point_linear"), ("feature_mix_layer",))]
    width = _width_mult(kind.BASES, [*outer, *sorted({shape.w_out for shape in shapes}), *last],
                        settings.get("width_mult"))
    config = _configured(kind, {"classes": given["classifier.linear.weight"].shape[0], "width_mult": width},
                         settings)
    if space:
        return config, config.space(space)
    if any(key.endswith("5to3_matrix") for key in given):
        return config, config.space(WHOLE[config.family])
    arch = _mobile_arch(shapes, config.widths()[2:2 + len(config.strides)], config.strides, block_strides)
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


def _width_mult(bases: Sequence[int], found: Sequence[int], wanted: Optional[float] = None) -> float:
    """The factor of all widths: the wanted one, or that of fewest digits that gives those of a state dict.

    Args:
        bases: The family's widths at factor 1.
        found: Of the state dict: its first two widths, those of its stages, its last one.
        wanted: What the caller says; None: nothing.
    """
    def fits(factor: float) -> bool:
        widths = [make_divisible(base * factor) for base in bases]
        return widths[:2] == [*found[:2]] and widths[-1] == found[-1] and set(found[2:-1]) <= set(widths)

    if wanted is not None and fits(wanted):
        return wanted
    factor = next(filter(fits, (round(i / parts, 2) for parts in (20, 100) for i in range(1, 8 * parts + 1))),
                  None)
    if wanted is not None and factor is not None:
        raise OfaError(f"the state dict has width_mult={factor:g}, not {wanted}: leave it out")
    if factor is None:
        more = f", so not of {wanted}" if wanted is not None else ": give the one of its training"
        raise OfaError(f"the widths {', '.join(map(str, found))} of the state dict are those of no "
                       f"width_mult{more}")
    return factor


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
    if len(shapes) == LONGEST * 5 + len(widths) - 5:  # no block is absent
        return Arch(tuple(Unit(shape.kernel, shape.ratio, 2 <= place % LONGEST and place < LONGEST * 5)
                          for place, shape in enumerate(shapes)))
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


def resnet(given: Mapping[str, np.ndarray], block_strides: Optional[Sequence[int]], space: Optional[str],
            settings: Mapping[str, Any]) -> Tuple[ElasticConfig, Space]:
    """Configuration and space of a state dict of bottlenecks; each stage's first block has a shortcut.

    See `from_once_for_all`; block_strides say nothing here.
    """
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
    if len(starts) != len(LEAST):
        raise OfaError(f"the state dict has {len(starts)} stages, not {len(LEAST)}")
    whole = (count == sum(LEAST) + MORE * len(LEAST) and residual and
             all(m == make_divisible(round(o * RATIOS[-1])) for m, o in zip(inner, outs))
             and stem == resnet50.STEM)
    factors = [_factor(base, width) for base, width in zip(resnet50.STAGE_WIDTHS, widths)]
    own = {} if all(factors) and not whole or "stage_widths" in settings else {"stage_widths": widths}
    config = _configured(OfaResNet50, {"classes": classes, **own}, settings)
    if space:
        return config, config.space(space)
    if whole:
        return config, config.space(WHOLE[config.family])
    words = [f"{_stem_factor(mid, 2):g}{'+' if residual else '-'}", f"{_stem_factor(stem, 1):g}"]
    for stage, (start, end, least) in enumerate(zip(starts, ends, LEAST)):
        words.append(f"{1.0 if own else factors[stage]:g}")
        ratios = [_ratio(inner[i], outs[i]) for i in range(start, end)]
        words += [f"{ratio:g}" for ratio in ratios] + ["-"] * (least + MORE - len(ratios))
    return config, Space.of(config.arch(" ".join(words)))


def _factor(base: int, width: int) -> float:
    """The factor of a width, 0 where none gives it."""
    return next((f for f in reversed(WIDTHS) if make_divisible(base * f) == width), 0.0)


def _stem_factor(width: int, part: int) -> float:
    """The factor of the stem's width, of which it is a part; OfaError where none gives it."""
    for factor in reversed(WIDTHS):
        if make_divisible(make_divisible(resnet50.STEM * factor) // part) == width:
            return factor
    raise OfaError(f"the stem has {width} channels, which no factor of {WIDTHS} gives")


def _ratio(inner: int, out: int) -> float:
    for ratio in RATIOS:
        if make_divisible(round(out * ratio)) == inner:
            return ratio
    raise OfaError(f"a block has {inner} channels within {out}, which is no ratio of {RATIOS}")
