"""What other implementations of the zoo's networks compute, for tests.

fixtures/zoo/counts.csv: parameters, MACs and activations, counted in the originals. The activations are
those of convolutions. Rows of pycls that have activations are by its own counter: the classifier's are
among them, and adding a bias is one more operation. ResNet in ResNet is there with 100 classes alone: its
original can be made for 10, and counted, but then its layers do not fit and it cannot run.
fixtures/zoo/logits.csv: the first four logits of two images, and the largest absolute one, that the
originals compute in float32 from weights made by `formula`; `bound` is relative to the largest.
"""

from __future__ import annotations

import csv
import zlib
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import numpy as np

from nnabla_ofa.nets.zoo import ZOO, torch_keys

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "zoo"
LARGE = 12e6  # parameters; a network that has more is tested by `make test-all` alone
TRAINED = 5e6  # the same, of the tests that train


class Reference(NamedTuple):
    """One row of a table: the original, as "<collection>/<name>", and what it gives."""

    source: str
    classes: int
    image_size: int
    values: Dict[str, str]


def rows(table: str) -> List[Reference]:
    """All rows of a table."""
    with open(FIXTURES / f"{table}.csv", encoding="utf-8") as file:
        return [Reference(row.pop("source"), int(row.pop("classes")), int(row.pop("image_size")), row)
                for row in csv.DictReader(file)]


def networks(source: str) -> List[str]:
    """Our networks that compute what an original computes: one, or none."""
    return [name for name, entry in ZOO.items() if source in entry.sources]


def formula(net, source: str, gain: float) -> Dict[str, np.ndarray]:
    """Weights of a network, by our names, drawn by the names that the original's state dict gives them."""
    declared, found = net.declared(), {}
    for name, key in torch_keys(tuple(declared), net.config.entry.sources[source]).items():
        found[name] = drawn(name, key, declared[name].shape, gain)
    return found


def drawn(name: str, key: str, shape: Tuple[int, ...], gain: float) -> np.ndarray:
    """One array, in our shape; affine ones are drawn transposed, as PyTorch has them."""
    rng, kind = np.random.default_rng(zlib.crc32(key.encode())), name.rsplit("/", 2)[1:]
    if kind in (["bn", "gamma"], ["bn", "var"]):
        return rng.uniform(0.5, 1.5, shape)
    if kind[0] == "bn" or kind[1] == "b":
        return 0.1 * rng.standard_normal(shape)
    shape = shape[::-1] if kind[0] == "affine" else shape
    values = rng.standard_normal(shape) * np.sqrt(gain / np.prod(shape[1:]))
    return values.T if kind[0] == "affine" else values


def images(side: int) -> np.ndarray:
    """The two images that the logits are of."""
    return np.random.default_rng(7).standard_normal((2, 3, side, side)).astype(np.float32)
