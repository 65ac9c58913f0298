"""Write one network as a file for other programs: NNP, ONNX, or a checkpoint of nnabla-nas.

    python runners/export.py --weights runs/demo/subnet.h5 --format onnx --output runs/demo/subnet.onnx

A subnet of a supernet is extracted and gets its BN statistics from training images, as in evaluation.
The file is read back by NNabla or onnxruntime and compared with the network on held-out images before
it is put in place.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nnabla_ofa import cli, export  # noqa: E402


def main(args) -> None:
    export.check(args.format, args.output, args.fold, args.batch_size)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    net, run = cli.open_network(args)
    arch, size = net.arch(args.subnet), max(run.recipe.data.valid_sizes)
    alone = net.extract(arch) if net.space.single() else run.lab.calibrated(net, arch, size)
    if run.lab.comm.rank:
        return
    about = export.describe(alone, run.lab.classes, run.recipe.data.augment, size, args.fold, args.batch_size)
    images = export.sample(run.lab.valid, size)
    difference = export.export(alone, args.output, args.format, about, images)
    print(f"checked on {len(images)} held-out images: top-1 equal, logits to {difference:.1e} of the largest")
    print(f"saved: {args.output} ({args.output.stat().st_size / 1e6:.2f} MB), {about['arch']}")
    print(f"  {about['input']}\n  {about['output']}")
    print("\n".join(["to run it:", *export.usage(args.output, args.format, about)]), flush=True)


if __name__ == "__main__":
    parser = cli.parser(__doc__.splitlines()[0], output="file to write")
    parser.add_argument("--weights", type=Path, required=True, help="weights.h5 of a supernet or a subnet")
    parser.add_argument("--subnet", metavar='"XP1 7x7 3, ..."',
                        help="one name a block, or one for all (default: the largest; a subnet's own)")
    parser.add_argument("--format", choices=tuple(export.FORMATS), required=True)
    parser.add_argument("--fold", action="store_true", help="fold BN into the convolutions")
    parser.add_argument("--image-size", type=int, nargs=1, help="pixels (default: the recipe's largest)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images at a time (default: any number)")
    cli.run(main, parser.parse_args())
