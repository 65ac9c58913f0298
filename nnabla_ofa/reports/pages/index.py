"""results/ as a whole: the pages of several modules, and README.md, their index."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, Mapping, Sequence, Union

from ...errors import OfaError
from ..accuracies import KINDS, collect, is_fixed, of_recipe
from ..cells import accuracy, duration
from ..protocol import Cells, PageModule, Records
from . import fixed_networks
from .markdown import table
from .recipes import TITLE
from .summaries import by_macs, extremes

COMMAND = "python runners/tables.py"
PICTURE = re.compile(r"^!\[(.*)\]\((.*)\)$", re.MULTILINE)
NOTE = """Each page and picture is generated from JSON records, one a run (seed, commit, versions, machine,
settings, figures), and from the published figures in `results/published/`. A run writes its record into
its own folder, a benchmark into `results/records/`; copied there it is part of the next `python
runners/tables.py`. The commands of a recipe's runs are on its page."""


def whole(records: Records, modules: Sequence[PageModule], command: str = COMMAND) -> Dict[str, str]:
    """All pages, and their index.

    Args:
        records: What they are made from.
        modules: What makes them, in the order of the index.
        command: What makes them again. Every page ends with it.

    Returns:
        {file name: Markdown}.

    Raises:
        OfaError: a record lacks what its page shows.
    """
    pages: Dict[str, str] = {}
    for module in modules:
        try:
            pages.update(module.pages(records))
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            name = getattr(module, "__name__", "").rpartition(".")[2]
            raise OfaError(f"the {name} pages cannot be made: a record lacks what they show ({error!r}); "
                           "restore the newest records, or make them again") from error
    commands = {page: made for module in modules for page, made in module.COMMANDS.items()}
    return {name: text + footer(command) for name, text in
            {"README.md": index_page(records, pages, commands), **pages}.items()}


def index_page(records: Records, pages: Mapping[str, str], commands: Mapping[str, str]) -> str:
    """results/README.md: a row a recipe, a row any other page, all pictures.

    Args:
        records: What the pages were made from.
        pages: {file name: Markdown}, without the index.
        commands: {file name: what makes the records of that page}.
    """
    recipes = [Path(name).stem for name, text in pages.items() if text.startswith(TITLE)]
    fixed = [recipe for recipe in recipes if only_networks(records, recipe)]
    elastic = [recipe_cells(records, recipe) for recipe in recipes if recipe not in fixed]
    links = [{"Page": f"[{text.splitlines()[0].lstrip('# ')}]({name})",
              "Records made by": f"`{commands[name]}`" if name in commands else "-"}
             for name, text in pages.items() if Path(name).stem not in recipes]
    tables = [elastic, [networks_cells(records, recipe) for recipe in fixed], links]
    parts = ["# Results", NOTE, *([] if recipes else ["Nothing was run yet."]),
             *(table(rows, left=2) for rows in tables if rows)]
    shown = [found for text in pages.values() for found in PICTURE.findall(text)]
    parts += ["## Pictures", *(f"![{caption}]({file})" for caption, file in shown)] if shown else []
    return "\n\n".join(parts)


def only_networks(records: Records, recipe: str) -> bool:
    """Whether a recipe trained fixed networks and nothing else."""
    trained = of_recipe(records, recipe, "train")
    return bool(trained) and all(is_fixed(record) for record in trained)


def recipe_cells(records: Records, recipe: str) -> Cells:
    """A recipe's row: the last stage that it trained, and how accurate that became."""
    trained = of_recipe(records, recipe, "train")
    return {"Recipe": f"[{recipe}]({recipe}.md)",
            "Last space trained": f"`{trained[-1]['space']}`" if trained else "not run yet",
            **run_cells(records, recipe),
            **extremes(collect(records, recipe), trained[-1]["stage"] if trained else "")}


def networks_cells(records: Records, recipe: str) -> Cells:
    """The row of a recipe of fixed networks: the most accurate one, at its largest image size."""
    found = collect(records, recipe)
    best = {name: [row["top1"] for row in by_macs(found, name)[0]] for name in fixed_networks.names(found)}
    name = max(best, key=lambda name: sum(best[name]) / len(best[name]), default="-")
    return {"Fixed networks": f"[{recipe}]({recipe}.md)", "Most accurate": f"`{name}`",
            **run_cells(records, recipe), "Top-1": accuracy(best.get(name, []))}


def run_cells(records: Records, recipe: str) -> Cells:
    """How many runs a recipe has, and their time."""
    runs = of_recipe(records, recipe, *KINDS)
    return {"Runs": len(runs),
            "Time": duration(sum(record["seconds"] for record in runs)) if runs else "-"}


def footer(command: str) -> str:
    """The end of every page: how it is regenerated."""
    return f"\n\n---\n\nRegenerate with `{command}`; do not edit by hand.\n"


def differing(pages: Mapping[str, str], folder: Union[str, Path]) -> List[str]:
    """Names of the pages whose file under `folder` is absent or differs."""
    files = {name: Path(folder) / name for name in pages}
    return [name for name, path in files.items()
            if not path.is_file() or path.read_bytes() != pages[name].encode("utf-8", "backslashreplace")]
