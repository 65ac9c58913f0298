"""Regenerate every result table and picture under results/, and README's, from the records of runs.

    python runners/tables.py              # write pages (Markdown) and pictures (PNG)
    python runners/tables.py --check      # exit 1 if a committed page differs from its records
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Tuple

from ..errors import OfaError
from ..experiment.command import Command
from ..experiment.old_records import with_names
from ..experiment.options import Options as CommonOptions
from ..reports.pages import (
    ablations,
    agreement,
    baselines,
    deploy,
    headline,
    index,
    loader,
    ranking,
    ranks,
    recipes,
    reliability,
    search,
    side_by_side,
    speed,
)
from ..reports.pages.markdown import harmless
from ..reports.protocol import PageModule, Records
from ..reports.published import BASELINES, read_baselines, read_published
from ..system import records
from ..system.comm import Communicator
from ..system.files import write_atomically
from ..system.machine import ROOT

CHECKOUT = (ROOT / "runners/tables.py").is_file()  # else ROOT is where packages are installed
RESULTS = ROOT / "results" if CHECKOUT else Path("results")
PUBLISHED = ROOT / "results/published/ofa_xception.csv"
# In the order of the index.
MODULES: Tuple[PageModule, ...] = (
    recipes, side_by_side, search, deploy, agreement, ranking, ablations, speed, loader, reliability, ranks)


@dataclass(frozen=True)
class Options(CommonOptions):
    """See `add_arguments`."""

    device: str = ""  # nothing is computed
    records: Path = RESULTS / "records"
    output: Path = RESULTS
    check: bool = False
    no_plots: bool = False

    def command(self) -> str:
        """What regenerates the same pages."""
        changed = [f" --{name} {getattr(self, name)}" for name in ("records", "output")
                   if getattr(self, name) != getattr(Options, name)]
        return index.COMMAND + "".join(changed)


def main(options: Options, comm: Communicator) -> None:
    """Write or check the pages (and pictures); leaves with status 1 where a page differs."""
    made = records.read(options.records)
    if not made:
        raise OfaError(f"there is no record under {options.records}: name the folder records/ of a run")
    published = read_published(PUBLISHED) if PUBLISHED.is_file() else []  # only a checkout has them
    published += baselines.as_records(read_baselines(BASELINES))
    found = harmless(with_names([*made, *published]))
    pages = index.whole(found, MODULES, options.command())
    if CHECKOUT and options.output.resolve() == RESULTS:
        pages.update(headline.readme(ROOT / "README.md", found))
    if options.check:
        sys.exit(check(options, pages, len(made)))
    files = {name: text.encode("utf-8", "backslashreplace") for name, text in pages.items()}
    if not options.no_plots:
        files.update(pictures(found))
    options.output.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomically(options.output / name, content)
        print(f"wrote {options.output / name}")


def check(options: Options, pages: Dict[str, str], count: int) -> int:
    """Say which committed pages differ from their records.

    Args:
        options: Name the folder.
        pages: {file name: what the file should hold}.
        count: How many records there are.

    Returns:
        The exit status: 1 where a page differs, else 0.
    """
    names = index.differing(pages, options.output)
    for name in names:
        print(f"differs from its records: {options.output / name}")
    print(f"run `{options.command()}` and commit the pages" if names else
          f"{len(pages)} pages under {options.output} agree with {count} records")
    return 1 if names else 0


def pictures(found: Records) -> Dict[str, bytes]:
    """{file name: PNG} of all modules."""
    from ..reports.plots.style import png  # here: matplotlib takes a second to import
    return {name: png(figure) for module in MODULES for name, figure in module.figures(found).items()}


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of `Options`."""
    p.add_argument("--records", type=Path, default=Options.records,
                   help=f"folder of JSON records (default: {Options.records})")
    p.add_argument("--output", type=Path, default=Options.output,
                   help=f"folder of the pages (default: {RESULTS}"
                        f"{', and then the table of README.md, too' * CHECKOUT})")
    p.add_argument("--check", action="store_true", help="write nothing, compare the pages (not the pictures)")
    p.add_argument("--no-plots", action="store_true", help="write the pages only")


COMMAND = Command("tables", __doc__, Options, add_arguments, main)
