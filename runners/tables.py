"""Regenerate every result table and picture under results/, and README's, from the records of runs.

    python runners/tables.py              # write pages (Markdown) and pictures (PNG)
    python runners/tables.py --check      # exit 1 if a committed page differs from its records
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
sys.path.insert(0, str(ROOT))

from benchmarks import loader_page, page  # noqa: E402
from nnabla_ofa import records  # noqa: E402
from nnabla_ofa.errors import OfaError  # noqa: E402
from nnabla_ofa.pages import (  # noqa: E402
    ablations,
    agreement,
    headline,
    index,
    ranking,
    ranks,
    recipes,
    reliability,
    search,
)

# see nnabla_ofa/pages/__init__.py
MODULES = (recipes, search, agreement, ranking, ablations, page, loader_page, reliability, ranks)


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=RESULTS / "records",
                        help="folder of JSON records (default: results/records)")
    parser.add_argument("--output", type=Path, default=RESULTS,
                        help="folder of the pages (default: results, and then README's table, too)")
    parser.add_argument("--check", action="store_true",
                        help="write nothing, compare the pages (not the pictures)")
    parser.add_argument("--no-plots", action="store_true", help="write the pages only")
    args = parser.parse_args(argv)
    options = [f" --{name} {getattr(args, name)}" for name in ("records", "output")
               if getattr(args, name) != parser.get_default(name)]
    try:
        return run(args.records, args.output, args.check, not args.no_plots,
                   index.COMMAND + "".join(options))
    except OfaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(records_folder: Path, out: Path, check: bool, plots: bool, command: str) -> int:
    """Write or check the pages (and pictures); the exit status. `command` made this call."""
    found = records.read(records_folder)
    if not found:
        raise OfaError(f"there is no record under {records_folder}: name the folder records/ of a run")
    pages = index.whole(found, MODULES, command)
    if out.resolve() == RESULTS:
        pages.update(headline.readme(ROOT / "README.md", found))
    if check:
        names = index.differing(pages, out)
        for name in names:
            print(f"differs from its records: {out / name}")
        print(f"run `{command}` and commit the pages" if names else
              f"{len(pages)} pages under {out} agree with {len(found)} records")
        return 1 if names else 0
    files = {name: text.encode("utf-8") for name, text in pages.items()}
    if plots:
        files.update(pictures(found))
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (out / name).write_bytes(content)
        print(f"wrote {out / name}")
    return 0


def pictures(found: list) -> dict:
    """{file name: PNG} of all modules."""
    from nnabla_ofa.plots import png  # here: matplotlib takes a second to import
    return {name: png(figure) for module in MODULES if hasattr(module, "figures")
            for name, figure in module.figures(found).items()}


if __name__ == "__main__":
    sys.exit(main())
