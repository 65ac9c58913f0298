"""What the machine can do at best: a measured matrix product rate and a measured memory rate.

The limit of a step is the time of its multiply-adds at the best measured single-precision product,
plus the time of its bytes at the measured bandwidth. It is a yardstick, not a proven bound: data that
stays in cache costs less than counted here, depthwise convolutions never reach a product's rate.
Also a contender: variants "product" (NumPy's, 2048 x 2048) and "copy" (all cores, 256 MB).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Dict, NamedTuple, Set

import numpy as np

SIDE = 2048
PRODUCT_FLOPS = 2 * SIDE ** 3
COPY_BYTES = 2 * 2 ** 28  # read and written


def environment() -> Dict[str, str]:
    """NumPy's OpenBLAS does not know newer CPUs' AVX-512; told of it, its product is twice as fast."""
    return {"OPENBLAS_CORETYPE": "SKYLAKEX"} if "avx512f" in cpu_flags() else {}


def has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 numbers."""
    return bool({"avx512_bf16", "amx_bf16"} & cpu_flags())


def instructions() -> str:
    """The widest vectors that the CPU computes with: "AVX-512", "AVX2" or "SSE"."""
    flags = cpu_flags()
    return "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "SSE"


def where(device: str) -> str:
    """What computes: the CPU's instruction set or the GPU's name, which ends the names of records."""
    from nnabla_ofa.system import machine  # here: peers have no nnabla_ofa
    return instructions() if device == "cpu" else (machine.gpu() or "unknown GPU").split(" x ")[-1]


def cpu_flags() -> Set[str]:
    """What instructions Linux says the CPU has."""
    with open("/proc/cpuinfo") as file:
        return set(next((line for line in file if line.startswith("flags")), "").split())


def prepare(variant: str, job: dict) -> Callable[[], object]:
    """One product, or one copy; of `job` nothing is used."""
    if variant == "product":
        a, b, c = (np.ones((SIDE, SIDE), np.float32) for _ in range(3))
        return lambda: np.matmul(a, b, out=c)
    cores = len(os.sched_getaffinity(0))
    source, target = (np.ones(COPY_BYTES // 8, np.float32) for _ in range(2))
    parts = list(zip(np.array_split(target, cores), np.array_split(source, cores)))
    pool = ThreadPoolExecutor(cores)  # NumPy lets go of the interpreter while it copies
    return lambda: list(pool.map(lambda part: np.copyto(*part), parts))


class Rates(NamedTuple):
    """FLOP/s of the best product, bytes/s of the copy."""

    flops: float
    bytes: float


def work(cost, batch: int, training: bool):
    """FLOPs and bytes of a batch of networks of `cost` (nnabla_ofa.ops.Cost, of one image).

    A training step multiplies three times as much as an evaluation: forward, gradients of the
    inputs, gradients of the weights. Every convolution's output is written and read once; in training
    it is read again, and its gradient written and read. A parameter is read; in training read twice,
    its gradient written and read, and weight and momentum read and written by the update. 4 bytes each.
    """
    flops = (6 if training else 2) * cost.macs * batch
    touches = 5 if training else 2, 8 if training else 1
    return flops, 4 * (touches[0] * cost.activations * batch + touches[1] * cost.parameters)


def seconds(cost, batch: int, training: bool, rates: Rates) -> Dict[str, float]:
    """The limit's two parts: {"flops": seconds, "memory": seconds}."""
    flops, traffic = work(cost, batch, training)
    return {"flops": flops / rates.flops, "memory": traffic / rates.bytes}
