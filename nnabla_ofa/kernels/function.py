"""What the compiled functions have in common as NNabla functions.

NNabla calls the classes from C++. An exception there does not stop it: it goes on, fails elsewhere, and
raises SystemError with the first exception at the far end of a chain of causes. So what a caller can get
wrong is checked when a function is built.
"""

from __future__ import annotations

import ctypes
from typing import List, Optional, Sequence, Tuple

import nnabla as nn
import numpy as np
from nnabla.function import PythonFunction
from nnabla_ext.cpu import context

_CPU = context()


def _takes_write_only() -> bool:
    try:
        nn.NdArray((1,)).data_ptr(np.float32, _CPU, True)
    except TypeError:  # NNabla 1.28
        return False
    return True


_CAN_SKIP_OLD_VALUES = _takes_write_only()


def address(array: nn.NdArray, write_only: bool = False) -> int:
    """Where an array lies; write_only spares NNabla from preserving the old values."""
    return array.data_ptr(np.float32, _CPU, *(write_only,) * _CAN_SKIP_OLD_VALUES)


def longs(names: str) -> List[tuple]:
    """Fields of a structure, each a C long."""
    return [(name, ctypes.c_long) for name in names.split()]


def pointers(names: str) -> List[tuple]:
    """Fields of a structure, each an address."""
    return [(name, ctypes.c_void_p) for name in names.split()]


def gradients(inputs: Sequence[nn.Variable], wanted: Sequence[bool], accum: Sequence[bool],
              count: int) -> Tuple[List[Optional[int]], List[int]]:
    """Where a backward pass writes, and whether it adds to what is there, of each of `count` inputs.

    Args:
        inputs, wanted, accum: As `backward_impl` gets them; the last inputs of the count may be absent.
        count: Of all inputs that the function can have.

    Returns:
        Addresses, None of those that are absent or not wanted; and 0 or 1 for each.
    """
    absent = count - len(inputs)
    return ([address(v.grad, not add) if needed else None
             for v, needed, add in zip(inputs, wanted, accum)] + [None] * absent,
            [int(bool(add)) for add in accum] + [0] * absent)


class Function(PythonFunction):
    """What NNabla asks of a function of one output, of known shape."""

    def __init__(self, shape: Tuple[int, ...]) -> None:
        super().__init__()
        self._shape = shape

    def min_outputs(self) -> int:
        return 1

    def setup_impl(self, inputs, outputs) -> None:
        outputs[0].reset_shape(self._shape, True)

    def grad_depends_output_data(self, i: int, o: int) -> bool:
        return False

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return False
