"""The processes of a run (ranks): one interface for one process, MPI on the CPU and NCCL on CUDA.

A rank knows its number and can do two things with the others: average gradients, and add up arrays.
Everything else is a case of adding: gathering is adding arrays that are zero but for one's own part.
A rank that fails calls `abort`, so that none waits for it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import traceback
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Iterable, Optional, Protocol, Sequence, Type

import nnabla as nn
import numpy as np

from ..errors import OfaError
from . import aliases
from .last_line import one_of_several

SMALL = 1 << 14    # values: gradients of fewer share an MPI message
MESSAGE = 1 << 20  # values in an NCCL message
Callback = Any     # NNabla's own: what `Variable.backward` takes as communicator_callbacks
_LOCAL_RANKS = ("OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")


class Communicator(Protocol):
    """What every rank can do with the others.

    rank, size: this rank's number from 0, and how many there are.
    """

    rank: int
    size: int

    def average_meanwhile(self, output: nn.Variable, variables: Iterable[nn.Variable]) -> Optional[Callback]:
        """What `output.backward` is to call back so that gradients are averaged on the way, or None."""

    def average_gradients(self, variables: Sequence[nn.Variable]) -> None:
        """Mean over ranks of the gradients, in place; every rank gives the same variables."""

    def add(self, array: np.ndarray) -> np.ndarray:
        """The sum of every rank's `array` (same shape and type)."""

    def abort(self, status: int = 1) -> None:
        """Stop every rank now."""


def barrier(comm: Communicator) -> None:
    """Return when every rank has come here."""
    comm.add(np.zeros(1))


class Single:
    """One process."""

    rank, size = 0, 1

    def average_meanwhile(self, output: nn.Variable, variables: Iterable[nn.Variable]) -> None:
        """What `output.backward` is to call back so that gradients are averaged on the way, or None."""

    def average_gradients(self, variables: Sequence[nn.Variable]) -> None:
        """Nothing to average."""

    def add(self, array: np.ndarray) -> np.ndarray:
        """The sum of every rank's `array`."""
        return array

    def abort(self, status: int = 1) -> None:
        """Nobody else to stop."""


class Mpi:
    """Ranks of `mpirun` on CPUs, through mpi4py."""

    def __init__(self) -> None:
        from mpi4py import MPI  # initialises MPI, so only under mpirun
        self._mpi, self._comm = MPI, MPI.COMM_WORLD
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()

    def average_meanwhile(self, output: nn.Variable, variables: Iterable[nn.Variable]) -> None:
        """None: the cores that would send are those that compute."""

    def average_gradients(self, variables: Sequence[nn.Variable]) -> None:
        """Mean over ranks of the gradients, in place; every rank gives the same variables.

        A large array is one message, straight from and to NNabla's memory; small ones, whose cost is
        their number, share a message.
        """
        gradients = [variable.grad.data for variable in variables]
        small = [g for g in gradients if g.size < SMALL]
        for gradient in gradients:
            if gradient.size >= SMALL:
                self._average(gradient)
        if small:
            bucket = np.concatenate([g.reshape(-1) for g in small])
            self._average(bucket)
            stops = np.cumsum([g.size for g in small])
            for gradient, part in zip(small, np.split(bucket, stops[:-1])):
                gradient[...] = part.reshape(gradient.shape)

    def _average(self, array: np.ndarray) -> None:
        self._comm.Allreduce(self._mpi.IN_PLACE, array)
        array /= self.size

    def add(self, array: np.ndarray) -> np.ndarray:
        """The sum of every rank's `array` (same shape and type)."""
        total = np.empty_like(array)
        self._comm.Allreduce(np.ascontiguousarray(array), total)
        return total

    def abort(self, status: int = 1) -> None:
        """Stop every rank now; mpirun exits with `status`."""
        self._comm.Abort(status)


