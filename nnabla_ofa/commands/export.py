"""Write one network as a file for other programs: NNP, ONNX, nnabla-nas's checkpoint, or PyTorch's weights.

    python runners/export.py --weights runs/demo/subnet.h5 --format onnx --output runs/demo/subnet.onnx

A subnet of a supernet is extracted and gets its BN statistics from training images, as in evaluation.
The file is read back by NNabla or onnxruntime and compared with the network on held-out images before
it is put in place.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..experiment.command import Command
from ..experiment.options import WeightsOptions, add_run_options, add_subnet, add_weights, open_network
from ..formats import export
from ..system.comm import Communicator


@dataclass(frozen=True)
class Options(WeightsOptions):
    """See `add_arguments`."""

    output: Path = Path()
    subnet: Optional[str] = None
    format: str = ""
    fold: bool = False
    batch_size: Optional[int] = None


def main(options: Options, comm: Communicator) -> None:
    """Write the file, checked."""
    export.check(options.format, options.output, options.fold, options.batch_size)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    net, run = open_network(options, comm)
    arch, size = net.arch(options.subnet), max(run.recipe.data.valid_sizes)
    alone = net.extract(arch) if net.space.single() else run.lab.calibrated(net, arch, size)
    if comm.rank:
        return
    about = export.describe(alone, run.lab.classes, run.recipe.data.augment, size, options.fold,
                            options.batch_size)
    images = export.sample(run.lab.valid, size)
    difference = export.export(alone, options.output, options.format, about, images)
    print(f"checked on {len(images)} held-out images: top-1 equal, logits to {difference:.1e} of the largest")
    print(f"saved: {options.output} ({options.output.stat().st_size / 1e6:.2f} MB), {about['arch']}")
    print(f"  {about['input']}\n  {about['output']}")
    print("\n".join(["to run it:", *export.usage(options.output, options.format, about)]), flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `Options`."""
    add_run_options(parser, output="file to write")
    add_weights(parser, "of a supernet or a subnet")
    add_subnet(parser, "one name a block, or one for all (default: the largest; a subnet's own)")
    parser.add_argument("--format", choices=tuple(export.FORMATS), required=True)
    parser.add_argument("--fold", action="store_true", help="fold BN into the convolutions")
    parser.add_argument("--image-size", type=int, nargs=1, help="pixels (default: the recipe's largest)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images at a time (default: any number)")


COMMAND = Command("export", __doc__, Options, add_arguments, main)
