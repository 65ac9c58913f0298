"""Timing of networks and layers on this device: many calls in turn, one of each a round."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import nnabla as nn
import numpy as np
from nnabla.ext_utils import import_extension_module
from tqdm import tqdm

from .. import kernels
from ..errors import OfaError
from ..layers import Mode, Part, on_cpu
from ..model import AnyNetwork, Frozen
from ..nets import Arch
from ..system import machine

ROUNDS, WARM_UP = 30, 3
Call = Callable[[], None]
Samples = Dict[str, List[float]]  # what was called -> milliseconds, one a round


@dataclass(frozen=True)
class Setting:
    """What a latency holds for.

    Args:
        device: NNabla's back end, such as "cpu" or "cudnn", or onnxruntime's provider.
        processor: Model of the CPU or GPU.
        threads: Of the fused CPU functions, or of onnxruntime.
        batch_size: Images at a time.
        kernels: "fast" (fused CPU functions) or "nnabla" (its own), or the version of onnxruntime.
        runtime: What computes, "nnabla" or "onnxruntime".
        precision: "float32" or "int8"; the latter only of onnxruntime.
    """

    device: str
    processor: str
    threads: int
    batch_size: int
    kernels: str
    runtime: str = "nnabla"
    precision: str = "float32"

    @classmethod
    def here(cls, net: AnyNetwork, threads: int, batch_size: int) -> "Setting":
        """The setting of NNabla's current context.

        Args:
            net: Whose kernels serve.
            threads: 1 or more; NNabla's own CPU functions can have 1 only.
            batch_size: 1 or more.

        Raises:
            OfaError: The batch size is not positive, or the kernels cannot have so many threads.
        """
        if batch_size < 1:
            raise OfaError(f"batch_size={batch_size} is not 1 or more")
        fast = net.mode(batch_stat=False).fast
        if not fast and on_cpu() and threads != 1:
            raise OfaError(f"threads={threads}: NNabla's own CPU functions run on 1 thread")
        return cls(nn.get_current_context().backend[0].replace(":float", ""),
                   machine.cpu() if on_cpu() else str(machine.gpu()), threads, batch_size,
                   "fast" if fast else "nnabla")

    def apply(self) -> None:
        """Let the fused functions run on this many threads from now on."""
        if self.kernels == "fast":
            kernels.set_threads(self.threads)


def measure(calls: Mapping[str, Call], rounds: int, samples: Optional[Samples] = None,
            say: str = "measuring", after_round: Call = lambda: None) -> Samples:
    """Time each call once a round, in a new order every round, until it has enough samples.

    Args:
        calls: What to time, by name.
        rounds: How many samples each call is to have, 1 or more.
        samples: What was measured before; it is added to. None: nothing.
        say: What the progress bar says.
        after_round: Called after each round, for example to keep the samples.

    Returns:
        `samples`, in milliseconds.

    Raises:
        OfaError: `rounds` is not positive.
    """
    if rounds < 1:
        raise OfaError(f"rounds={rounds} is not 1 or more")
    samples = {} if samples is None else samples
    for name in calls:
        samples.setdefault(name, [])
    due = {name: call for name, call in calls.items() if len(samples[name]) < rounds}
    order = np.random.default_rng(0)
    for call in list(due.values()) * WARM_UP:
        call()
    with tqdm(total=sum(rounds - len(samples[name]) for name in due), desc=say, unit="call") as bar:
        while due:
            for name in order.permutation(list(due)).tolist():
                samples[name].append(milliseconds(due[name]))
                bar.update()
            after_round()
            due = {name: call for name, call in due.items() if len(samples[name]) < rounds}
    return samples


def milliseconds(call: Call) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def network_call(net: AnyNetwork, arch: Optional[Arch], size: int, batch_size: int) -> Call:
    """The stand-alone subnet on a batch of noise: images in, logits out.

    Args:
        net: Whose subnet it is.
        arch: The subnet; None: the largest.
        size: Pixels a side.
        batch_size: Images at a time.

    Returns:
        What computes it once. It copies the images in and the logits out, as any user of a network does.
    """
    shape = (batch_size, 3, size, size)
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    graph = Frozen(net.extract(arch))

    def call() -> None:
        graph(images)
    return call


def operation_call(layer: Part, side: int, batch_size: int, mode: Mode) -> Call:
    """One layer, with new weights, on a batch of noise in the trunk's layout.

    Args:
        layer: The layer.
        side: Of its input, in pixels.
        batch_size: Images at a time.
        mode: How its graph is built.

    Returns:
        What computes it once, and returns when that is done.
    """
    shape: Tuple[int, ...] = (layer.w_in, side, side)
    shape = (*shape, batch_size) if mode.fast else (batch_size, *shape)
    x = nn.Variable.from_numpy_array(
        np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    x.persistent = True  # else the first call frees it, and later ones compute on what is found there
    with nn.parameter_scope("", OrderedDict()):
        y = layer.build(x, mode)

    def call() -> None:
        y.forward(clear_buffer=True)
        if not on_cpu():  # a GPU's forward returns before it has computed
            context = nn.get_current_context()
            import_extension_module(context.backend[0].partition(":")[0]).synchronize(
                device_id=context.device_id)
    return call


def median(samples: Union[Sequence[float], np.ndarray]) -> float:
    """Of (n,) samples."""
    return float(np.median(samples))


def interquartile_range(samples: Sequence[float]) -> float:
    """Between the quartiles of (n,) samples."""
    return float(np.subtract(*np.percentile(samples, [75, 25])))
