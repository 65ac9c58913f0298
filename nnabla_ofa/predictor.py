"""Accuracy predictor: top-1 of any subnet and image size, learned from a sample of measured ones.

A Gaussian process (linear kernel on the one-hot choices of the blocks and on the cost of each layer,
plus a smooth one on the costs) gives the mean; as in Once-for-All (Cai et al., ICLR 2020, section
3.3) a search then asks it in place of the images. The file of a predictor is its samples: fitting
takes seconds and is deterministic, so loading is fitting again.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from .agreement import Agreement, agreement
from .arch import Arch, Space
from .checkpoint import write_atomically
from .comm import Single
from .cost import Archs, CostModel
from .errors import OfaError
from .supernet import Network

FOLDS = 5
LEAST_TAU = 0.5
LEAST_SAMPLES = 2 * FOLDS
Pair = Tuple[Arch, int]  # a subnet and an image size in pixels


# Samples -----------------------------------------------------------------------------------------

class Sample(NamedTuple):
    """A subnet, an image size in pixels, and the top-1 measured there, a fraction."""

    arch: Arch
    image_size: int
    top1: float


def draw(space: Space, sizes: Sequence[int], count: int, seed: int) -> List[Pair]:
    """`count` distinct (canonical arch, image size), sizes in turn; fewer if the space holds no more.

    Of two counts, the smaller draw is the beginning of the larger one.
    """
    rng, found = np.random.default_rng(seed), {}
    for i in range(50 * count):
        found[space.sample(rng).canonical(), sizes[i % len(sizes)]] = None
        if len(found) == count:
            break
    return list(found)


def evaluated(path, net: Network, pairs: Sequence[Pair],
              top1_of: Callable[[Sequence[Arch], int], Sequence[float]], judged_on: str,
              comm=Single(), chunk: int = 25, say: Callable[[str], None] = print) -> List[Sample]:
    """Samples of `pairs`, kept in the file `path` after every `chunk`: what is there is not redone.

    top1_of: (archs, image size) -> top-1 of each, the same on every rank. judged_on: the images, in
    words. Raises OfaError if the file is damaged, or holds samples of other weights or images.
    """
    about = _about(net, judged_on)
    kept = _read(path, net, about) if comm.rank == 0 and Path(path).exists() else {}
    known = np.array([kept.get(pair, -1) for pair in pairs]) if comm.rank == 0 else np.zeros(len(pairs))
    known = comm.add(known)  # what rank 0 has read, the same on every rank
    due = [i for i in range(len(pairs)) if known[i] < 0]
    for size in sorted({pairs[i][1] for i in due}):
        same = [i for i in due if pairs[i][1] == size]
        for start in range(0, len(same), chunk):
            some = same[start:start + chunk]
            known[some] = top1_of([pairs[i][0] for i in some], size)
            kept.update((pairs[i], float(known[i])) for i in some)
            if comm.rank == 0:
                _write(path, about, kept)
                say(f"{size} pixels: {start + len(some)} of {len(same)} subnets, top-1 "
                    f"{known[some].min():.4f} to {known[some].max():.4f}")
    return [Sample(*pair, float(top1)) for pair, top1 in zip(pairs, known)]


def _about(net: Network, judged_on: str) -> dict:
    crc = 0
    for array in net.arrays().values():
        crc = zlib.crc32(array, crc)
    return {"kind": "accuracy samples", "space": str(net.space), "weights": crc,
            "config": json.loads(json.dumps(asdict(net.config))), "judged_on": judged_on}


def _write(path, about: dict, kept: Dict[Pair, float]) -> None:
    lines = [about] + [{"subnet": str(arch), "image_size": size, "top1": top1}
                       for (arch, size), top1 in kept.items()]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines).encode())


def _read(path, net: Network, about: dict) -> Dict[Pair, float]:
    """The samples of a file, which must be `about` the same."""
    try:
        head, *lines = [json.loads(line) for line in
                        Path(path).read_text(encoding="utf-8").splitlines()]
        for name in about:
            if head[name] != about[name]:
                raise _Foreign(f"{path} holds samples of another network or other images (its {name} "
                               "differs): choose another file")
        return {(net.arch(line["subnet"]).canonical(), int(line["image_size"])): _fraction(line["top1"])
                for line in lines}
    except _Foreign:
        raise
    except OSError as error:
        raise OfaError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:  # OfaError is a ValueError
        raise OfaError(f"{path} is no file of accuracy samples, or it is damaged ({error!r}): delete "
                       "it, and they are measured anew") from error


class _Foreign(OfaError):
    """Samples that are whole, but of something else."""


def _fraction(top1: float) -> float:
    if not 0 <= top1 <= 1:
        raise ValueError(f"top1={top1}")
    return float(top1)


