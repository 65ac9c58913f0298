"""One interface for one process, MPI on the CPU and NCCL on CUDA.

A rank knows its number and can do two things with the others: average gradients, and add up arrays.
Everything else is a case of adding: gathering is adding arrays that are zero but for one's own part.
"""

from __future__ import annotations

import hashlib
import os
from typing import Sequence

import nnabla as nn
import numpy as np

from .errors import OfaError

_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")


def barrier(comm) -> None:
    """Return when every rank has come here."""
    comm.add(np.zeros(1))


class Single:
    """One process."""

    rank, size = 0, 1

    def average_gradients(self, variables: Sequence[nn.Variable]) -> None:
        """Nothing to average."""

    def add(self, array: np.ndarray) -> np.ndarray:
        """The sum of every rank's `array`."""
        return array

    def abort(self) -> None:
        """Nobody else to stop."""


class Mpi:
    """Ranks of `mpirun` on CPUs, through mpi4py; buffers are NNabla's own, nothing is copied."""

    def __init__(self):
        from mpi4py import MPI  # initialises MPI, so only under mpirun
        self._mpi, self._comm = MPI, MPI.COMM_WORLD
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()

    def average_gradients(self, variables: Sequence[nn.Variable]) -> None:
        """Mean over ranks of the gradients, in place; every rank gives the same variables."""
        for variable in variables:
            gradient = variable.grad.data
            self._comm.Allreduce(self._mpi.IN_PLACE, gradient)
            gradient /= self.size

    def add(self, array: np.ndarray) -> np.ndarray:
        """The sum of every rank's `array` (same shape and type)."""
        total = np.empty_like(array)
        self._comm.Allreduce(np.ascontiguousarray(array), total)
        return total

    def abort(self) -> None:
        """Stop every rank now; a rank that dies silently would leave the others waiting."""
        self._comm.Abort(1)


class Nccl:
    """Ranks of `mpirun` on GPUs, through NNabla's data-parallel communicator; one GPU a rank."""

    def __init__(self, context: nn.Context):
        import nnabla.communicators as C
        self._comm = C.MultiProcessCommunicator(context)
        self._comm.init()
        self.rank, self.size = self._comm.rank, self._comm.size

    def average_gradients(self, variables: Sequence[nn.Variable]) -> None:
        """Mean over ranks of the gradients, in place, packed into few large messages."""
        self._comm.all_reduce([v.grad for v in variables], division=True, inplace=False)

    def add(self, array: np.ndarray) -> np.ndarray:
        """The sum of every rank's `array`, in float32."""
        value = nn.NdArray.from_numpy_array(np.asarray(array, np.float32))
        self._comm.all_reduce([value], division=False, inplace=True)
        return value.data.astype(array.dtype)

    def abort(self) -> None:
        """Leave at once: mpirun then ends the other ranks."""
        os._exit(1)


def has_gpu() -> bool:
    """Whether NNabla's CUDA extension is installed and finds a GPU."""
    try:
        from nnabla_ext.cudnn import get_device_count
        return get_device_count() > 0
    except (ImportError, RuntimeError):
        return False


def connect(device: str = "auto"):
    """The communicator of this process: `Single` unless started by mpirun.

    device: "cpu", "cudnn", "cudnn:half", or "auto": cudnn where there is a GPU. On CUDA, local rank
    r uses GPU r. Sets NNabla's default context. Raises OfaError if the extension is missing.
    """
    from nnabla.ext_utils import get_extension_context
    device = device if device != "auto" else "cudnn" if has_gpu() else "cpu"
    backend, _, precision = device.partition(":")
    local = os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", "0")
    try:
        context = get_extension_context(backend, device_id=local if backend != "cpu" else "0",
                                        type_config=precision or "float")
    except (ImportError, ValueError) as error:
        raise OfaError(f"device={device} is not usable here ({error}); use --device cpu, or install "
                       "requirements-cuda.txt on a machine with an NVIDIA GPU") from error
    nn.set_default_context(context)
    ranks = max([int(os.environ.get(name, "1")) for name in _SIZES])
    if ranks == 1:
        return Single()
    return Mpi() if backend == "cpu" else Nccl(context)


def require_agreement(comm, what: str, value: str) -> None:
    """OfaError on every rank unless all ranks give the same `value` of `what`."""
    own = np.frombuffer(hashlib.sha256(value.encode()).digest(), np.uint8).astype(np.float64)
    slots = np.zeros((comm.size, own.size))
    slots[comm.rank] = own
    if not np.array_equal(comm.add(slots), np.tile(own, (comm.size, 1))):
        raise OfaError(f"the ranks were started with different {what}: start all with one command, "
                       "on the same files")
