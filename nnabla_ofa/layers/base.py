"""What all layers share: how a graph is built, what a stored array is, what a layer costs.

`Layer` is what the rest of the project knows of a layer. `stored` gives a layer its variables.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Protocol, Sequence, Tuple, Union

import nnabla as nn
import nnabla.functions as F
import numpy as np
from nnabla.parameter import get_current_parameter_scope, get_parameter_or_create

from .. import kernels
from ..errors import OfaError

Arrays = Dict[str, np.ndarray]
Statistics = Dict[str, Tuple[nn.Variable, nn.Variable]]  # BN's name -> mean, biased variance of a batch
Index = Union[slice, np.ndarray]                         # of the channels in use
Noise = Callable[[str, Tuple[int, ...]], np.ndarray]     # (purpose, shape) -> uniform in [0, 1), float64


@dataclass(frozen=True)
class Mode:
    """How a graph is built.

    Args:
        batch_stat: BN normalises by the batch's statistics (training, calibration), else by stored
            ones. Then the graph has no gradient, and a fast one reads the weights once, when it is
            built.
        track: With batch_stat, running statistics follow the batches (one-arch networks only).
        fast: The fused CPU functions, channel-major (C, H, W, N) between images and global mean.
        bn_eps: What BN adds to the variance.
        bn_decay: Of the running statistics, with track.
        folded: Convolutions have a bias `b` that stands for their BN; not with fast.
        random: Draws the noise of dropout and the like. None: the network computes without noise.
        statistics: Where given, receives the mean and variance of the batch before each BN.
        trace: Where given, receives each layer of a fixed network as its graph is built.
    """

    batch_stat: bool
    track: bool = False
    fast: bool = False
    bn_eps: float = 1e-5
    bn_decay: float = 0.9
    folded: bool = False
    random: Optional[Noise] = None
    statistics: Optional[Statistics] = None
    trace: Optional[List["Owner"]] = None


def fast_by_default() -> bool:
    """Whether the fused functions can serve: the default context is the CPU and they compiled."""
    return on_cpu() and kernels.unavailable_reason() is None


def on_cpu() -> bool:
    """Whether NNabla's current context computes on the CPU."""
    return all(backend.startswith("cpu") for backend in nn.get_current_context().backend)


# Stored arrays ---------------------------------------------------------------------------------

class Parameter(NamedTuple):
    """Declaration of one stored array.

    Args:
        shape: As it is stored, at full width.
        init: "he", "small", "ones", "zeros", "identity" or "range".
        role: "weight" (trained), "mean" or "variance" (the statistics of a BN), or "order" (where
            sorting has moved each channel).
        decay: Whether weight decay shrinks it.
        scores: Which of its axes are the classes; None: none is.
        used: Whether the network computes with it. Some networks of the zoo store layers that they never
            run, as their originals do.
    """

    shape: Tuple[int, ...]
    init: str
    role: str = "weight"
    decay: bool = False
    scores: Optional[int] = None
    used: bool = True

    @property
    def trained(self) -> bool:
        """Whether training moves it."""
        return self.role == "weight" and self.used

    @property
    def statistic(self) -> bool:
        """Whether it is a statistic of a BN."""
        return self.role in ("mean", "variance") and self.used

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return int(np.prod(self.shape))


def initial_value(parameter: Parameter, rng: np.random.Generator) -> np.ndarray:
    """A float32 array for a new parameter.

    "he" is the normal of He et al. (ICCV 2015), fan in; "small" one with a standard deviation of 0.02, as
    transformers have it (Devlin et al., BERT, NAACL 2019).
    """
    shape = parameter.shape
    if parameter.init == "small":
        return (0.02 * rng.standard_normal(shape)).astype(np.float32)
    if parameter.init == "he":
        fan_in = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
        return (rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)).astype(np.float32)
    make: Dict[str, Callable[[Tuple[int, ...]], np.ndarray]] = {
        "ones": np.ones, "zeros": np.zeros, "identity": lambda s: np.eye(s[0]),
        "range": lambda s: np.arange(s[0])}
    return make[parameter.init](shape).astype(np.float32)


