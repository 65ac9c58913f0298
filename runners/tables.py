"""Regenerate every result table and picture under results/ from the records of runs.

    python runners/tables.py              # write pages (Markdown) and pictures (PNG)
    python runners/tables.py --check      # exit 1 if a committed page differs from its records
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import loader_page, page  # noqa: E402
from nnabla_ofa import comparison, figures, ranking, records, reliability, tables, trials  # noqa: E402
from nnabla_ofa.errors import OfaError  # noqa: E402

# Besides a page a recipe: modules that make pages of other records.
PAGES = (comparison, ranking, page, loader_page, reliability, trials)


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=ROOT / "results/records",
                        help="folder of JSON records (default: results/records)")
    parser.add_argument("--output", type=Path, default=ROOT / "results",
                        help="folder of the pages (default: results)")
    parser.add_argument("--check", action="store_true",
                        help="write nothing, compare the pages (not the pictures)")
    parser.add_argument("--no-plots", action="store_true", help="write the pages only")
    args = parser.parse_args(argv)
    options = [f" --{name} {getattr(args, name)}" for name in ("records", "output")
               if getattr(args, name) != parser.get_default(name)]
    try:
        return run(args.records, args.output, args.check, not args.no_plots,
                   tables.COMMAND + "".join(options))
    except OfaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(records_folder: Path, out: Path, check: bool, plots: bool, command: str) -> int:
    """Write or check the pages (and pictures); the exit status. `command` made this call."""
    found = records.read(records_folder)
    published = figures.read_published(ROOT / "results/published/ofa_xception.csv")
    others = {name: text for module in PAGES for name, text in module.pages(found).items()}
    pages = tables.build_tables(found, published, command, others)
    if not found:
        print(f"no records under {records_folder}: published figures only")
    if check:
        names = tables.differing(pages, out)
        for name in names:
            print(f"differs from its records: {out / name}")
        print(f"run `{command}` and commit the pages" if names else
              f"{len(pages)} pages under {out} agree with {len(found)} records")
        return 1 if names else 0
    out.mkdir(parents=True, exist_ok=True)
    written = [out / name for name in pages]
    for name, text in pages.items():
        (out / name).write_bytes(text.encode("utf-8"))
    if plots:
        from benchmarks import charts  # here: matplotlib takes a second to import
        from nnabla_ofa import plots as pictures
        written += pictures.draw(found, out) + charts.draw(found, out)
    for path in written:
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
