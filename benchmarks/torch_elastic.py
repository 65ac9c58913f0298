"""Layers of elastic families on PyTorch: what the classes of nnabla_ofa/layers compute.

A layer comes as the plain values of its fields, as `jobs.plain` gives them. Weights are stored at full width
and sliced where a subnet is narrower, as elastic networks on PyTorch do.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Sequence

import torch.nn.functional as F
from torch import Tensor
from torch_layers import Mode, activate, finish, normalised


def layer_of(fields: dict) -> SimpleNamespace:
    """A layer, and those inside it, with its fields as attributes."""
    def value(field):
        if isinstance(field, dict):
            return layer_of(field)
        return [value(one) for one in field] if isinstance(field, list) else field
    return SimpleNamespace(**{name: value(field) for name, field in fields.items()})


def in_a_row(layers: Sequence[SimpleNamespace], x: Tensor, mode: Mode) -> Tensor:
    """Layers one after the other."""
    for layer in layers:
        x = LAYERS[layer.type](layer, x, mode)
    return x


def active(weight: Tensor, *widths: int) -> Tensor:
    """The first channels in each of the first axes; the array itself where all are active."""
    for axis, width in enumerate(widths):
        if weight.shape[axis] != width:
            weight = weight.narrow(axis, 0, width)
    return weight


def kernel_of(layer: SimpleNamespace, width: int, full: int, mode: Mode) -> Tensor:
    """A depthwise kernel in use: the centre of the next larger one, times a matrix, step by step."""
    largest = layer.kernels[-1]
    weight = active(mode.weight(f"{layer.name}/depthwise/W", full, 1, largest, largest), width)
    steps = [k for k in reversed(layer.kernels) if k >= layer.kernel]
    for large, small in zip(steps, steps[1:]):
        edge = (large - small) // 2
        centre = weight[:, :, edge:edge + small, edge:edge + small].reshape(width, small ** 2)
        matrix = mode.matrix(f"{layer.name}/depthwise/{large}to{small}", small ** 2)
        weight = (centre @ matrix).reshape(width, 1, small, small)
    return weight


def conv_bn(layer, x, mode, residual=None):
    if layer.mean_pool > 1:
        x = F.avg_pool2d(x, 2, 2, ceil_mode=True)
    weight = mode.weight(f"{layer.name}/conv/W", layer.full_out, layer.full_in, layer.kernel, layer.kernel)
    y = F.conv2d(x, active(weight, layer.w_out, layer.w_in), None, layer.stride, layer.kernel // 2)
    y = normalised(y, layer.name, mode, full=layer.full_out)
    return finish(y, "relu" if layer.relu_out else layer.activation, residual)


def separable(layer, x, mode, residual=None):
    kernel = kernel_of(layer, layer.w_in, layer.full_in, mode)
    y = F.conv2d(F.relu(x) if layer.relu_in else x, kernel, None, 1, layer.kernel // 2, groups=layer.w_in)
    weight = mode.weight(f"{layer.name}/pointwise/W", layer.full_out, layer.full_in, 1, 1)
    y = F.conv2d(y, active(weight, layer.w_out, layer.w_in))
    y = normalised(y, layer.name, mode, full=layer.full_out)
    return finish(y, "relu" if layer.relu_out else "none", residual)


def depthwise(layer, x, mode):
    y = F.conv2d(x, kernel_of(layer, layer.width, layer.full, mode), None, layer.stride, layer.kernel // 2,
                 groups=layer.width)
    return finish(normalised(y, layer.name, mode, full=layer.full), layer.activation)


def squeeze_excite(layer, x, mode):
    width, units, full, most = layer.width, layer.units, layer.full_width, layer.full_units
    name = layer.name
    y = F.conv2d(x.mean((2, 3), keepdim=True), active(mode.weight(f"{name}/reduce/W", most, full, 1, 1),
                                                      units, width),
                 active(mode.weight(f"{name}/reduce/b", most), units))
    y = F.conv2d(finish(y, "relu"), active(mode.weight(f"{name}/expand/W", full, most, 1, 1), width, units),
                 active(mode.weight(f"{name}/expand/b", full), width))
    return x * F.hardsigmoid(y)


def residual(layer, x, mode):
    if layer.shortcut == "none":
        return in_a_row(layer.units, x, mode)
    shortcut = conv_bn(layer.skip, x, mode) if layer.skip else x
    y, last = in_a_row(layer.units[:-1], x, mode), layer.units[-1]
    if layer.pool:
        return F.max_pool2d(LAYERS[last.type](last, y, mode), 3, 2, 1) + shortcut
    if layer.shortcut == "after":
        return LAYERS[last.type](last, y, mode) + shortcut
    return LAYERS[last.type](last, y, mode, shortcut)


def feature_mix(layer, x, mode):
    weight = mode.weight(f"{layer.name}/conv/W", layer.w_out, layer.w_in, 1, 1)
    return activate(F.conv2d(x.mean((2, 3), keepdim=True), weight), layer.activation)


def linear(layer, x, mode):
    weight = mode.weight(f"{layer.name}/affine/W", layer.classes, layer.full_in)
    y = F.dropout(x.mean((2, 3)), layer.dropout, mode.training)
    return F.linear(y, weight[:, :layer.w_in], mode.weight(f"{layer.name}/affine/b", layer.classes))


LAYERS = {"ConvBn": conv_bn, "Separable": separable, "Depthwise": depthwise, "SqueezeExcite": squeeze_excite,
          "Residual": residual, "FeatureMix": feature_mix, "Linear": linear,
          "MaxPool": lambda layer, x, mode: F.max_pool2d(x, 3, 2, 1), "Absent": lambda layer, x, mode: x}
