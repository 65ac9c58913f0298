"""What subnets cost: parameters, MACs, activations, and latency on this device or another.

    python runners/profile.py --weights W --subnet "XP1 7x7 3" --subnet "XP0.6 3x3 1" --image-size 20 28
    python runners/profile.py --weights W --random 5 --latency --batch-size 1 --threads 1
    python runners/profile.py --weights W --build-table latency.json --check-table --image-size 28
    python runners/profile.py --weights W --random 1000 --table latency.json --save costs.csv

Of onnxruntime, as exported networks run; for another device in two steps:

    python runners/profile.py --weights W --build-table int8.json --runtime onnxruntime --int8
    python runners/profile.py --weights W --write-operations pieces --int8
    python deploy/measure.py pieces --threads 4            # on the device; pieces/table.json is the table
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..cost import costs_of, timing
from ..cost.latency import LatencyTable
from ..cost.noise import slowdown
from ..cost.timing import Setting
from ..errors import OfaError
from ..experiment import operation_files
from ..experiment.command import Command
from ..experiment.listing import Row, print_table, require_form, save
from ..experiment.options import Options as CommonOptions
from ..experiment.options import (
    add_net,
    add_options,
    add_subnet,
    at_least,
    check_kernels,
    command_line,
    with_net,
)
from ..experiment.parse import load_recipe
from ..formats import load
from ..kernels.build import default_threads
from ..model import AnyNetwork, Network, create
from ..model.network import require_elastic
from ..nets import Arch, Fixed
from ..system import records
from ..system.comm import Communicator
from ..system.files import write_atomically
from ..system.machine import describe_run

SHOWN = 40  # rows that are printed


@dataclass(frozen=True)
class Options(CommonOptions):
    """See `add_arguments`."""

    weights: Optional[Path] = None
    recipe: Optional[str] = None
    net: Optional[str] = None
    search_space: Optional[str] = None
    classes: Optional[int] = None
    subnet: Tuple[str, ...] = ()
    random: int = 0
    image_size: Tuple[int, ...] = ()
    save: Optional[Path] = None
    latency: bool = False
    table: Optional[Path] = None
    build_table: Optional[Path] = None
    check_table: bool = False
    records: Optional[Path] = None
    batch_size: int = 1
    threads: Optional[int] = None
    rounds: int = timing.ROUNDS
    runtime: str = "nnabla"
    int8: bool = False
    provider: str = operation_files.PROVIDER
    write_operations: Optional[Path] = None

    @property
    def precision(self) -> str:
        """Of what onnxruntime computes."""
        return "int8" if self.int8 else "float32"

    def pieces(self, sizes: Sequence[int], archs: Sequence[Arch] = ()) -> operation_files.Pieces:
        """What is measured of onnxruntime."""
        return operation_files.Pieces(tuple(sizes), self.precision, self.batch_size, self.check_table,
                                      tuple(archs))


def network(options: Options) -> Tuple[AnyNetwork, Sequence[int]]:
    """The network that the options mean, and the image sizes."""
    net: AnyNetwork
    if options.weights:
        net = load(options.weights, net=options.net)
        sizes = options.image_size or [max(net.info.get("image_sizes", [224]))]
    elif options.recipe:
        recipe = load_recipe(options.recipe, with_net(options.overrides, options.net))
        config = replace(recipe.net, classes=options.classes or recipe.net.classes)
        space = options.search_space or (recipe.stages[0].space if len(recipe.stages) == 1 else None)
        if space is None:
            raise OfaError(f"recipe {recipe.name} has several stages: choose one by --search-space")
        net = create(config, space, options.seed or 0)
        sizes = options.image_size or recipe.data.valid_sizes
    elif options.net:
        given = {} if options.classes is None else {"classes": options.classes}
        net = create(options.net, options.search_space, options.seed or 0, **given)
        sizes = options.image_size or [native_size(net)]
    else:
        raise OfaError("name a network: --weights FILE, --net NAME of the zoo, or --recipe NAME with "
                       "--search-space NAME")
    net.kernels = options.kernels
    return net, sizes


def native_size(net: AnyNetwork) -> int:
    """The image size in pixels that a fixed network was made for; else ImageNet's usual one."""
    return net.config.entry.image_size if isinstance(net.config, Fixed) else 224


def measured_by_onnxruntime(options: Options, net: AnyNetwork, archs: Sequence[Arch], size: int
                            ) -> Dict[str, List[float]]:
    """Columns of latencies of the exported networks, and of the bytes of their files."""
    with tempfile.TemporaryDirectory() as folder:
        operation_files.write(net, folder, options.pieces([size], archs), {})
        operation_files.measure(folder, options.threads or 1, options.provider, options.rounds)
        rows = operation_files.milliseconds(folder, size)
    columns = {"latency_ms": "median_ms", "latency_iqr_ms": "iqr_ms", "bytes": "bytes"}
    return {column: [row[key] for row in rows] for column, key in columns.items()}


