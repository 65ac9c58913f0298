"""Latency on a device: each operation of a space is measured once, any subnet predicted by a sum.

A table holds the times of every operation that the subnets of a space are made of, and of a few whole
networks. All are timed in turn, one call each a round, in a new order every round. A drift of the machine
then falls on all alike, and an operation finds its weights as cold as in a network.

    latency of a subnet = sum of its operations' medians + overhead

An operation is a convolution with its BN ("part"), or a whole block ("block"): onnxruntime computes additions
and activations together with the convolutions of a block, so that a block is the smaller sum of its parts.
NNabla's functions are timed here; tables of onnxruntime are filled by deploy/measure.py, on any device.

A reference operation is timed before the first round and after each (noise.py). It corrects nothing: where
its times tell of other work on the machine, a warning says so when the table is built and when it serves.

The overhead is the median difference of the whole networks from their sums: input layout, pooling, the
graph's own bookkeeping. A table a device is as in ProxylessNAS (Cai et al., ICLR 2019, appendix B).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from ..errors import OfaError
from ..evaluation.statistics import agreement
from ..layers import Layer, signature
from ..model import Network
from ..nets import Config, Space
from ..system.files import Location, write_atomically
from ..system.machine import describe_run
from . import noise
from .operations import Archs, Operations, Totals
from .timing import (
    ROUNDS,
    Samples,
    Setting,
    interquartile_range,
    measure,
    median,
    milliseconds,
    network_call,
    operation_call,
)

VERSION = 3        # of the file; 1 has no reference operation, 2 is of NNabla alone
REFERENCES = 8     # whole networks beside the operations
CHECKED = 50       # other ones that the table's error is measured on
Json = Dict[str, Any]


@dataclass
class Times:
    """What was measured at one image size.

    Args:
        operations: Samples of operations, by `key`.
        networks: Samples of whole networks, by the subnet's name.
        overhead_ms: What a network costs beside its operations. None until all rounds are done.
        check: The table's error on other networks. None until it is measured.
        reference: Samples of `noise.REFERENCE`, before the first round and after each. None in old tables.
    """

    operations: Samples = field(default_factory=dict)
    networks: Samples = field(default_factory=dict)
    overhead_ms: Optional[float] = None
    check: Optional[Json] = None
    reference: List[float] = field(default_factory=list)


def key(layer: Layer, side: int) -> str:
    """The name of an operation in the table: what it computes, and the side of its input in pixels."""
    return f"{signature(layer)} on {side}"


def timed(layer: Layer, side: int, unit: str) -> Sequence[Tuple[Layer, int]]:
    """What a table has the times of, of one layer of a network; see `LatencyTable.unit`.

    Args:
        layer: The layer. One without parameters is part of the overhead.
        side: Of its input, in pixels.
        unit: "part" or "block".
    """
    parts = layer.parts_on(side)
    return ((layer, side),) if parts and unit == "block" else parts


@dataclass
class LatencyTable:
    """Latencies of one network's subnets in one setting.

    Args:
        setting: What they hold for.
        network: "config" and "space" of the network, as a file has them.
        about: How they were measured: command, commit, versions, machine, date.
        sizes: Image size in pixels -> what was measured there.
        source: The table's file, for messages.
        unit: What an operation is: a "part" of a layer that owns parameters, or a whole "block".
    """

    setting: Setting
    network: Json
    about: Json
    sizes: Dict[int, Times] = field(default_factory=dict)
    source: str = "this table"
    unit: str = "part"

    def __post_init__(self) -> None:
        self._totals: Dict[Tuple[Config, Space, int], Totals] = {}

    def predict(self, net: Network, archs: Archs, image_size: int) -> np.ndarray:
        """Latencies of subnets by the table.

        Args:
            net: Whose subnets they are.
            archs: n of them, as `Operations.rows` takes them.
            image_size: Pixels a side.

        Returns:
            (n,) milliseconds a batch.

        Raises:
            OfaError: The table lacks the image size or an operation.
        """
        times = self._times(image_size)
        same = net.config, net.space, image_size
        if same not in self._totals:
            self._totals[same] = self._sums(times, Operations(net, image_size))
        return self._totals[same](archs)[:, 0] + times.overhead_ms

    def require(self, **asked: Union[str, int]) -> "LatencyTable":
        """This table; OfaError names the first of `asked` (fields of `Setting`) that it is not for."""
        for name, value in asked.items():
            own = getattr(self.setting, name)
            if own != value:
                raise OfaError(f"{self.source} is a latency table for {name}={own}, not {name}={value}: "
                               "use another file, or build one with runners/profile.py --build-table")
        return self

    def require_same(self, other: "LatencyTable") -> "LatencyTable":
        """This table; OfaError unless `other` is of the same network in the same setting."""
        for name in ("config", "space"):
            if self.network[name] != other.network[name]:
                raise OfaError(f"{self.source} is a latency table of another network, with {name} "
                               f"{self.network[name]}: choose another file")
        return self.require(**asdict(other.setting))

    def build(self, net: Network, image_size: int, path: Location, rounds: int = ROUNDS) -> None:
        """Measure what is missing at one image size.

        Args:
            net: The network that the table is of.
            image_size: Pixels a side.
            path: The table's file, which is rewritten after each round.
            rounds: How many samples everything is to have, 1 or more.
        """
        times = self.sizes.setdefault(image_size, Times())
        mode, batch = net.mode(batch_stat=False), self.setting.batch_size
        operations = Operations(net, image_size)
        archs = net.space.sample_distinct(REFERENCES, np.random.default_rng(0))
        distinct = {key(*part): part for layer, side in operations.all() for part in layer.parts_on(side)}
        calls = {name: operation_call(*part, batch, mode) for name, part in distinct.items()}
        whole = {str(arch): network_call(net, arch, image_size, batch) for arch in archs}
        samples = {**times.operations, **times.networks}
        reference = noise.reference_call(mode)
        times.reference = times.reference or [milliseconds(reference)]

        def keep() -> None:
            times.reference.append(milliseconds(reference))
            times.operations = {name: samples[name] for name in calls}
            times.networks = {name: samples[name] for name in whole}
            self.save(path)

        measure({**calls, **whole}, rounds, samples, f"{image_size} pixels", keep)
        measured = [median(samples[name]) for name in whole]
        times.overhead_ms = median(measured - self._sums(times, operations)(archs)[:, 0])
        self.save(path)

    def check(self, net: Network, image_size: int, rounds: int = ROUNDS) -> Json:
        """Compare predicted with measured latencies of `CHECKED` random subnets.

        Args:
            net: The network that the table is of.
            image_size: Pixels a side; the table has it.
            rounds: How often each subnet is timed, 1 or more.

        Returns:
            The fields of `Agreement`, the subnets' names, and their latencies in milliseconds. It is
            kept in `sizes[image_size].check`, too.
        """
        archs = net.space.sample_distinct(CHECKED, np.random.default_rng(1))
        predicted = self.predict(net, archs, image_size)
        calls = {str(arch): network_call(net, arch, image_size, self.setting.batch_size) for arch in archs}
        samples = measure(calls, rounds, say=f"{image_size} pixels")
        measured = [median(samples[name]) for name in calls]
        found = {**agreement(predicted, measured)._asdict(), "subnets": list(calls), "rounds": rounds,
                 "predicted_ms": [round(float(ms), 4) for ms in predicted],
                 "measured_ms": [round(ms, 4) for ms in measured]}
        self._times(image_size).check = found
        return found

    def checked(self, image_size: int) -> Json:
        """What `check` found, or deploy/measure.py on its device; OfaError where neither was asked to."""
        found = self._times(image_size).check
        if not found:
            raise OfaError(f"{self.source} has no networks to check it on: write its operations with "
                           "--check-table in another folder, and measure that")
        return {**agreement(found["predicted_ms"], found["measured_ms"])._asdict(), **found}

    def spread(self, image_size: int) -> float:
        """How unquiet the machine was: the median of the whole networks' interquartile range / median.

        The whole networks show it best: other work hits a long call more often than a short one.
        """
        return median([interquartile_range(ms) / median(ms)
                       for ms in self._times(image_size).networks.values()])

    def warning(self, image_size: int) -> Optional[str]:
        """What to say of a table that was built beside other work (`noise.warning`); None of a good one."""
        return noise.warning(self.source, image_size, self._times(image_size).reference)

    def _times(self, image_size: int) -> Times:
        if image_size not in self.sizes:
            raise OfaError(f"{self.source} has no latencies at image size {image_size}, only at "
                           f"{', '.join(map(str, sorted(self.sizes)))}: build it for that size, too")
        if self.sizes[image_size].overhead_ms is None:
            raise OfaError(f"{self.source} is not finished at image size {image_size}: repeat the "
                           "command that builds it")
        return self.sizes[image_size]

    def _sums(self, times: Times, operations: Operations) -> Totals:
        """Sums of the medians of a subnet's operations; OfaError names one that the table lacks."""
        medians = {name: median(samples) for name, samples in times.operations.items()}

        def value_of(layer: Layer, side: int) -> List[float]:
            names = [key(*part) for part in timed(layer, side, self.unit)]
            for name in names:
                if name not in medians:
                    raise OfaError(f"{self.source} is of another network or space ({self.network['space']}): "
                                   f"it has no time of {name}. Build a table of this network")
            return [sum(medians[name] for name in names)]

        return Totals(operations, value_of, 1, np.float64)

    # Files ----------------------------------------------------------------------------------

    @classmethod
    def new(cls, net: Network, setting: Setting, command: str, source: str) -> "LatencyTable":
        """An empty table.

        Args:
            net: The network that it is to be of.
            setting: What its latencies are to hold for.
            command: The command line that measures them.
            source: The file that the table will be.
        """
        network = {"config": asdict(net.config), "space": str(net.space)}
        return cls(setting, json.loads(json.dumps(network)), cls.about_run(command), source=source)  # as read

    @staticmethod
    def about_run(command: str) -> Json:
        """What a table says of how it came about. command: the command line."""
        return {name: value for name, value in describe_run(command, 0).items()
                if name in ("command", "commit", "versions", "machine", "date")}

    def save(self, path: Location) -> None:
        """Write the table as JSON, whole or not at all; medians and quartiles are there to be read."""
        sizes = {size: {"overhead_ms": times.overhead_ms, "check": times.check,
                        "reference": _reference(times.reference), "operations": _rows(times.operations),
                        "networks": _rows(times.networks)}
                 for size, times in self.sizes.items()}
        content = {"kind": "latency table", "version": VERSION, "setting": asdict(self.setting),
                   "unit": self.unit, "network": self.network, "about": self.about, "image_sizes": sizes}
        write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: Location) -> "LatencyTable":
        """The table of a file that `save` wrote; OfaError if it is missing or damaged."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content["kind"] != "latency table":
                raise ValueError(f"it is a {content['kind']}")
            if content.get("version", 1) > VERSION:
                raise OfaError(f"{path} is a latency table of a newer nnabla_ofa (its version is "
                               f"{content['version']}, here {VERSION}): update nnabla_ofa")
            if not content["setting"]["processor"]:
                raise OfaError(f"{path} is not measured yet: run deploy/measure.py on its folder, on the "
                               "device")
            sizes = {int(size): Times(_samples(kept["operations"]), _samples(kept["networks"]),
                                      kept["overhead_ms"], kept["check"],
                                     *_samples(kept.get("reference", [])).values())
                     for size, kept in content["image_sizes"].items()}
            if not all(isinstance(times.overhead_ms or 0, (int, float))
                       and isinstance(times.check or {}, dict)
                       and abs(times.overhead_ms or 0) < math.inf for times in sizes.values()):
                raise ValueError("overhead_ms is no finite number, or check no description")
            unit = content.get("unit", "part")
            if unit not in ("part", "block"):
                raise ValueError(f"its unit is {unit}")
            return cls(Setting(**content["setting"]), content["network"], content["about"], sizes,
                       str(path), unit)
        except OfaError:
            raise
        except OSError as error:
            raise OfaError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise OfaError(f"{path} is not a latency table, or it is damaged ({error!r}): build it "
                           "with runners/profile.py --build-table") from error


def _rows(samples: Samples) -> List[Json]:
    """Samples as a file has them."""
    return [{"name": name, "median_ms": round(median(ms), 4), "iqr_ms": round(interquartile_range(ms), 4),
             "samples_ms": [round(one, 4) for one in ms]} for name, ms in samples.items()]


def _reference(samples: List[float]) -> List[Json]:
    """Those of the reference operation with their spread, one row; none of an old table."""
    rows = _rows({key(*noise.REFERENCE): samples}) if samples else []
    return [{**row, "slowdown": round(noise.slowdown(samples), 4)} for row in rows]


def _samples(rows: List[Mapping[str, Any]]) -> Samples:
    """The samples of such rows, those that have any; ValueError if they are no positive milliseconds."""
    found: Samples = {}
    for row in rows:
        samples = row["samples_ms"]
        if not samples:  # its turn has not come yet
            continue
        if not all(isinstance(ms, float) and 0 < ms < math.inf for ms in samples):
            raise ValueError(f"samples_ms holds {samples}")
        found[str(row["name"])] = samples
    return found
