"""Data sets: make one ready by name, check every image of one, look at what training sees.

    python runners/data.py prepare cifar10 --download
    python runners/data.py check --data cifar10
    python runners/data.py show --data cifar10 --save sheet.png
"""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Sequence

import numpy as np

from ..data import Dataset, TrainLoader, fixed_batches, open_dataset
from ..data.check import check, equal_images
from ..data.datasets import NAMES, home, printable
from ..data.prepare import ARCHIVES, prepare_archive, prepare_imagenet
from ..data.sheet import contact_sheet
from ..errors import OfaError
from ..experiment.command import Command
from ..experiment.options import (
    RunOptions,
    add_run_options,
    at_least,
    choose_recipe,
    data_of_environment,
    require_writable,
)
from ..system.comm import Communicator
from ..system.files import write_atomically

LISTED = 10  # of this many unreadable or equal images and of classes the report says more


@dataclass(frozen=True)
class Options(RunOptions):
    """Of all three commands; see `add_arguments`. work: does the one that was asked for."""

    work: Callable[["Options"], None] = lambda options: None
    device: str = ""  # nothing is computed
    target: Optional[Path] = None
    archive: Optional[str] = None
    download: Optional[str] = None
    labels: Optional[Path] = None
    workers: int = 2
    save: Path = Path("sheet.png")
    count: int = 48
    columns: int = 8
    image_size: Optional[int] = None
    epoch: int = 0
    split: str = "train"


def prepare_data(options: Options) -> None:
    """Make the data set --name ready."""
    name = str(options.name)
    target = options.target or Path(home(), name)
    if name == "imagenet":
        print(f"wrote {prepare_imagenet(target, options.labels)}")
    else:
        source = options.download or options.archive
        if not source:
            raise OfaError(f"prepare {name} needs --download (from {ARCHIVES[name].url}) or --archive FILE")
        prepare_archive(name, target, ARCHIVES[name].url if source == "official" else source)
    train, test = open_dataset(str(target), in_memory=False)
    print(f"{target}: {len(train):,} training and {len(test):,} test images of {len(train.classes)} "
          f"classes; use it as --data {name if options.target is None else target}")


def check_data(options: Options) -> None:
    """Count, decode and compare every image. Raises OfaError if one cannot be read."""
    source = options.data or data_of_environment() or "digits"
    opened = open_dataset(source, in_memory=False, partial=True)
    print(printable(f"{source}: {opened[0].summary}"), flush=True)
    splits = {name: part for name, part in zip(("train", "test"), opened) if len(part)}
    reports = {name: check(dataset, options.workers, name) for name, dataset in splits.items()}
    for name, report in reports.items():
        counts, (small, large) = report.counts, report.sizes
        print(f"{name}: {len(splits[name]):,} images, {len(counts)} classes of {counts.min():,} to "
              f"{counts.max():,}; {small[1]}x{small[0]} to {large[1]}x{large[0]} pixels")
        for label in np.argsort(counts, kind="stable")[:LISTED] if np.ptp(counts) else ():
            print(printable(f"  {counts[label]:,} of {splits[name].classes[label]}"))
        listed(f"{len(report.unreadable)} unreadable", report.unreadable)
        if report.stray:
            listed(f"{len(report.stray)} read without the stray bytes in them", report.stray)
    if len(reports) == 2:
        twice = equal_images(reports["train"], reports["test"])
        listed(f"{len(twice)} test images are training images, too",
               [f"{place(splits['test'], j)} = {place(splits['train'], i)}" for i, j in twice])
    if any(report.unreadable for report in reports.values()):
        raise OfaError(f"{source} has unreadable images, named above: replace them, or take them out")


def listed(heading: str, lines: Sequence[str]) -> None:
    """Print a heading and the first lines below it."""
    print(heading + (":" if lines else ""))
    for line in lines[:LISTED]:
        print(printable(f"  {line}"))
    if len(lines) > LISTED:
        print(f"  and {len(lines) - LISTED} more")