def measured(net: AnyNetwork, archs: Sequence[Arch], size: int, setting: Setting, rounds: int
             ) -> Dict[str, List[float]]:
    """Columns of measured latencies."""
    calls = {str(arch): timing.network_call(net, arch, size, setting.batch_size) for arch in archs}
    samples = timing.measure(calls, rounds, say=f"{size} pixels")
    return {"latency_ms": [round(timing.median(samples[name]), 4) for name in calls],
            "latency_iqr_ms": [round(timing.interquartile_range(samples[name]), 4) for name in calls]}


def rows_of(options: Options, net: AnyNetwork, sizes: Sequence[int], archs: Sequence[Arch],
            table: Optional[LatencyTable], setting: Optional[Setting]) -> List[Row]:
    """One dictionary a subnet and image size."""
    rows: List[Row] = []
    for size in sizes:
        columns = {name: values.tolist() for name, values in costs_of(net, archs, size)._asdict().items()}
        if options.latency and options.runtime == "onnxruntime":
            columns.update(measured_by_onnxruntime(options, net, archs, size))
        elif options.latency and setting:
            columns.update(measured(net, archs, size, setting, options.rounds))
        if table:
            predicted = table.predict(require_elastic(net, "predict by a table"), archs, size)
            columns["predicted_ms"] = np.round(predicted, 4).tolist()
        rows += [{"subnet": str(arch), "image_size": size, **dict(zip(columns, values))}
                 for arch, *values in zip(archs, *columns.values())]
    return rows


def build(options: Options, net: Network, sizes: Sequence[int], setting: Setting, path: Path) -> None:
    """Build a table, or go on where it was interrupted."""
    fresh = LatencyTable.new(net, setting, command_line(), str(path))
    table = LatencyTable.load(path).require_same(fresh) if path.exists() else fresh
    for size in sizes:
        table.build(net, size, path, options.rounds)
        slower = slowdown(table.sizes[size].reference)
        print(f"{size} px: networks' samples spread by {100 * table.spread(size):.0f}% of their median "
              f"(interquartile); a reference operation has its median {100 * slower:.0f}% above its fastest")
    warn(table, sizes)
    print(f"latency table: {path}")


def build_of_onnxruntime(options: Options, net: Network, sizes: Sequence[int], path: Path) -> None:
    """Build a table of onnxruntime, from files in a folder beside it; it goes on where it was interrupted."""
    folder = path.with_suffix("")
    kept = operation_files.write(net, folder, options.pieces(sizes), LatencyTable.about_run(command_line()))
    operation_files.measure(folder, options.threads or 1, options.provider, options.rounds)
    write_atomically(path, kept.read_bytes())
    table = LatencyTable.load(path)
    warn(table, sizes)
    print(f"latency table: {path} ({options.precision}, {table.setting.kernels}; its files: {folder})")


def write_operations(options: Options, net: Network, sizes: Sequence[int], folder: Path) -> None:
    """Write the files that a device is to measure, and say how."""
    path = operation_files.write(net, folder, options.pieces(sizes), LatencyTable.about_run(command_line()))
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"operations: {folder} ({len(list(folder.glob('*.onnx')))} files, {size / 1e6:.1f} MB)\n"
          f"copy it to the device and run there: python {folder.name}/measure.py {folder.name} --threads N\n"
          f"then copy {path} back: it is the latency table")


def warn(table: LatencyTable, sizes: Sequence[int]) -> None:
    """Say where a table was built beside other work: a line for each image size."""
    for text in filter(None, map(table.warning, sizes)):
        print(text, file=sys.stderr, flush=True)


def check(options: Options, net: Network, sizes: Sequence[int], table: LatencyTable) -> None:
    """Measure the table's error, keep it in its file, draw it beside it."""
    from ..reports import plots  # here: matplotlib takes a second to import
    for size in sizes:
        start = time.time()
        if table.setting.runtime == "nnabla":
            found = table.check(net, size, options.rounds)
            table.save(table.source)
        else:  # the device has measured whole networks, too
            found = table.checked(size)
        if options.records:
            kept = record(net, size, table, found, time.time() - start)
            print(f"record: {records.write(options.records, kept)}")
        line = (f"{size} px, {found['count']} subnets: Kendall tau {found['kendall_tau']:.3f}, mean "
                f"relative error {100 * found['mean_relative_error']:.1f}%")
        picture = Path(table.source).with_suffix(f".{size}.png")
        plots.save(plots.agreement_figure(found["predicted_ms"], found["measured_ms"],
                                          "milliseconds a batch", line), picture)
        print(f"{line}; {picture}")


def record(net: Network, size: int, table: LatencyTable, found: Row, seconds: float) -> Row:
    """What `check` found, as a record of the recipe that the network was trained by."""
    recipe = net.info.get("recipe", {})
    rows = [{"subnet": subnet, "image_size": size, "predicted": predicted, "measured": measured}
            for subnet, predicted, measured in
            zip(found["subnets"], found["predicted_ms"], found["measured_ms"])]
    return {**describe_run(command_line(), 0), "kind": "agreement", "stage": "latency",
            "name": f"latency-{size}", "recipe": recipe.get("name", "network"), "space": str(net.space),
            "seconds": round(seconds, 1), "settings": recipe, "what": "milliseconds a batch",
            "setting": asdict(table.setting), "results": rows}


