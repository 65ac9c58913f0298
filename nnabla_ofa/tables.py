"""Result pages in Markdown from records (records.py) and published figures: pure functions.

`build_tables(records, published)` gives one page a recipe and an index. Runs of one recipe and
stage that differ in their seed become "mean ± standard deviation (n)". "-" is what is not there.
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from types import MappingProxyType
from typing import Dict, List, Mapping, Optional, Sequence

from .figures import KINDS, STAGES, Key, canonical, collect, main_split, of_recipe

PUBLISHED_RECIPE = "xception_imagenet"  # what results/published/ofa_xception.csv was trained with
COMMAND = "python runners/tables.py"
Figures = Dict[Key, Dict[int, dict]]


def build_tables(records: Sequence[dict], published: Sequence[dict], command: str = COMMAND,
                 others: Mapping[str, str] = MappingProxyType({})) -> Dict[str, str]:
    """{path relative to the results folder: Markdown}: a page a recipe, and README.md, the index.

    `records` as records.read gives them, `published` as figures.read_published does: shown on the
    page of PUBLISHED_RECIPE, which then exists even if nothing of ours was run. others: further
    pages by name, whose first line is their title. Every page ends with `command`, which
    regenerates it.
    """
    recipes = {record["recipe"] for record in records if record["kind"] in KINDS}
    recipes = sorted(recipes | ({PUBLISHED_RECIPE} if published else set()))
    pages = {"README.md": index_page(records, recipes, others), **others}
    for recipe in recipes:
        theirs = published if recipe == PUBLISHED_RECIPE else ()
        pages[f"{recipe}.md"] = recipe_page(records, recipe, theirs)
    return {name: text + footer(command) for name, text in pages.items()}


def footer(command: str) -> str:
    """The end of every page: how it is regenerated."""
    return f"\n\n---\n\nRegenerate with `{command}`; do not edit by hand.\n"


def differing(pages: Dict[str, str], folder) -> List[str]:
    """Names of the pages whose file under `folder` is absent or differs."""
    files = {name: Path(folder) / name for name in pages}
    return [name for name, path in files.items()
            if not path.is_file() or path.read_bytes() != pages[name].encode("utf-8")]


# -- pages -----------------------------------------------------------------------------------------

def recipe_page(records: Sequence[dict], recipe: str, published: Sequence[dict]) -> str:
    """The whole page of one recipe: runs, summary, pictures, a section a stage."""
    runs = of_recipe(records, recipe, *KINDS)
    figures = collect(records, recipe)
    parts = [f"# Results of `{recipe}`", run_facts(runs) if runs else
             "Not run here yet: the figures below are the published ones alone."]
    trained = of_recipe(records, recipe, "train")
    if trained:
        parts.append(summary(trained, figures))
    parts += [f"![{caption}]({name})" for name, caption in pictures(records, recipe).items()]
    others = sorted({key.stage for key in figures} - set(STAGES))
    for stage in list(STAGES) + others:
        theirs = [row for row in published if row["stage"] == stage]
        if theirs or any(key.stage == stage for key in figures):
            parts.append(stage_section(stage, figures, theirs))
    return "\n\n".join(parts)


def index_page(records: Sequence[dict], recipes: Sequence[str], others: Mapping[str, str]) -> str:
    """results/README.md: a row a recipe, with the last stage that it trained."""
    rows = []
    for recipe in recipes:
        runs, trained = of_recipe(records, recipe, *KINDS), of_recipe(records, recipe, "train")
        rows.append({
            "Recipe": f"[{recipe}]({recipe}.md)",
            "Last space trained": f"`{trained[-1]['space']}`" if trained else "not run yet",
            "Runs": len(runs),
            "Time": duration(sum(record["seconds"] for record in runs)) if runs else "-",
            **extremes(collect(records, recipe), trained[-1]["stage"] if trained else "")})
    links = [f"- [{text.splitlines()[0].lstrip('# ')}]({name})" for name, text in others.items()]
    return "\n\n".join([
        "# Results",
        "Each page is generated from JSON records, one a run (seed, commit, versions, machine, "
        "settings, figures),\nand from the published figures in `results/published/`.",
        table(rows, left=2) if rows else "Nothing was run yet.", *["\n".join(links)] * bool(links)])


def pictures(records: Sequence[dict], recipe: str) -> Dict[str, str]:
    """{file name: caption} of the pictures (plots.py) that one recipe's records are enough for."""
    names = {}
    if any(record["history"] for record in of_recipe(records, recipe, "train")):
        names[f"{recipe}-epochs.png"] = "Loss and accuracy over epochs, stage after stage"
    if any(key.stage != "finetune" for key in collect(records, recipe)):
        names[f"{recipe}-accuracy-macs.png"] = "Accuracy against MACs of the validated subnets"
    return names


