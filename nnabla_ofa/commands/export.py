"""Write one network as a file for other programs: ONNX, NNP, NNB, C, nnabla-nas's or PyTorch's weights.

    python runners/export.py --weights runs/demo/subnet.h5 --format onnx --output runs/demo/subnet.onnx
    python runners/export.py --weights runs/demo/subnet.h5 --format onnx --int8 --output runs/demo/int8.onnx

A subnet of a supernet is extracted and gets its BN statistics from training images, as in evaluation.
The file is read back by NNabla or onnxruntime and compared with the network on held-out images before
it is put in place. With --int8 its top-1 on all held-out images has to be within --max-drop of the network's.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Tuple

from ..errors import OfaError
from ..experiment.command import Command
from ..experiment.int8 import CALIBRATION_IMAGES, MAX_DROP, Int8, write_int8
from ..experiment.licence import data_licence
from ..experiment.options import (
    WeightsOptions,
    add_run_options,
    add_subnet,
    add_weights,
    at_least,
    open_network,
)
from ..formats import export
from ..formats.exchange import OPSETS
from ..quantize.int8 import METHODS
from ..system.comm import Communicator


@dataclass(frozen=True)
class Options(WeightsOptions):
    """See `add_arguments`."""

    output: Path = Path()
    subnet: Optional[str] = None
    format: str = ""
    fold: bool = False
    batch_size: Optional[int] = None
    opset: int = OPSETS[0]
    normalise: bool = False
    data_licence: Optional[str] = None
    int8: bool = False
    calibrate: str = "minmax"
    calibration_images: int = CALIBRATION_IMAGES
    max_drop: float = MAX_DROP
    keep_float: Tuple[str, ...] = ()


def main(options: Options, comm: Communicator) -> None:
    """Write the file, checked."""
    check(options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    net, run = open_network(options, comm)
    arch, size = net.arch(options.subnet), max(run.recipe.data.valid_sizes)
    alone = net.extract(arch) if net.space.single() else run.lab.calibrated(net, arch, size)
    if comm.rank:
        return
    batch_size = options.batch_size or export.FORMATS[options.format].batch_size
    licence = options.data_licence or data_licence(run.recipe.data.source)
    about = export.describe(alone, run.lab.classes, run.recipe.data.augment, size,
                            options.fold or options.int8, batch_size, options.opset,
                            options.normalise, licence)
    images = export.sample(run.lab.valid, size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx" if options.int8 else options.output
        difference = export.export(alone, path, options.format, about, images, print)
        others = "".join(f"; also by {name}" for name in export.FORMATS[options.format].others())
        print(f"checked on {len(images)} held-out images: top-1 equal, logits to {difference:.1e} of the "
              f"largest{others}")
        if options.int8:
            write_int8(path, options.output, run.lab, about, int8_options(options))
    print(f"saved: {options.output} ({options.output.stat().st_size / 1e6:.2f} MB), {about['arch']}")
    print(f"  {about['input']}\n  {about['output']}")
    script = export.put_predict(options.output.parent) if options.format == "onnx" else None
    if script:
        print(f"  python {script} {options.output} PHOTOGRAPH.jpg    names what is on a photograph")
    usage = export.usage(options.output, options.format, about)
    print("\n".join(["to run it:", *usage] if usage else []), flush=True)


def check(options: Options) -> None:
    """OfaError, before the work, for options that do not fit together."""
    export.check(options.format, options.output, options.fold, options.batch_size, options.opset,
                 options.normalise)
    if options.int8 and options.format != "onnx":
        raise OfaError(f"--int8 is of --format onnx, not of {options.format}")
    if not options.int8 and int8_options(options) != Int8():
        raise OfaError("--calibrate, --calibration-images, --max-drop and --keep-float are of --int8: add it")
    if options.max_drop < 0:
        raise OfaError(f"--max-drop {options.max_drop:g} is not 0 or more points of top-1")


def int8_options(options: Options) -> Int8:
    """Those of --int8."""
    return Int8(options.calibrate, options.calibration_images, options.max_drop, options.keep_float)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `Options`."""
    add_run_options(parser, output="file to write")
    add_weights(parser, "of a supernet or a subnet")
    add_subnet(parser, "one name a block, or one for all (default: the largest; a subnet's own)")
    parser.add_argument("--format", choices=tuple(export.FORMATS), required=True)
    parser.add_argument("--fold", action="store_true", help="fold BN into the convolutions")
    parser.add_argument("--image-size", type=int, nargs=1, help="pixels (default: the recipe's largest)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images at a time (default: any number)")
    onnx = parser.add_argument_group("of ONNX")
    onnx.add_argument("--opset", type=int, choices=OPSETS, default=OPSETS[0], help=f"(default {OPSETS[0]})")
    onnx.add_argument("--normalise", action="store_true",
                      help="take pixels, uint8, and normalise in the graph")
    add_int8(parser.add_argument_group("int8, of ONNX"))
    parser.add_argument("--data-licence", metavar="TEXT", help="of the training images, for the metadata "
                        "(default: the first line of LICENSE in their folder, if there is one)")


def add_int8(group: Any) -> None:
    """The arguments of `Int8`."""
    group.add_argument("--int8", action="store_true", help="quantise weights and activations to 8 bits")
    group.add_argument("--calibrate", choices=tuple(METHODS), default="minmax",
                       help="how ranges follow from calibration images (default minmax)")
    group.add_argument("--calibration-images", type=at_least(1), default=CALIBRATION_IMAGES, metavar="N",
                       help=f"training images that ranges come from (default {CALIBRATION_IMAGES})")
    group.add_argument("--max-drop", type=float, default=MAX_DROP, metavar="POINTS",
                       help=f"points of top-1 on held-out images that may be lost (default {MAX_DROP:g})")
    group.add_argument("--keep-float", nargs="+", default=[], metavar="LAYER",
                       help="layers that stay in float32, or auto: the costliest, until --max-drop is met")


COMMAND = Command("export", __doc__, Options, add_arguments, main)