def main(options: Options, comm: Communicator) -> None:
    """Build and check a table where asked; print costs of subnets."""
    check_kernels(options, comm)
    require_form(options.save)
    if options.int8 and options.runtime == "nnabla" and not options.write_operations:
        raise OfaError("--int8 is of exported networks: give --runtime onnxruntime, too")
    net, sizes = network(options)
    archs = [net.arch(name) for name in options.subnet]
    archs += net.space.sample_distinct(options.random, np.random.default_rng(options.seed or 0))
    setting = setting_of(options, net)
    if options.write_operations:
        elastic = require_elastic(net, "write operations of")
        write_operations(options, elastic, sizes, options.write_operations)
        return
    table = latency_table(options, net, sizes, setting)
    if archs or not (options.build_table or options.check_table):
        archs = archs or list(dict.fromkeys([net.space.largest(), net.space.smallest()]))
        rows = rows_of(options, net, sizes, archs, table, setting)
        print_table(rows, "subnet", SHOWN)
        if options.save:
            save(options.save, rows)


def setting_of(options: Options, net: AnyNetwork) -> Optional[Setting]:
    """What NNabla's latencies are measured for, where any are; the fused functions then have its threads."""
    if options.runtime != "nnabla" or not (options.latency or options.build_table or options.check_table):
        return None
    plain = not net.mode(batch_stat=False).fast
    setting = Setting.here(net, options.threads or (1 if plain else default_threads()), options.batch_size)
    setting.apply()
    return setting


def latency_table(options: Options, net: AnyNetwork, sizes: Sequence[int], setting: Optional[Setting]
                  ) -> Optional[LatencyTable]:
    """The table that the options name, built and checked as they ask."""
    path = options.table or options.build_table
    if options.check_table and not path:
        raise OfaError("--check-table needs --table FILE or --build-table FILE")
    if options.build_table and options.runtime == "onnxruntime":
        elastic = require_elastic(net, "build a table of")
        build_of_onnxruntime(options, elastic, sizes, options.build_table)
    elif options.build_table and setting:
        build(options, require_elastic(net, "build a table of"), sizes, setting, options.build_table)
    table = LatencyTable.load(path) if path else None
    if options.table and table:
        warn(table, sizes)
    if options.check_table and table:
        asked: Dict[str, Any] = {"runtime": options.runtime, "precision": options.precision}
        asked.update(asdict(setting) if setting else {})
        check(options, require_elastic(net, "check a table on"), sizes, table.require(**asked))
    return table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `Options`."""
    add_options(parser)
    parser.add_argument("--weights", type=Path, help="weights.h5 of a supernet or subnet")
    parser.add_argument("--recipe", help="name under args/ or path of a YAML file")
    add_net(parser)
    parser.add_argument("--search-space", metavar="NAME", help="of --recipe, with random weights")
    parser.add_argument("--classes", type=at_least(1), help="of --recipe (default: what it says)")
    add_subnet(parser, "repeatable (default: the largest and the smallest)", repeatable=True)
    parser.add_argument("--random", type=at_least(0), default=0, metavar="N", help="N random subnets")
    parser.add_argument("--image-size", type=at_least(1), nargs="+", help="pixels")
    parser.add_argument("--save", type=Path, metavar="FILE", help="the table as .csv or .json")
    parser.add_argument("--latency", action="store_true", help="measure the subnets")
    parser.add_argument("--table", type=Path, metavar="FILE", help="predict latencies by this table")
    parser.add_argument("--build-table", type=Path, metavar="FILE",
                        help="measure every operation of the space (JSON; goes on if interrupted)")
    parser.add_argument("--check-table", action="store_true",
                        help="measure the table's error on 50 random subnets, with a picture")
    parser.add_argument("--records", type=Path, metavar="FOLDER", help="where a record of that error goes")
    parser.add_argument("--batch-size", type=at_least(1), default=1)
    parser.add_argument("--threads", type=at_least(1),
                        help="of the fused CPU functions (default: the cores), or of onnxruntime (default 1)")
    parser.add_argument("--runtime", choices=("nnabla", "onnxruntime"), default="nnabla",
                        help="what latencies are of; onnxruntime: of networks as they are exported")
    parser.add_argument("--int8", action="store_true", help="of onnxruntime: quantised")
    parser.add_argument("--provider", default=operation_files.PROVIDER, metavar="NAME",
                        help=f"of onnxruntime (default: {operation_files.PROVIDER})")
    parser.add_argument("--write-operations", type=Path, metavar="FOLDER",
                        help="for deploy/measure.py on another device: every operation of the space as ONNX "
                             "file, with --check-table also what a table's error is measured on")
    parser.add_argument("--rounds", type=at_least(1), default=timing.ROUNDS, help="measurements of each")


COMMAND = Command("profile", __doc__, Options, add_arguments, main)