# -- sections of a page ----------------------------------------------------------------------------

def run_facts(runs: Sequence[dict]) -> str:
    """A row a run; machines, versions and commands, which runs share, once each below it."""
    places: Dict[str, int] = {}
    rows = []
    for record in runs:
        machine = record["machine"]
        place = (f"{machine['cpu']}, {machine['cores']} cores, {machine['gpu'] or 'no GPU'}; "
                 + ", ".join(f"{name} {version}" for name, version in record["versions"].items()))
        rows.append({
            "Run": " ".join(dict.fromkeys([record["kind"], record.get("name") or record["stage"]])),
            "Space": f"`{record['space']}`" if record["space"] else "-",
            "Seed": record["seed"], "Ranks": record["ranks"],
            "Time": duration(record["seconds"]), "Date": record["date"],
            "Commit": f"`{record['commit']}`" if record["commit"] else "none",
            "Made on": f"[{places.setdefault(place, len(places) + 1)}]"})
    commands = dict.fromkeys(record["command"] for record in runs)
    return "\n\n".join(["## Runs", table(rows, left=2),
                        "\n".join(f"- [{number}] {place}" for place, number in places.items()),
                        "```\n" + "\n".join(commands) + "\n```"])


def summary(trained: Sequence[dict], figures: Figures) -> str:
    """A row a stage: how long, how fast (means over seeds), how accurate at both ends."""
    rows = []
    for stage, space in dict.fromkeys((record["stage"], record["space"]) for record in trained):
        runs = [r for r in trained if (r["stage"], r["space"]) == (stage, space)]
        epochs = [row for run in runs for row in run["history"]]
        rows.append({
            "Stage": STAGES.get(stage, stage), "Space": f"`{space}`",
            "Seeds": _distinct(run["seed"] for run in runs),
            "Epochs": _distinct(len(run["history"]) for run in runs),
            "Learning rate": _distinct(f"{base_rate(run):g}" for run in runs if run["history"]),
            "Time": duration(mean(run["seconds"] for run in runs)),
            "Images/s": f"{mean(row['images_per_second'] for row in epochs):,.0f}"
                        if epochs else "-",
            **extremes(figures, stage)})
    return "\n\n".join([
        "## Summary", table(rows, left=2),
        "The full network is the validated subnet of most MACs, the smallest the one of fewest; "
        "both at the\nlargest image size, on the test split where it was evaluated."])


def base_rate(run: dict) -> float:
    """The stage's learning rate in the recipe, before its schedule; else that of the first epoch."""
    rates = {stage["name"]: stage["lr"] for stage in run["settings"].get("stages", ())}
    return rates.get(run["stage"], run["history"][0]["lr"])


def extremes(figures: Figures, stage: str) -> Dict[str, str]:
    """Top-1 of one stage's validated subnets of most and of fewest MACs, as two cells."""
    own = [key for key in figures if key.stage == stage]
    own = [key for key in own if key.split == main_split(own)]
    size = max((key.image_size for key in own), default=None)
    seeds = sorted((list(figures[key].values()) for key in own if key.image_size == size),
                   key=lambda rows: rows[0]["macs"]) or [[]]
    return {"Top-1, full network": accuracy([row["top1"] for row in seeds[-1]]),
            "Top-1, smallest subnet": accuracy([row["top1"] for row in seeds[0]])}


def stage_section(stage: str, figures: Figures, published: Sequence[dict]) -> str:
    """Heading, what the figures are of, and a table a split (the test set's first)."""
    figures = {key: by_seed for key, by_seed in figures.items() if key.stage == stage}
    parts = [f"## {STAGES.get(stage, f'Stage {stage}')}"]
    if published:
        runs = dict.fromkeys((row["space"], row["epochs"], row["train_hours_4xV100"])
                             for row in published if row["epochs"] != "0")
        parts.append("Published runs: " + "; ".join(
            f"`{space}`, {epochs} epochs" + (f", {hours} h on 4 V100 GPUs" if hours else "")
            for space, epochs, hours in runs) + ".")
    if not figures:
        return "\n\n".join(parts + [result_table({}, published)])
    first = main_split(figures)
    for split in sorted({key.split for key in figures}, key=lambda split: (split != first, split)):
        part = {key: list(by_seed.values()) for key, by_seed in figures.items()
                if key.split == split}
        images = sorted({row["images"] for rows in part.values() for row in rows})
        parts.append(f"Split `{split}`, {' or '.join(f'{n:,}' for n in images)} images:")
        parts.append(result_table(part, published if split == first else ()))
    return "\n\n".join(parts)