class Nccl(Mpi):
    """Ranks of `mpirun` on GPUs, one each: gradients go through NNabla's NCCL communicator.

    Everything else is small, is in main memory and must not be rounded: it goes through MPI.
    """

    def __init__(self, context: nn.Context):
        super().__init__()
        import nnabla.communicators as C
        self._nccl = C.MultiProcessCommunicator(context)
        self._nccl.init()

    def average_meanwhile(self, output: nn.Variable, variables: Iterable[nn.Variable]) -> Optional[Callback]:
        """A callback that sends each gradient as soon as it is known, while backward goes on.

        None where a parameter enters several functions, as it does with several subnets a step:
        NNabla sends a gradient when the first of them is done, and that is not all of it.
        """
        trained = {variable.grad for variable in variables}
        uses: Counter[nn.NdArray] = Counter()
        output.visit(lambda f: uses.update(x.grad for x in f.inputs if x.grad in trained))
        if max(uses.values()) > 1:
            return None
        return self._nccl.all_reduce_callback(list(uses), MESSAGE, division=True)

    def average_gradients(self, variables: Sequence[nn.Variable]) -> None:
        """Mean over ranks of the gradients, in place, packed into one message."""
        self._nccl.all_reduce([v.grad for v in variables], division=True, inplace=False)


def has_gpu() -> bool:
    """Whether NNabla's CUDA extension is installed and finds a GPU; ValueError for one it does not serve."""
    try:
        from nnabla_ext.cudnn import get_device_count
        return get_device_count() > 0
    except (ImportError, RuntimeError):
        return False


def connect(device: str = "auto") -> Communicator:
    """The communicator of this process: `Single` unless started by mpirun or srun.

    device: "cpu", "cudnn", "cudnn:half", or "auto": cudnn where there is a GPU. On CUDA, local rank
    r uses GPU r. Sets NNabla's default context; with several ranks an exception that nobody catches
    stops all of them. Raises OfaError if the extension or the GPU is missing.
    """
    from nnabla.ext_utils import get_extension_context
    aliases.install()
    if (Path(sys.prefix) / "lib/libmpi.so").exists():  # Open MPI as a wheel: where the extension looks
        os.environ.setdefault("OMPI_HOME", sys.prefix)
    local = next((os.environ[name] for name in _LOCAL_RANKS if name in os.environ), "0")
    try:
        device = device if device != "auto" else "cudnn" if has_gpu() else "cpu"
        backend, _, precision = device.partition(":")
        context = get_extension_context(backend, device_id=local if backend != "cpu" else "0",
                                        type_config=precision or "float")
    except Exception as error:  # what NVIDIA's management library raises has no narrower base
        raise OfaError(f"device={device} is not usable here by local rank {local} ({error}); use --device "
                       "cpu, or install requirements-cuda.txt on a machine with an NVIDIA GPU for each "
                       "rank") from error
    nn.set_default_context(context)
    if not one_of_several():
        return Single()
    comm = Mpi()
    stop_all_on_exception(comm)
    require_agreement(comm, "devices", device)  # "auto" may find a GPU on some hosts only
    return comm if backend == "cpu" else Nccl(context)


def stop_all_on_exception(comm: Communicator) -> None:
    """Let an exception that nobody catches stop every rank: the others would wait for this one for ever."""
    def stop(kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType]) -> None:
        traceback.print_exception(kind, error, trace)
        sys.stderr.flush()
        comm.abort()

    sys.excepthook = stop


def require_agreement(comm: Communicator, what: str, value: str) -> None:
    """Make sure that all ranks know the same.

    Args:
        comm: The ranks.
        what: What `value` is, in words, plural.
        value: This rank's.

    Raises:
        OfaError: On every rank, unless all ranks give the same value.
    """
    own = np.frombuffer(hashlib.sha256(value.encode()).digest(), np.uint8).astype(np.float64)
    slots = np.zeros((comm.size, own.size))
    slots[comm.rank] = own
    if not np.array_equal(comm.add(slots), np.tile(own, (comm.size, 1))):
        raise OfaError(f"the ranks have different {what}: start all with one command, on the same files")