def generator_of(name: str, seed: int) -> np.random.Generator:
    """The generator of a new array: its values depend on its name and the seed, not on any order."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def stored(name: str, declared: Callable[[], Parameter]) -> nn.Variable:
    """The variable of this name in the current parameter scope, created at first use (seed 0)."""
    node = get_current_parameter_scope()  # nested by "/"; walking it takes a tenth of NNabla's time
    for part in name.split("/"):
        node = node.get(part)
        if node is None:
            break
    else:
        return node
    parameter = declared()
    return get_parameter_or_create(name, parameter.shape,
                                   lambda shape: initial_value(parameter, generator_of(name, 0)),
                                   need_grad=parameter.trained)


def read(variable: nn.Variable, mode: Optional[Mode]) -> nn.Variable:
    """A weight as a graph reads it: without a gradient where the fused functions evaluate; they have none."""
    if mode is None or mode.batch_stat or not mode.fast:
        return variable
    return variable.get_unlinked_variable(need_grad=False)


# Layers ------------------------------------------------------------------------------------------

class Cost(NamedTuple):
    """Trainable parameters, BN statistics, multiply-adds and convolution outputs of one image.

    MACs are those of convolutions and affine layers; activations are the elements of their outputs
    (the conventions of pycls, Radosavovic et al., CVPR 2020).
    """

    parameters: int = 0
    statistics: int = 0
    macs: int = 0
    activations: int = 0

    def __add__(self, other: "Cost") -> "Cost":  # type: ignore[override]
        return Cost(*(a + b for a, b in zip(self, other)))


class Layer(Protocol):
    """A frozen value: one layer of one subnet over weights that several subnets may share."""

    def __hash__(self) -> int:
        """A hash, the same for equal layers."""

    def parameters(self) -> Dict[str, Parameter]:
        """The stored arrays by name, in full shape."""

    def build(self, x: nn.Variable, mode: Mode) -> nn.Variable:
        """The graph on trunk input `x`."""

    def cost(self, side: int) -> Tuple[Cost, int]:
        """Cost on square input of `side` pixels, and the side of the output."""

    def parts(self) -> Sequence["Part"]:
        """The layers in it that own parameters and that this subnet uses."""

    def parts_on(self, side: int) -> Sequence[Tuple["Part", int]]:
        """The parts in the order of their work, each with the side of its input in pixels."""

    def stored_parts(self) -> Sequence["Part"]:
        """The same and those that only other subnets of the space use."""


class Owner(Protocol):
    """What owns parameters: the layers of fixed networks, and the parts of elastic ones."""

    @property
    def name(self) -> str:
        """What the names of its arrays begin with."""

    def __hash__(self) -> int:
        """A hash, the same for equal layers."""

    def parameters(self) -> Dict[str, Parameter]:
        """The stored arrays by name, in full shape."""

    def fold(self, arrays: Mapping[str, np.ndarray], eps: float) -> Arrays:
        """The arrays of a stand-alone layer with a bias in place of its BN."""


class Part(Layer, Owner, Protocol):
    """A layer that owns parameters: itself its only part. Elastic."""

    @property
    def w_in(self) -> int:
        """Active channels of its input."""

    @property
    def w_out(self) -> int:
        """Active channels of its output."""

    @property
    def reads(self) -> str:
        """Name of the elastic channels that it takes; "" for fixed ones.

        Layers that read or write the same channels have them in the same order.
        """

    @property
    def writes(self) -> str:
        """Name of the elastic channels that it gives; "" for fixed ones."""

    @property
    def segments(self) -> Tuple[int, ...]:
        """The output widths that subnets of the space use, ascending; () where there is no choice."""

    def slice(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """The arrays of the stand-alone layer, out of the stored ones."""

    def active_rows(self, arrays: Mapping[str, np.ndarray]) -> Index:
        """Index of the stored output channels in use, in the order of the output."""

    def importance(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """(full_in,) L1 norm of the weights that read each channel."""

    def permute_inputs(self, arrays: Arrays, order: np.ndarray) -> None:
        """Read channels that now come in `order`; changes `arrays`."""

    def permute_outputs(self, arrays: Arrays, order: np.ndarray) -> None:
        """Give the channels in `order`; rows beyond it stay. Changes `arrays`."""

    @property
    def carries(self) -> str:
        """Name of the elastic channels that it passes on, each to itself; "" where it mixes channels."""

    def permute_carried(self, arrays: Arrays, order: np.ndarray) -> None:
        """Pass on channels that now come in `order`; those beyond it stay. Changes `arrays`."""

    def sort_units(self, arrays: Arrays) -> None:
        """Sort the elastic channels that only it uses, if there are any. Changes `arrays`."""


class Single:
    """What all layers that own parameters have in common: each is its own only part."""

    name: str
    carries: str = ""

    def parts(self) -> Tuple["Part", ...]:
        """Itself."""
        return (self,)  # type: ignore[return-value]

    stored_parts = parts

    def parts_on(self, side: int) -> Tuple[Tuple["Part", int], ...]:
        """Itself."""
        return ((self, side),)  # type: ignore[return-value]

    def permute_carried(self, arrays: Arrays, order: np.ndarray) -> None:
        """It carries no channels."""
        raise NotImplementedError(f"{self.name} mixes its channels")

    def sort_units(self, arrays: Arrays) -> None:
        """It has no channels of its own."""

    def variable(self, key: str, mode: Optional[Mode] = None) -> nn.Variable:
        """Its variable `<name>/<key>` in the current parameter scope; mode: as of `read`."""
        name = f"{self.name}/{key}"
        return read(stored(name, lambda: parameters(self)[name]), mode)


@lru_cache(maxsize=None)
def parameters(layer: Union[Layer, Owner]) -> Dict[str, Parameter]:
    """`layer.parameters()`, remembered: layers are values."""
    return layer.parameters()


def counted(layer: Layer) -> Cost:
    """A `Cost` of the layer's trained parameters and BN statistics alone."""
    found = parameters(layer).values()
    return Cost(sum(p.size for p in found if p.trained),
                sum(p.size for p in found if p.statistic))