def result_table(figures: Dict[Key, List[dict]], published: Sequence[dict]) -> str:
    """Subnets x image sizes of one stage and split; published top-1 beside ours, a column a source.

    `figures` holds one result row a seed for each key.
    """
    ours = {(key.subnet, key.when, key.image_size): rows for key, rows in figures.items()}
    theirs = {(canonical(row["subnet"]), row["when"], size, row["source"]): [top1]
              for row in published for size, top1 in row["top1"].items()}
    sources = list(dict.fromkeys(row["source"] for row in published))
    sizes = sorted({key[2] for key in [*ours, *theirs]})
    names = {(canonical(row["subnet"]), row["when"]): row["subnet"] for row in published}
    for key, rows in ours.items():
        names.setdefault(key[:2], rows[0]["subnet"])
    subnets = [subnet for subnet, _ in names]
    rows = []
    for subnet, when in sorted(names, key=lambda key: (subnets.index(key[0]), key[1] == "after")):
        found = {size: ours.get((subnet, when, size), []) for size in sizes}
        known = next((result[0] for result in found.values() if result), {})
        row = {"Subnet": f"`{short_name(names[subnet, when])}`", "Fine-tuning": when or "-",
               "Parameters": count(known.get("parameters"))}
        row.update({f"MACs, {size} px": count(result[0]["macs"] if result else None)
                    for size, result in found.items()})
        for size, result in found.items():
            row[f"Top-1, {size} px"] = accuracy([r["top1"] for r in result])
            row.update({f"published [{i}], {size} px":
                        accuracy(theirs.get((subnet, when, size, source), []))
                        for i, source in enumerate(sources, 1)})
        row.update({f"Top-5, {size} px": accuracy([r["top5"] for r in result])
                    for size, result in found.items()})
        rows.append(row)
    text = table(rows, left=1 if rows[0]["Fine-tuning"] == "-" else 2)
    notes = "; ".join(f"[{i}] {source}" for i, source in enumerate(sources, 1))
    return f"{text}\n\nPublished figures: {notes}." if notes else text


# -- cells -----------------------------------------------------------------------------------------

def table(rows: Sequence[dict], left: int = 1) -> str:
    """A Markdown table of {column: cell}; the first `left` columns left-aligned.

    A column of nothing but "-" is left out, unless it is a top-1 column of ours.
    """
    columns = [column for column in rows[0]
               if column.startswith("Top-1") or any(row[column] != "-" for row in rows)]
    lines = [columns, [":--" if i < left else "--:" for i in range(len(columns))]]
    lines += [[str(row[column]) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def accuracy(values: Sequence[float]) -> str:
    """"0.6512", or "0.6512 ± 0.0031 (n=3)" (sample standard deviation), or "-" of no values."""
    if len(values) < 2:
        return f"{values[0]:.4f}" if values else "-"
    return f"{mean(values):.4f} ± {stdev(values):.4f} (n={len(values)})"


def count(value: Optional[float]) -> str:
    """Four digits and the unit: "23.55 M", "2.415 G", "868"; "-" of None."""
    if value is None:
        return "-"
    for unit, size in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if value >= size:
            whole = len(str(int(value / size)))
            return f"{value / size:.{4 - whole}f}{unit}"
    return f"{value:g}"


def duration(seconds: float) -> str:
    """"42 s", "12.5 min" or "33.0 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _distinct(values) -> str:
    """The values that runs have, each once, as "0, 1, 2"."""
    return ", ".join(dict.fromkeys(str(value) for value in values)) or "-"


def short_name(subnet: str) -> str:
    """`8 x XP1 7x7 3` where all blocks are equal, else all of them."""
    blocks = [block.strip() for block in subnet.split(",")]
    equal = len(blocks) > 1 and len(set(blocks)) == 1
    return f"{len(blocks)} x {blocks[0]}" if equal else ", ".join(blocks)
