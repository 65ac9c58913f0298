"""The vocabulary of fixed networks on PyTorch, in the names of nnabla_ofa/layers/functional.py.

With it a definition of nnabla_ofa/nets/zoo/ builds the same network of PyTorch's functions (torch_nets.py).
The trunk is (N, C, H, W), in whatever memory format it comes. Arrays are stored as PyTorch's layers have
them, under our names. ReLU works in place where its input is new, as in torchvision.
"""

from __future__ import annotations

from typing import Mapping, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Sizes = Union[int, Tuple[int, int]]
KEYS = ("gamma", "beta", "mean", "var")  # of a BN's arrays


class Mode(nn.Module):
    """The arrays of a network by name, each made when it is first asked for.

    Args:
        bn_eps: What every BN adds to the variance.
    """

    def __init__(self, bn_eps: float = 1e-5):
        super().__init__()
        self.bn_eps = bn_eps

    def weight(self, name: str, *shape: int) -> Tensor:
        """A trained array with the initial values of He et al. (ICCV 2015), or zeros if it is a vector."""
        found = self._parameters.get(name)
        if found is None:
            value = torch.zeros(shape) if len(shape) == 1 else nn.init.kaiming_normal_(torch.empty(shape))
            self.register_parameter(name, nn.Parameter(value))
        return self._parameters[name]

    def matrix(self, name: str, size: int) -> Tensor:
        """A trained square matrix, at first the identity."""
        if name not in self._parameters:
            self.register_parameter(name, nn.Parameter(torch.eye(size)))
        return self._parameters[name]

    def bn(self, name: str, width: int) -> Tuple[Tensor, ...]:
        """Scale, shift, running mean and running variance of a BN; see KEYS."""
        if f"{name}/bn/gamma" not in self._parameters:
            for key, value in zip(KEYS, (torch.ones, torch.zeros, torch.zeros, torch.ones)):
                if key in ("gamma", "beta"):
                    self.register_parameter(f"{name}/bn/{key}", nn.Parameter(value(width)))
                else:
                    self.register_buffer(f"{name}/bn/{key}", value(width))
        return (*(self._parameters[f"{name}/bn/{key}"] for key in KEYS[:2]),
                *(self._buffers[f"{name}/bn/{key}"] for key in KEYS[2:]))

    def load(self, arrays: Mapping) -> None:
        """Take those of our arrays that this subnet uses; KeyError for one that is missing."""
        for name, value in self.state_dict().items():
            array = torch.from_numpy(arrays[name])
            value.copy_(array.T if name.endswith("affine/W") else array.reshape(value.shape))


def pair(sizes: Sizes) -> Tuple[int, int]:
    """(height, width) of one number or two."""
    return (sizes, sizes) if isinstance(sizes, int) else tuple(sizes)


def normalised(x: Tensor, name: str, mode: Mode, eps=None, full: int = 0) -> Tensor:
    """BN by the batch's statistics in training; full: its stored channels, of which the first ones serve."""
    width = x.shape[1]
    gamma, beta, mean, var = (array if width == (full or width) else array[:width]
                              for array in mode.bn(name, full or width))
    return F.batch_norm(x, mean, var, gamma, beta, mode.training, 0.1, mode.bn_eps if eps is None else eps)


ACTIVATIONS = {"none": lambda x: x, "relu": F.relu, "relu6": F.relu6, "sigmoid": torch.sigmoid,
               "hard_sigmoid": F.hardsigmoid, "swish": F.silu, "hard_swish": F.hardswish, "gelu": F.gelu}
IN_PLACE = {"relu": torch.relu_, "relu6": lambda x: F.relu6(x, inplace=True)}


def activate(x: Tensor, name: str) -> Tensor:
    """The function of this name."""
    return ACTIVATIONS[name](x)


def finish(x: Tensor, act: str, residual=None) -> Tensor:
    """[+ residual, activation] of an array that nothing else reads."""
    x = x if residual is None else x + residual
    return IN_PLACE.get(act, ACTIVATIONS[act])(x)


# As in nnabla_ofa/layers/functional.py -------------------------------------------------------------

def conv(x, name, width, kernel, mode, stride=1, pad=None, groups=1, bias=False, bn=True, act="relu",
         residual=None, eps=None, scores=False, init="he"):
    kernel = pair(kernel)
    weight = mode.weight(f"{name}/conv/W", width, x.shape[1] // groups, *kernel)
    y = F.conv2d(x, weight, mode.weight(f"{name}/conv/b", width) if bias else None, stride,
                 (kernel[0] // 2, kernel[1] // 2) if pad is None else pad, groups=groups)
    return finish(normalised(y, name, mode, eps) if bn else y, act, residual)


def batch_norm(x, name, mode, act="relu", eps=None, decay=None):
    return finish(normalised(x, name, mode, eps), act)


def dense(x, name, width, mode, bias=True, act="none", scores=False):
    weight = mode.weight(f"{name}/affine/W", width, x.shape[-1])
    return finish(F.linear(x, weight, mode.weight(f"{name}/affine/b", width) if bias else None), act)


def classifier(x, name, classes, mode, dropout=0.0):
    return dense(F.dropout(global_mean(x, mode), dropout, mode.training), name, classes, mode)


def squeeze_excite(x, name, width, mode, act="relu"):
    gate = conv(global_mean(x, mode, keep=True), f"{name}/0", width, 1, mode, bias=True, bn=False, act=act)
    return x * conv(gate, f"{name}/1", x.shape[1], 1, mode, bias=True, bn=False, act="sigmoid")


def idle(layer, mode):
    """Layers that are stored and never computed are left out here."""


def Conv(*args, **fields):  # noqa: N802 (the class of layers/conv.py, which `idle` takes)
    """Nothing: see `idle`."""


def channels(x, mode):
    return x.shape[1]


def sides(x, mode):
    return x.shape[2], x.shape[3]


def concat(*parts, mode):
    return torch.cat(parts, 1)


def split(x, widths, mode):
    return torch.split(x, list(widths), 1)


def shuffle(x, groups, mode):
    return F.channel_shuffle(x, groups)


def scale(x, factors, mode):
    return x * (factors[:, :, None, None] if factors.ndim == 2 else factors)


def max_pool(x, kernel, mode, stride=2, pad=0):
    return F.max_pool2d(x, kernel, stride, pad)


def average_pool(x, kernel, mode, stride=2, pad=0):
    return F.avg_pool2d(x, kernel, stride, pad)


def global_mean(x, mode, keep=False):
    return x.mean((2, 3), keepdim=keep)


def flatten(x, mode):
    return x.flatten(1)


def dropout(x, name, rate, mode, whole=False):
    return (F.dropout2d if whole else F.dropout)(x, rate, mode.training)


def drop_path(x, name, rate, mode):
    """Rates of networks measured here are 0."""
    if rate:
        raise NotImplementedError("drop_path")
    return x
