"""The fixed networks: names, sizes, costs, published accuracies, and where else they exist.

    python runners/zoo.py
    python runners/zoo.py "resnet*" --classes 10 --save networks.csv
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping, Optional

from ..errors import OfaError
from ..experiment.command import Command
from ..experiment.listing import Row, print_table, require_form, save
from ..experiment.options import Options as CommonOptions
from ..experiment.options import at_least
from ..model import zoo
from ..reports.published import BASELINES, read_baselines
from ..system.comm import Communicator

SHOWN = 300  # rows that are printed


@dataclass(frozen=True)
class Options(CommonOptions):
    """See `add_arguments`."""

    device: str = ""  # nothing is computed
    names: str = "*"
    classes: Optional[int] = None
    image_size: Optional[int] = None
    save: Optional[Path] = None


def row_of(name: str, classes: Optional[int], image_size: Optional[int], top1: Mapping[str, str]) -> Row:
    """What there is to say of one network; classes, image_size: None for those it was made for."""
    entry = zoo.entry(name)
    classes, side = classes or entry.classes, image_size or entry.image_size
    cost = zoo.cost(name, classes, side)
    return {"network": name, "classes": classes, "pixels": side, "parameters": cost.parameters,
            "macs": cost.macs, "activations": cost.activations, "published top-1": top1.get(name, "-"),
            "paper": entry.paper, "sources": " ".join(entry.sources) or "-"}


def published_top1() -> Dict[str, str]:
    """{network: "0.9574 (zoo_cifar10), ..."}, the first figure of each published table."""
    found: Dict[str, Dict[str, str]] = {}
    for table, rows in read_baselines(BASELINES):
        for row in rows:
            found.setdefault(row["network"], {}).setdefault(table, row["top1"])
    return {name: ", ".join(f"{top1} ({table})" for table, top1 in by_table.items())
            for name, by_table in found.items()}


def main(options: Options, comm: Communicator) -> None:
    """List the networks; those that cannot take images of the size asked for are named at the end."""
    require_form(options.save)
    names = zoo.names(options.names)
    if not names:
        zoo.entry(options.names)  # names the nearest ones
    published = published_top1()
    rows: List[Row] = []
    left_out: List[str] = []
    for name in names:
        try:
            rows.append(row_of(name, options.classes, options.image_size, published))
        except OfaError:
            left_out.append(name)
    if rows:
        print_table([{key: value for key, value in row.items() if key != "paper"} for row in rows],
                    "sources", SHOWN)
    if left_out:
        print(f"not for images of {options.image_size} pixels: {', '.join(left_out)}")
    if options.save and rows:
        save(options.save, rows)


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of `Options`."""
    p.add_argument("names", nargs="?", default="*", metavar="PATTERN",
                   help='which ones, for example "resnet*" (default: all)')
    p.add_argument("--classes", type=at_least(1), help="scores (default: of the data it was made for)")
    p.add_argument("--image-size", type=at_least(1), help="pixels (default: of the images it was made for)")
    p.add_argument("--save", type=Path, metavar="FILE", help="the table as .csv or .json, with the papers")


COMMAND = Command("zoo", __doc__, Options, add_arguments, main)
