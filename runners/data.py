"""Data sets: make one ready by name, check every image of one, look at what training sees.

    python runners/data.py prepare cifar10 --download
    python runners/data.py check --data cifar10
    python runners/data.py show --data cifar10 --save sheet.png
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402

from nnabla_ofa import cli  # noqa: E402
from nnabla_ofa.data import TrainLoader, fixed_batches, open_dataset  # noqa: E402
from nnabla_ofa.data.check import check, equal_images  # noqa: E402
from nnabla_ofa.data.datasets import NAMES, home  # noqa: E402
from nnabla_ofa.data.prepare import ARCHIVES, prepare_archive, prepare_imagenet  # noqa: E402
from nnabla_ofa.data.sheet import contact_sheet  # noqa: E402
from nnabla_ofa.errors import OfaError  # noqa: E402

LISTED = 10  # of this many unreadable or equal images and of classes the report says more


def prepare_data(args) -> None:
    target = args.target or Path(home(), args.name)
    if args.name == "imagenet":
        print(f"wrote {prepare_imagenet(target, args.labels)}")
    else:
        source = args.download or args.archive
        if not source:
            raise OfaError(f"prepare {args.name} needs --download (from {ARCHIVES[args.name].url}) or "
                           "--archive FILE")
        prepare_archive(args.name, target, ARCHIVES[args.name].url if source == "official" else source)
    train, test = open_dataset(str(target), in_memory=False)
    print(f"{target}: {len(train):,} training and {len(test):,} test images of {len(train.classes)} "
          f"classes; use it as --data {args.name if args.target is None else target}")


def check_data(args) -> None:
    source = args.data or cli.data_of_environment() or "digits"
    splits = dict(zip(("train", "test"), open_dataset(source, in_memory=False)))
    print(f"{source}:")
    reports = {name: check(dataset, args.workers, name) for name, dataset in splits.items()}
    for name, report in reports.items():
        counts, (small, large) = report.counts, report.sizes
        print(f"{name}: {len(splits[name]):,} images, {len(counts)} classes of {counts.min():,} to "
              f"{counts.max():,}; {small[1]}x{small[0]} to {large[1]}x{large[0]} pixels")
        for label in np.argsort(counts, kind="stable")[:LISTED] if np.ptp(counts) else ():
            print(f"  {counts[label]:,} of {splits[name].classes[label]}")
        listed(f"{len(report.unreadable)} unreadable", report.unreadable)
    twice = equal_images(reports["train"], reports["test"])
    listed(f"{len(twice)} test images are training images, too",
           [f"{place(splits['test'], j)} = {place(splits['train'], i)}" for i, j in twice])
    if any(report.unreadable for report in reports.values()):
        raise OfaError(f"{args.data} has unreadable images, named above: replace them, or take them out")


def listed(heading: str, lines) -> None:
    print(heading + (":" if lines else ""))
    for line in lines[:LISTED]:
        print(f"  {line}")
    if len(lines) > LISTED:
        print(f"  and {len(lines) - LISTED} more")


def place(dataset, index: int) -> str:
    return dataset.paths[index] if dataset.paths else f"image {index}"


def show_data(args) -> None:
    if args.save.suffix.lower() != ".png":
        raise OfaError(f"--save {args.save} does not end in .png")
    recipe = cli.choose_recipe(args)
    data, seed = recipe.data, args.seed or 0
    train, test = open_dataset(data.source)
    size = args.image_size or max(data.image_sizes)
    count = min(args.count, len(test if args.split == "test" else train))
    if args.split == "test":
        chosen = np.sort(np.random.default_rng(seed).permutation(len(test))[:count])
        _, images, labels = next(fixed_batches(test, chosen, size, count, data.augment,
                                               workers=data.workers, backend=data.backend))
    else:
        loader = TrainLoader(train, data.augment, seed, recipe.stages[0].name, count,
                             workers=data.workers, backend=data.backend)
        images, labels = next(loader.epoch(args.epoch, lambda step: size))
    args.save.parent.mkdir(parents=True, exist_ok=True)
    captions = [caption(label, train.classes) for label in labels]
    contact_sheet(images, captions, args.columns).save(args.save)
    print(f"wrote {args.save}: {len(images)} {args.split} images at {size} pixels as recipe "
          f"{recipe.name} on {data.source} has them, decoded by {data.backend}")


def caption(label, classes) -> str:
    """A label's class; of mixed targets, a float a class, the shares: "60% cat 40% dog"."""
    if np.ndim(label) == 0:
        return classes[label]
    shares = np.argsort(-label, kind="stable")[:np.count_nonzero(label)]
    return " ".join(f"{label[i]:.0%} {classes[i]}" for i in shares)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest="command", required=True)
    one = commands.add_parser("prepare", help="make a data set ready, so that --data NAME finds it")
    one.add_argument("name", choices=NAMES)
    one.add_argument("--download", nargs="?", const="official", metavar="URL",
                     help="fetch the archive, from its official place or another; its MD5 is checked")
    one.add_argument("--archive", metavar="FILE", help="an archive that is here already")
    one.add_argument("--labels", type=Path, metavar="FILE",
                     help="imagenet: labels of flat validation images, 'name label' or Kaggle's .csv")
    one.add_argument("--target", type=Path, help="its folder (default: OFA_DATASETS or datasets, / NAME)")
    one.set_defaults(main=prepare_data)
    one = commands.add_parser("check", help="count, decode and compare every image")
    one.add_argument("--data", help="name, folder or archive (default: OFA_DATA, else digits)")
    one.add_argument("--workers", type=cli.at_least(1), default=2, help="threads (default 2)")
    one.set_defaults(main=check_data)
    one = commands.add_parser("show", help="a contact sheet of images as training sees them",
                              parents=[cli.parser("")], add_help=False, conflict_handler="resolve")
    one.add_argument("--save", type=Path, default=Path("sheet.png"), help="PNG (default sheet.png)")
    one.add_argument("--count", type=cli.at_least(1), default=48, help="images (default 48)")
    one.add_argument("--columns", type=cli.at_least(1), default=8, help="of the sheet (default 8)")
    one.add_argument("--image-size", type=int, help="pixels (default: the recipe's largest)")
    one.add_argument("--epoch", type=cli.at_least(0), default=0, help="whose images (default 0)")
    one.add_argument("--split", choices=("train", "test"), default="train",
                     help="augmented training images, or test images as evaluation sees them")
    one.set_defaults(main=show_data)
    return p


if __name__ == "__main__":
    arguments = parser().parse_args()
    cli.run(arguments.main, arguments)