@lru_cache(maxsize=None)
def signature(layer: Any) -> str:
    """What a layer computes, as text: class and fields that differ from their defaults.

    Names are left out, and fields that do not change the computation's size (metadata `unsized`). Of texts
    those are shown that do (metadata `sized`).
    Latency tables store these texts: they are a file format.
    """
    shown = []
    for field in fields(layer):
        value = getattr(layer, field.name)
        named = isinstance(value, str) and not field.metadata.get("sized")
        if value != field.default and not named and not field.metadata.get("unsized"):
            shown.append(f"{field.name}={_text(value)}")
    return f"{type(layer).__name__}({', '.join(shown)})"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))})"
    return signature(value) if is_dataclass(value) else repr(value)  # type: ignore[arg-type]


# Channels ----------------------------------------------------------------------------------------

def to_trunk(x: nn.Variable, mode: Mode) -> nn.Variable:
    """Images (N, C, H, W) in the trunk's layout. Raises OfaError if there is none, or one without pixels.

    NNabla's functions and the fused ones divide by these sizes.
    """
    if 0 in x.shape:
        raise OfaError(f"images of shape {x.shape} are not (N, C, H, W) with N, H and W of 1 or more")
    return kernels.to_chwn(x) if mode.fast else x


def in_nchw(x: nn.Variable, mode: Mode, function: Callable[[nn.Variable], nn.Variable]) -> nn.Variable:
    """A function of (N, C, H, W) applied to the trunk, whatever its layout."""
    if not mode.fast:
        return function(x)
    return kernels.to_chwn(function(F.transpose(x, (3, 0, 1, 2))))


def cut(x: nn.Variable, *parts: slice) -> nn.Variable:
    """Part of (N, C, H, W), all images: a slice for each of C, H and W.

    Other than in `x[:, ...]`, the graph does not hold how many images there are, so that an exported one
    takes any number.
    """
    start, stop, step = zip(*(part.indices(size) for part, size in zip(parts, x.shape[1:])))
    return F.slice(x, start, stop, step)


def rows(weight: nn.Variable, width: int, order: Optional[np.ndarray], axis: int = 0) -> nn.Variable:
    """The active output channels of a stored array; nothing is copied where all are active."""
    if order is not None:
        return F.gather(weight, nn.Variable.from_numpy_array(order), axis=axis)
    if weight.shape[axis] == width:
        return weight
    return weight[:width] if axis == 0 else weight[:, :width]
