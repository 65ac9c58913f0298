"""results/ as a whole: the pages of several modules, and README.md, their index."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Dict, List, Mapping, Sequence

from .accuracies import KINDS, collect, of_recipe
from .markdown import duration, table
from .recipes import TITLE, extremes

COMMAND = "python runners/tables.py"


def whole(records: Sequence[dict], modules: Sequence[ModuleType], command: str = COMMAND) -> Dict[str, str]:
    """{file name: Markdown} of all modules, and of the index. Every page ends with `command`, which
    regenerates it."""
    pages = {name: text for module in modules for name, text in module.pages(records).items()}
    commands = {page: made for module in modules for page, made in getattr(module, "COMMANDS", {}).items()}
    return {name: text + footer(command) for name, text in
            {"README.md": index_page(records, pages, commands), **pages}.items()}


def index_page(records: Sequence[dict], pages: Mapping[str, str], commands: Mapping[str, str]) -> str:
    """results/README.md: a row a recipe, with the last stage that it trained; a row any other page, with
    the command that makes its records; all pictures."""
    recipes = [Path(name).stem for name, text in pages.items() if text.startswith(TITLE)]
    rows = []
    for recipe in recipes:
        runs, trained = of_recipe(records, recipe, *KINDS), of_recipe(records, recipe, "train")
        rows.append({
            "Recipe": f"[{recipe}]({recipe}.md)",
            "Last space trained": f"`{trained[-1]['space']}`" if trained else "not run yet",
            "Runs": len(runs),
            "Time": duration(sum(record["seconds"] for record in runs)) if runs else "-",
            **extremes(collect(records, recipe), trained[-1]["stage"] if trained else "")})
    parts = ["# Results", _NOTE, table(rows, left=2) if rows else "Nothing was run yet."]
    links = [{"Page": f"[{text.splitlines()[0].lstrip('# ')}]({name})",
              "Records made by": f"`{commands[name]}`" if name in commands else "-"}
             for name, text in pages.items() if Path(name).stem not in recipes]
    parts += [table(links, left=2)] if links else []
    shown = [found for text in pages.values() for found in _PICTURE.findall(text)]
    parts += ["## Pictures", *(f"![{caption}]({file})" for caption, file in shown)] if shown else []
    return "\n\n".join(parts)


_PICTURE = re.compile(r"^!\[(.*)\]\((.*)\)$", re.MULTILINE)
_NOTE = """Each page and picture is generated from JSON records, one a run (seed, commit, versions, machine,
settings, figures), and from the published figures in `results/published/`. A run writes its record into
its own folder, a benchmark into `results/records/`; copied there it is part of the next `python
runners/tables.py`. The commands of a recipe's runs are on its page."""


def footer(command: str) -> str:
    """The end of every page: how it is regenerated."""
    return f"\n\n---\n\nRegenerate with `{command}`; do not edit by hand.\n"


def differing(pages: Dict[str, str], folder) -> List[str]:
    """Names of the pages whose file under `folder` is absent or differs."""
    files = {name: Path(folder) / name for name in pages}
    return [name for name, path in files.items()
            if not path.is_file() or path.read_bytes() != pages[name].encode("utf-8")]