def place(dataset: Dataset, index: int) -> str:
    """Where an image is."""
    return dataset.paths[index] if dataset.paths else f"image {index}"


def show_data(options: Options) -> None:
    """Write a contact sheet."""
    if options.save.suffix.lower() != ".png":
        raise OfaError(f"--save {options.save} does not end in .png")
    require_writable(options)
    recipe = choose_recipe(options)
    data, seed = recipe.data, options.seed or 0
    train, test = data.open()
    size = options.image_size or max(data.image_sizes)
    count = min(options.count, len(test if options.split == "test" else train))
    if options.split == "test":
        chosen = np.sort(np.random.default_rng(seed).permutation(len(test))[:count])
        _, images, labels = next(fixed_batches(test, chosen, size, count, data.augment,
                                               workers=data.workers, backend=data.backend))
    else:
        loader = TrainLoader(train, data.augment, seed, recipe.stages[0].name, count,
                             workers=data.workers, backend=data.backend)
        images, labels = next(loader.epoch(options.epoch, lambda step: size))
    captions = [printable(caption(label, train.classes)) for label in labels]
    png = io.BytesIO()
    contact_sheet(images, captions, options.columns).save(png, "png")
    write_atomically(options.save, png.getvalue())
    print(f"wrote {options.save}: {len(images)} {options.split} images at {size} pixels as recipe "
          f"{recipe.name} on {data.source} has them, decoded by {data.backend}")


def caption(label: np.ndarray, classes: Sequence[str]) -> str:
    """A label's class; of mixed targets, a float a class, the shares: "60% cat 40% dog"."""
    if np.ndim(label) == 0:
        return classes[int(label)]
    shares = np.argsort(-label, kind="stable")[:np.count_nonzero(label)]
    return " ".join(f"{label[i]:.0%} {classes[i]}" for i in shares)


def add_arguments(p: argparse.ArgumentParser) -> None:
    """A parser a command."""
    commands = p.add_subparsers(required=True, metavar="prepare, check or show")
    one = commands.add_parser("prepare", help="make a data set ready, so that --data NAME finds it")
    one.add_argument("name", choices=NAMES)
    one.add_argument("--download", nargs="?", const="official", metavar="URL",
                     help="fetch the archive, from its official place or another; its MD5 is checked")
    one.add_argument("--archive", metavar="FILE", help="an archive that is here already")
    one.add_argument("--labels", type=Path, metavar="FILE",
                     help="imagenet: labels of flat validation images, 'name label' or Kaggle's .csv")
    one.add_argument("--target", type=Path, help="its folder (default: OFA_DATASETS or datasets, / NAME)")
    one.set_defaults(work=prepare_data)
    one = commands.add_parser("check", help="count, decode and compare every image")
    one.add_argument("--data", help="name, folder or archive (default: OFA_DATA, else digits)")
    one.add_argument("--workers", type=at_least(1), default=2, help="threads (default 2)")
    one.set_defaults(work=check_data)
    one = commands.add_parser("show", help="a contact sheet of images as training sees them")
    add_run_options(one)
    one.add_argument("--save", type=Path, default=Path("sheet.png"), help="PNG (default sheet.png)")
    one.add_argument("--count", type=at_least(1), default=48, help="images (default 48)")
    one.add_argument("--columns", type=at_least(1), default=8, help="of the sheet (default 8)")
    one.add_argument("--image-size", type=at_least(1), help="pixels (default: the recipe's largest)")
    one.add_argument("--epoch", type=at_least(0), default=0, help="whose images (default 0)")
    one.add_argument("--split", choices=("train", "test"), default="train",
                     help="augmented training images, or test images as evaluation sees them")
    one.set_defaults(work=show_data)


def main(options: Options, comm: Communicator) -> None:
    """Do what was asked for."""
    options.work(options)


COMMAND = Command("data", __doc__, Options, add_arguments, main)
